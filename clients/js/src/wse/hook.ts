import { useEffect, useMemo, useRef, useSyncExternalStore } from "react";
import { WSEClient, type HandlerRegistry, type WSEClientConfig } from "./client.js";
import { logger } from "./logger.js";
import { OfflineQueue } from "./offline-queue.js";
import { initialState } from "./state.js";
import { type Store, createStore } from "./store.js";
import {
  type CircuitBreakerInfo,
  type ConnectionMetrics,
  ConnectionState,
  type MessageOptions,
  type MessageQueueState,
  type NetworkDiagnostics,
  type QueuedMessage,
  type WSEState,
  type WSMessage,
} from "./types.js";

export interface UseWSEConfig extends WSEClientConfig {
  /** Where the configuration is the only argument: the token. Given and empty it is waited for. */
  token?: string | undefined;
  /** Where the configuration is the only argument: the first topics. */
  topics?: readonly string[];
  /** Registers handlers, once for each component that has it. They go with the component. */
  registerHandlers?: (processor: HandlerRegistry) => void;
}

export interface UseWSEReturn {
  isConnected: boolean;
  /** As `isConnected`: greeted by the server. */
  isReady: boolean;
  connectionState: ConnectionState;
  /** As `connectionState`. */
  connectionHealth: ConnectionState;
  lastMessage: WSMessage | null;
  lastError: string | null;
  metrics: ConnectionMetrics;
  /** As `metrics`. */
  stats: ConnectionMetrics;
  diagnostics: NetworkDiagnostics | null;
  circuitBreaker: CircuitBreakerInfo;
  activeTopics: string[];
  /** What was missed of a topic is asked for whatever `recover` says. */
  subscribe(topics: readonly string[], options?: { recover?: boolean }): void;
  unsubscribe(topics: readonly string[]): void;
  /** False where the message is refused; see {@link WSEClient.send}. */
  sendMessage(type: string, payload?: unknown, options?: MessageOptions): boolean;
  sendBatch(messages: readonly { type: string; payload?: unknown }[]): void;
  requestSnapshot(topics?: readonly string[]): void;
  reconnect(): void;
  /** As `reconnect`. */
  forceReconnect(): void;
  disconnect(): void;
  changeEndpoint(endpoint: string): void;
  setCompression(enabled: boolean): void;
  /** Asks for another key of the encryption. */
  rotateKey(): Promise<void>;
  /** Has the browser save a JSON file of what is known; it has no token in it. */
  downloadDiagnostics(): Promise<void>;
  clearOfflineQueue(): Promise<void>;
  getQueueSize(): number;
  /** Logs what is known, handlers included. */
  debugHandlers(): Promise<void>;
  /** What is behind it, for use outside of components. */
  client: WSEClient;
}

/** The state of the first connection of the page, as a hook or outside of components: `useWSEStore.getState()`. */
export const useWSEStore: Store<WSEState> = createStore(initialState());

/** A client that the components of a page share. */
class Shared {
  readonly client: WSEClient;
  #users = 0;
  /** Those of them that name a token. */
  #named = 0;

  constructor(endpoints: readonly string[], config: UseWSEConfig, store: Store<WSEState> | undefined) {
    this.client = new WSEClient(endpoints, config, store);
  }

