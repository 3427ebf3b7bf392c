import { type Client, type ClientEvents, connect } from "../core/client.js";
import type { Options } from "../core/options.js";
import { constructorOf } from "../core/websocket.js";
import { bridgeSocket } from "./socket.js";

export interface UserOptions extends Omit<Options, "transports" | "fetch" | "credentials" | "streamsMax"> {
  /** Who this is. A token has to be of the same user. */
  user: string;
}

/** What a service has sent to this user. */
export interface Message<T = any> {
  /** As the service said it, with `user_id`, `original_sender` and `correlation_id` of the gateway. */
  readonly data: T;
  /**
   * Answers a question, any number of times; the service gets each as it comes. Without a connection it waits for the next
   * one, and resolves when it is on its way: what is on its way when a connection is lost may be lost. Rejects with
   * `QUEUE_FULL` when 1,000 answers wait, and when the user is closed or has given up.
   */
  answer(answer: object): Promise<void>;
  /** The last answer to a question. The gateway takes no more. */
  finish(answer?: object): Promise<void>;
}

export interface UserEvents extends Pick<ClientEvents, "state" | "error"> {
  message: Message;
}

/** A user's connection to the bridge, which comes back. Made by {@link connectUser}. */
export interface User extends Pick<Client, "state" | "status" | "reconnect" | "authenticate" | "close"> {
  /** Calls `listener` with each `type` from now on. Gives what ends that. */
  on<Type extends keyof UserEvents>(type: Type, listener: (value: UserEvents[Type]) => unknown): () => void;
}

/**
 * Connects a user to the bridge, `wss://host/ws`, and keeps the connection, as `connect` does. A user who is connected
 * elsewhere is `waiting` until that connection has gone.
 *
 * @throws FanfareError `NO_WEBSOCKET` where the runtime has none and none is given.
 */
export function connectUser(url: string | URL, options: UserOptions): User {
  const { user, token } = options;
  const address = new URL(url, globalThis.location?.href);
  address.searchParams.set("user_id", user);
  const WebSocket = bridgeSocket(constructorOf(options.WebSocket), typeof token === "function");
  const client = connect(address, { ...options, WebSocket });

  function message(data: any): Message {
    const { correlation_id } = data;
    const answer = (said?: object, is_final?: true) => {
      const data = { type: "response", ...said, correlation_id, is_final };
      const sent = client.request({ type: "bridge", data }).then(() => {});
      // It need not be waited for.
      sent.catch(() => {});
      return sent;
    };
    return { data, answer: (said) => answer(said), finish: (said) => answer(said, true) };
  }

  return {
    get state() {
      return client.state;
    },
    get status() {
      return client.status;
    },
    on: (type, listener: (value: any) => unknown) =>
      client.on(type, (value: any) => {
        if (type !== "message") return listener(value);
        return value.type === "bridge" ? listener(message(value.data)) : undefined;
      }),
    reconnect: () => client.reconnect(),
    authenticate: (token) => client.authenticate(token),
    close: () => client.close(),
  };
}
