import { FanfareError } from "./errors.js";
import type { Link, Listener } from "./link.js";

/** What is needed of a `WebSocket`, as browsers, Node 22, Deno, Bun and the package `ws` have it. */
export type WebSocketConstructor = new (url: string, protocols?: string[]) => WebSocketLike;

export interface WebSocketLike {
  readonly readyState: number;
  onmessage: ((event: any) => any) | null;
  onclose: ((event: any) => any) | null;
  onerror: ((event: any) => any) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}

/** The constructor to use; throws where there is none. */
export function constructorOf(given: WebSocketConstructor | undefined): WebSocketConstructor {
  const found = given ?? (globalThis.WebSocket as WebSocketConstructor | undefined);
  if (found) return found;
  throw new FanfareError("NO_WEBSOCKET", "No WebSocket: give one");
}

/** A WebSocket. Throws what its constructor does, of a token that no header can have for example. */
export function openWebSocket(
  constructor: WebSocketConstructor,
  url: string,
  token: string | null | undefined,
  listener: Listener,
): Link {
  const socket = new constructor(url, token ? ["bearer", token] : []);
  socket.onmessage = ({ data }) => {
    listener.heard();
    listener.frame(data);
  };
  socket.onclose = ({ code, reason }) => listener.end(code, reason);
  // A close event follows. Without a listener some implementations throw.
  socket.onerror = () => {};
  return {
    send(text) {
      // One that is closing says so by itself.
      if (socket.readyState === 1) socket.send(text);
    },
    close: () => socket.close(1000),
  };
}
