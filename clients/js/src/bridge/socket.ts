import type { WebSocketConstructor, WebSocketLike } from "../core/websocket.js";

/** What the gateway answers with an error, and does nothing else about: the bridge has no ping for pages. */
const PROBE = "0";

/**
 * A WebSocket of the bridge that speaks as much of the events protocol as a client needs to keep a connection: greeting
 * and pings. What comes is a frame `{ type: "bridge", data }`; `{ type: "bridge", data, id }` is sent, and answered once
 * it is.
 */
export function bridgeSocket(WebSocket: WebSocketConstructor, isTokenAskedFor: boolean): WebSocketConstructor {
  return class implements WebSocketLike {
    onmessage: WebSocketLike["onmessage"] = null;
    onclose: WebSocketLike["onclose"] = null;
    onerror: WebSocketLike["onerror"] = null;
    readonly #socket: WebSocketLike & { onopen?: (() => void) | null };
    readonly #pings: unknown[] = [];

    constructor(url: string, protocols: string[] = []) {
      const socket = (this.#socket = new WebSocket(url, protocols));
      let isOpen = false;
      this.#socket.onopen = () => {
        isOpen = true;
        this.#tell({ type: "connection_established" });
      };
      socket.onmessage = ({ data: text }) => {
        let data: any;
        try {
          data = JSON.parse(text);
        } catch {
          // As what is no object.
        }
        const isProbed = data?.type === "error" && data.correlation_id === undefined;
        if (isProbed) this.#tell({ type: "pong", id: this.#pings.shift() });
        else this.onmessage?.({ data: typeof data === "object" && data ? { type: "bridge", data } : "" });
      };
      socket.onclose = ({ code, reason }) => {
        // The other connection may go.
        if (/^User already connected/.test(reason)) code = 1013;
        // A token that is not valid is refused before there is a connection, and pages cannot see why.
        if (!isOpen && protocols.length && isTokenAskedFor) code = 4002;
        this.onclose?.({ code, reason });
      };
      socket.onerror = () => {};
    }

    get readyState(): number {
      return this.#socket.readyState;
    }

    send(text: string): void {
      const { type, id, data } = JSON.parse(text);
      if (type === "bridge") {
        this.#socket.send(JSON.stringify(data));
        this.#tell({ type: "response", id });
      } else if (type === "ping") {
        this.#pings.push(id);
        this.#socket.send(PROBE);
      }
    }

    close(code?: number): void {
      this.#socket.close(code);
    }

    #tell(data: object): void {
      queueMicrotask(() => this.onmessage?.({ data }));
    }
  };
}
