export { type Mode, PATHS, endpointOf, modeOf } from "./endpoint";
export { type ConnectionState, type ManagerStatus, type ManagerOptions, WebSocketManager } from "./manager";
