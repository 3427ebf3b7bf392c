export { type Publication, type Queue, type QueueEvents, type QueueOptions, openQueue } from "./queue.js";
