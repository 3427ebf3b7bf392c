import {
  type ReactNode,
  createContext,
  createElement,
  useContext,
  useEffect,
  useLayoutEffect,
  useMemo,
  useSyncExternalStore,
} from "react";
import { type Client, type Options, type Status, type WebSocketConstructor, connect } from "../core/index.js";

interface Connection {
  readonly client: Client;
  /** Whether the client may connect: not before the first effect, and so never on a server. */
  isStarted: boolean;
  closing?: ReturnType<typeof setTimeout>;
}

const Context = createContext<Connection | undefined>(undefined);

export type FanfareProviderProps = { children?: ReactNode } & (
  | {
      /** A client of your own, which you close yourself. */
      client: Client;
      url?: undefined;
    }
  | {
      /** Where to connect while the provider is mounted. Another address is another client. */
      url: string | URL;
      /** Those of the first render count: give a `token` that is a function, and reads what it needs. */
      options?: Options;
      client?: undefined;
    }
);

/** Gives the components in it a client. With `url` it connects when it is mounted, and closes when it is unmounted. */
export function FanfareProvider(props: FanfareProviderProps): ReactNode {
  const { client, url, children } = props;
  const connection = useMemo(
    () => (client ? { client, isStarted: true } : prepare(url, props.options)),
    [client, String(url)],
  );
  useEarlyEffect(() => {
    if (!client) start(connection);
  }, [connection]);
  // Of a page that shows a Suspense fallback again this effect stays, and so does the connection.
  useEffect(() => {
    if (client) return undefined;
    start(connection);
    return () => {
      // StrictMode mounts again at once: the connection stays.
      connection.closing = setTimeout(() => {
        connection.isStarted = false;
        connection.client.close();
      });
    };
  }, [connection]);
  return createElement(Context.Provider, { value: connection }, children);
}

function start(connection: Connection): void {
  clearTimeout(connection.closing);
  if (connection.isStarted) return;
  connection.isStarted = true;
  connection.client.reconnect();
}

/** A client that does nothing yet. On a server, which has no page and may have no `WebSocket`, it never does. */
function prepare(url: string | URL, options: Options = {}): Connection {
  const WebSocket = options.WebSocket ?? ((globalThis.WebSocket ?? NoWebSocket) as WebSocketConstructor);
  const client = connect(new URL(url, globalThis.location?.href ?? "http://localhost"), { ...options, WebSocket });
  client.close();
  return { client, isStarted: false };
}

class NoWebSocket {
  constructor() {
    throw new Error("This runtime has no WebSocket: give one in the option `WebSocket`");
  }
}

/** Before the effects of components, which may publish. On a server `useLayoutEffect` warns. */
const useEarlyEffect = globalThis.document ? useLayoutEffect : useEffect;

function useConnection(): Connection {
  const connection = useContext(Context);
  if (!connection) throw new Error("There is no <FanfareProvider> around this component");
  return connection;
}

/** The client of the provider around the component. While rendering on a server it is closed. */
export function useClient(): Client {
  return useConnection().client;
}

const CONNECTING: Status = { state: "connecting" };

/** Whether the client is connected, and why not. Renders when that changes. */
export function useStatus(): Status {
  const connection = useConnection();
  const { client } = connection;
  const subscribe = useMemo(() => (changed: () => void) => client.on("state", changed), [client]);
  const get = () => (connection.isStarted ? client.status : CONNECTING);
  return useSyncExternalStore(subscribe, get, () => CONNECTING);
}
