// A program that follows a topic and says what comes, a line each: for tests that stop its process.
import WebSocket from "ws";
import { connect } from "../../src/core/index.js";

const client = connect(process.argv[2]!, { WebSocket, retryMin: 20, retryMax: 200 });
client.on("state", ({ state, error }) => console.log(`# ${state} ${error?.message ?? ""}`));
for await (const item of client.subscribe("news", { buffer: 100_000 })) {
  console.log(item.type === "gap" ? `gap ${item.lost}` : item.data);
}
