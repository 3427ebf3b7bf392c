export {
  type Client,
  type ClientEvents,
  type PublishOptions,
  type RequestOptions,
  type Session,
  type State,
  type Status,
  connect,
} from "./client.js";
export { FanfareError, type Remedy } from "./errors.js";
export type { Frame } from "./link.js";
export type { Options, Token, TokenReason, Transport } from "./options.js";
export {
  type Gap,
  type PresenceChange,
  type Subscription,
  type SubscriptionEvents,
  type SubscriptionOptions,
  type SubscriptionState,
  type TopicEvent,
} from "./subscription.js";
export type { WebSocketConstructor, WebSocketLike } from "./websocket.js";
