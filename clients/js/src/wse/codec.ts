import type { WSMessage } from "./types.js";

/** What a text frame says: an envelope, or one of the old pings and pongs that are no JSON. */
export type Decoded = { message: WSMessage; json?: string } | { ping: number } | { pong: number };

/** Decodes a text frame. Throws what is none of the protocol. */
export function decodeText(text: string): Decoded {
  const old = /^(?:WSE:)?(PING|PONG)(?::(\d+))?$/i.exec(text);
  if (old) {
    const time = Number(old[2] ?? 0);
    return (old[1] as string).toUpperCase() === "PING" ? { ping: time } : { pong: time };
  }
  // Servers of 1.x write the category before the object.
  const prefix = /^(WSE|S|U)(?=[{])/.exec(text)?.[1];
  const json = prefix ? text.slice(prefix.length) : text;
  return { message: envelope(JSON.parse(json), prefix), json };
}

/** Checks the fields that are used, so that nothing behind needs to. */
export function envelope(value: unknown, category?: string): WSMessage {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("a message is no object");
  const { type, payload, ...rest } = value as Record<string, unknown>;
  const t = rest["t"] ?? type;
  if (typeof t !== "string" || t === "") throw new Error("a message has no type");
  const p = rest["p"] ?? payload ?? {};
  const message = { ...rest, t, p: typeof p === "object" && !Array.isArray(p) ? p : { data: p } } as WSMessage;
  if (category) message.c = category as "WSE" | "S" | "U";
  const stamped = typeof message.tp === "string" && message.e != null && Number.isSafeInteger(message.o);
  if (stamped) message.e = String(message.e);
  else {
    delete message.tp;
    delete message.e;
    delete message.o;
  }
  if (typeof message.id !== "string") delete message.id;
  return message;
}

/** The category of what is sent, by its type. */
export function categoryOf(type: string): "WSE" | "S" | "U" {
  return SYSTEM.test(type) ? "WSE" : /^(sync_request|request_snapshot|snapshot_request)$/.test(type) ? "S" : "U";
}

const SYSTEM =
  /^(client_hello|subscription_update|ping|pong|batch|config_update|(health_check|sync|metrics)_response|(debug|config|config_update|encryption|key_rotation)_request)$/i;
