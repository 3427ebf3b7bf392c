"use client";

export type { Client, Gap, TopicEvent } from "../core/index.js";
export { FanfareProvider, type FanfareProviderProps, useClient, useStatus } from "./provider.js";
export { type PresenceOptions, type PresenceView, type PresentUser, usePresence } from "./presence.js";
export { usePublish } from "./publish.js";
export {
  type ListOptions,
  type ListView,
  type ReduceOptions,
  type ReducedView,
  type SubscriptionHandlers,
  type SubscriptionStatus,
  useInbox,
  useSubscription,
} from "./subscription.js";