  /**
   * One more component uses it, or one less (-1). It opens when all that are mounted now are, since another one of them may
   * have the token, and closes when all that happens now has happened: one that comes in the place of another keeps it open.
   */
  add(users: number, isNamed: boolean): void {
    this.#users += users;
    if (isNamed) this.#named += users;
    (users > 0 ? queueMicrotask : setTimeout)(() => {
      if (!this.#users) return this.client.stop();
      // Of one that has left nothing is used: where nobody names a token there is none.
      if (!this.#named) this.client.setToken(undefined);
      this.client.start();
    });
  }
}

/** Clients by their endpoints, as many as an application has. They are inert until a component is mounted, so rendering may make them. */
const clients = new Map<string, Shared>();

function sharedClient(endpoints: readonly string[], config: UseWSEConfig): Shared {
  const key = endpoints.join(" ");
  let shared = clients.get(key);
  if (!shared) {
    shared = new Shared(endpoints, config, clients.size === 0 ? useWSEStore : undefined);
    clients.set(key, shared);
  }
  return shared;
}

/** By default the page's own host, with the path `/wse`. */
export function getEndpoints(): string[] {
  return typeof window === "undefined" ? [] : [`${window.location.protocol === "https:" ? "wss" : "ws"}://${window.location.host}/wse`];
}

/**
 * A connection to a WSE server or a Fanfare gateway, shared by all components of a page with the same endpoints; the first
 * one's configuration counts. A component is rendered again when what it reads of the result has changed, and not for others.
 *
 * With `(token, topics, config)` it connects when there is a token. With `(config)` it connects at once, unless `config` has a
 * `token` that is empty.
 */
export function useWSE(config?: UseWSEConfig): UseWSEReturn;
export function useWSE(token: string | undefined | null, topics?: readonly string[], config?: UseWSEConfig): UseWSEReturn;
export function useWSE(first?: UseWSEConfig | string | null, list?: readonly string[], third: UseWSEConfig = {}): UseWSEReturn {
  const alone = typeof first === "object" && first !== null;
  const config = alone ? first : third;
  const token = (alone ? config.token : (first as string | null | undefined))?.trim() || undefined;
  const isNamed = token !== undefined;
  const connects = isNamed || (alone && !("token" in config));
  const topics = (alone ? config.topics : list) ?? [];

  const endpoints = config.endpoints?.length ? config.endpoints : getEndpoints();
  const key = endpoints.join(" ");
  // Only what the first one says counts, so the rest of `config` is no dependency.
  const shared = useMemo(() => sharedClient(endpoints, config), [key]);
  const { client } = shared;
  const owner = useRef({}).current;

  useEffect(() => {
    const mine: [string, (message: WSMessage) => void][] = [];
    config.registerHandlers?.({
      registerHandler: (type, handler) => {
        mine.push([type, handler]);
        client.registerHandler(type, handler);
      },
      unregisterHandler: (type, handler) => client.unregisterHandler(type, handler),
      getRegisteredHandlers: () => client.getRegisteredHandlers(),
    });
    return () => mine.forEach(([type, handler]) => client.unregisterHandler(type, handler));
  }, [client]);

  const topicsKey = JSON.stringify(topics);
  useEffect(() => {
    client.subscribe(topics, owner);
    return () => client.unsubscribe(topics, owner);
  }, [client, topicsKey]);
  // What was subscribed to besides goes with the component, too.
  useEffect(() => () => client.unsubscribe([...client.topics], owner), [client]);

  useEffect(() => {
    if (!connects) return;
    // One that names none uses what the others say.
    if (isNamed) client.setToken(token);
    shared.add(1, isNamed);
    return () => shared.add(-1, isNamed);
  }, [shared, token, connects]);

  // A snapshot changes when something has that was read from it.
  const used = useRef(new Set<keyof WSEState>()).current;
  const shown = useRef<WSEState>(undefined);
  const snapshot = useSyncExternalStore(
    client.store.subscribe,
    () => {
      const state = client.store.getState();
      const before = shown.current;
      if (!before || [...used].some((field) => !Object.is(before[field], state[field]))) shown.current = state;
      return shown.current as WSEState;
    },
    client.store.getInitialState,
  );

  // The same functions at each render, so that effects may depend on them.
  const actions = useMemo(() => actionsOf(client, owner), [client]);
  return useMemo(() => {
    const result = { ...actions };
    const show = (name: string, field: keyof WSEState, of: (value: unknown) => unknown = (value) => value) =>
      Object.defineProperty(result, name, { enumerable: true, get: () => (used.add(field), of(client.store.getState()[field])) });
    for (const field of ["connectionState", "lastMessage", "lastError", "metrics", "diagnostics", "circuitBreaker", "activeTopics"] as const) show(field, field);
    show("connectionHealth", "connectionState");
    show("stats", "metrics");
    for (const name of ["isConnected", "isReady"]) show(name, "connectionState", (state) => state === ConnectionState.CONNECTED);
    return result as unknown as UseWSEReturn;
  }, [actions, snapshot]);
}

/** What a component that is `owner` may do. */
function actionsOf(client: WSEClient, owner: object) {
  const reconnect = () => client.reconnect();
  return {
    client,
    subscribe: (topics: readonly string[]) => client.subscribe(topics, owner),
    unsubscribe: (topics: readonly string[]) => client.unsubscribe(topics, owner),
    sendMessage: (type: string, payload?: unknown, options?: MessageOptions) => client.send(type, payload, options),
    sendBatch: (messages: readonly { type: string; payload?: unknown }[]) => messages.forEach(({ type, payload }) => client.send(type, payload)),
    requestSnapshot: (topics?: readonly string[]) => client.requestSnapshot(topics),
    reconnect,
    forceReconnect: reconnect,
    disconnect: () => client.disconnect(),
    changeEndpoint: (endpoint: string) => client.changeEndpoint(endpoint),
    setCompression: (enabled: boolean) => client.setCompression(enabled),
    rotateKey: () => client.rotateKey(),
    clearOfflineQueue: () => client.queue.clear(),
    getQueueSize: () => client.queue.size,
    debugHandlers: async () => logger.sink.info("[wse]", await client.diagnostics()),
    downloadDiagnostics: async () => (await import("./diagnostics.js")).download(await client.diagnostics()),
  };
}

/** The queue of the first connection of the page: what waits to be sent. */
export const useMessageQueueStore = Object.assign(
  <S = MessageQueueState>(selector: (state: MessageQueueState) => S = (state) => state as unknown as S): S => {
    // Changes with the metrics, which count what waits.
    useWSEStore((state) => state.metrics.messagesQueued);
    return selector(queueState());
  },
  { getState: () => queueState() },
);

function queueState(): MessageQueueState {
  const queue = [...clients.values()].find(({ client }) => client.store === useWSEStore)?.client.queue;
  const messages: QueuedMessage[] = queue?.getAll() ?? [];
  const stats = (queue ?? new OfflineQueue()).getStats();
  return {
    messages,
    ...stats,
    processing: false,
    stats,
    hasBackpressure: () => stats.backpressure,
    clearQueue: () => void queue?.clear(),
  };
}
