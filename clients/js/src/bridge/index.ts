export { FanfareError } from "../core/errors.js";
export type { Options, State, Status, Token, TokenReason } from "../core/index.js";
export {
  type AskOptions,
  type Delivery,
  type Push,
  type Service,
  type ServiceOptions,
  createService,
} from "./service.js";
export { type Message, type User, type UserEvents, type UserOptions, connectUser } from "./user.js";
