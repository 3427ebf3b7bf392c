import type { Frame, Link, Listener } from "./link.js";
import type { Options } from "./options.js";

/** Characters of one event. What has more is taken for broken. */
const EVENT_CHARS_MAX = 16 * 1024 * 1024;

/** A stream that says nothing for so many times its heartbeat, and for so long, is lost. */
const HEARTBEATS_MISSED = 2.5;
const SILENT_MS_MIN = 40_000;

/** For how long a publication may take. */
const PUBLISH_MS_MAX = 30_000;

/** After a publication without an answer it is connected again, and that one sent again, after so long. */
const UNKNOWN_MS = 5_000;

/** How often it is tried whether there is a WebSocket by now, and how often at most when the network or the page is back. */
const UPGRADE_MS = 180_000;
const UPGRADE_MS_MIN = 30_000;

/**
 * A stream of Server-Sent Events for each topic, and publishing over HTTP, as if it were one connection that speaks the
 * events protocol. One stream for each: an event does not say its topic, and the place of a stream is that of all of
 * its topics. It ends when `openWebSocket`, if it is given, gets a WebSocket.
 */
export function openSse(
  base: URL,
  token: string | null | undefined,
  { fetch: request = fetch, credentials = "same-origin", streamsMax = 5 }: Options,
  listener: Listener,
  openWebSocket?: (url: URL, listener: Listener) => Link,
): Link {
  const streams = new Map<string, AbortController>();
  const all = new AbortController();
  let isOpen = true;
  /** Publications, one after the other; and those that were refused for now, with all that are behind them. */
  let publishing = Promise.resolve();
  let refusals = 0;
  let upgrade: Link | undefined;
  let upgraded = Date.now();

  const tell = (frame: Frame) => isOpen && listener.frame({ timestamp: new Date().toISOString(), ...frame });
  const end = (code: number, reason: string, hint?: number) => {
    if (!isOpen) return;
    close();
    listener.end(code, reason, hint);
  };
  const close = () => {
    isOpen = false;
    clearInterval(upgrading);
    upgrade?.close();
    all.abort();
    for (const stream of streams.values()) stream.abort();
  };
  const address = (path: string) => {
    const address = new URL(base);
    address.protocol = address.protocol.replace("ws", "http");
    address.pathname = address.pathname.replace(/\/ws(\/[^/]*)?\/?$/, "") + path;
    address.search = "";
    return address;
  };
  const send = (address: URL, signal: AbortSignal, init: RequestInit = {}) => {
    const headers = { ...(token && { Authorization: `Bearer ${token}` }), ...init.headers };
    return request(address, { ...init, headers, signal, credentials, cache: "no-store" });
  };

  const refuse = (answer: Response, detail: string) =>
    end(answer.status === 503 || answer.status === 429 ? 1013 : 1006, detail, retryAfter(answer));

  /** Whether the gateway is there. Any answer below 500 says so; a page of another host sees that there is one. */
  async function ask(): Promise<void> {
    try {
      const answer = await request(address("/health"), { signal: all.signal, mode: "no-cors", cache: "no-store" });
      const text = await answer.text();
      if (answer.status >= 500) refuse(answer, `${answer.status}: ${text.slice(0, 200)}`);
      else listener.heard();
    } catch (error) {
      end(1006, String(error));
    }
  }

  /** Tries a WebSocket beside the streams, which go on until there is one. */
  function tryWebSocket(): void {
    if (!openWebSocket || Math.abs(Date.now() - upgraded) < UPGRADE_MS_MIN) return;
    upgraded = Date.now();
    upgrade?.close();
    const frame = (text: unknown) =>
      /"connection_established"/.test(String(text)) && end(1006, "There is a WebSocket again");
    try {
      upgrade = openWebSocket(base, { frame, heard: ignore, end: ignore });
    } catch {
      // It takes no such token.
    }
  }

  async function subscribe({ id, events, recover = {} }: Frame) {
    const [accepted, rejected]: [string[], string[]] = [[], []];
    const begun: { name: string; read: () => void }[] = [];
    await Promise.all(
      events.map(async (name: string) => {
        if (!streams.has(name)) {
          const read =
            !name.includes("*") && streams.size < streamsMax && (await stream(name, recover[name] ?? {}));
          if (!read) return void rejected.push(name);
          begun.push({ name, read });
        }
        accepted.push(name);
      }),
    );
    tell({ type: "subscription_confirmed", id, events: accepted, rejected, topics: {} });
    for (const { name, read } of begun) {
      // A place of another transport says nothing here.
      if (recover[name]?.offset) tell({ type: "gap", event: name, lost: null });
      read();
    }
  }

  /** Opens a stream and gives what reads it; undefined if it is refused by itself. */
  async function stream(topic: string, { cursor, last }: Frame): Promise<(() => void) | undefined> {
    const abort = new AbortController();
    streams.set(topic, abort);
    const url = address("/sse");
    url.searchParams.set("topics", topic);
    if (cursor) url.searchParams.set("last_event_id", cursor);
    else if (last) url.searchParams.set("last", last);
    try {
      const answer = await send(url, abort.signal, { headers: { Accept: "text/event-stream" } });
      const { status, body } = answer;
      listener.heard();
      if (status === 200 && body && /^text\/event-stream/.test(answer.headers.get("content-type") ?? "")) {
        return () => void read(topic, body, abort.signal);
      }
      const detail = `${status}: ${(await answer.text()).slice(0, 200)}`;
      if (status === 401) end(4401, detail);
      // A proxy's own answer has no such member: the gateway has not been asked.
      else if ([400, 403, 404].includes(status) && /"detail"/.test(detail)) streams.delete(topic);
      else refuse(answer, detail);
    } catch (error) {
      if (!abort.signal.aborted) end(1006, String(error));
    }
    return undefined;
  }

  async function read(topic: string, body: ReadableStream<Uint8Array>, signal: AbortSignal) {
    let hint = 0;
    let name = "";
    let id = "";
    let data: string[] = [];
    let isFirst = true;
    // Once it has had a heartbeat, which comes after so long without anything else, whatever becomes of the wall clock.
    // Other streams, and /health, say nothing of this one.
    let silence: ReturnType<typeof setTimeout> | undefined;
    let heartbeat = 0;
    let heard = performance.now();
    const line = (line: string) => {
      const [, field, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line)!;
      if (field === "event") name = value;
      else if (field === "data") data.push(value);
      else if (field === "retry") hint = Number(value) || 0;
      else if (field === "id") {
        id = value;
        // Where the stream begins: it counts at once. Those that follow count with their events.
        if (isFirst) tell({ type: "place", event: topic, place: `sse:${id}` });
        isFirst = false;
      } else if (line === "") {
        if (data.length) {
          const value = JSON.parse(data.join("\n"));
          // The gateway takes no events of these names.
          if (name !== "gap" && name !== "presence") {
            tell({ type: "event", event: name, topic, data: value, event_id: `sse:${id}` });
          } else {
            tell({ ...value, type: name });
            if (id) tell({ type: "place", event: topic, place: `sse:${id}` });
          }
        }
        name = id = "";
        data = [];
      }
    };
    try {
      const reader = body.getReader();
      const decoder = new TextDecoder();
      let text = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        listener.heard();
        text += decoder.decode(value, { stream: true });
        const since = performance.now() - heard;
        heard += since;
        if (/^:/m.test(text)) heartbeat = Math.max(heartbeat, since, SILENT_MS_MIN / HEARTBEATS_MISSED);
        clearTimeout(silence);
        if (heartbeat) silence = setTimeout(() => end(1006, "A stream is silent", hint), heartbeat * HEARTBEATS_MISSED);
        const lines = text.split(/\r?\n/);
        text = lines.pop()!;
        lines.forEach(line);
        if (text.length + data.reduce((sum, { length }) => sum + length, 0) > EVENT_CHARS_MAX) throw "too long";
      }
      end(1006, "The stream ended", hint);
    } catch (error) {
      if (!signal.aborted) end(1006, String(error), hint);
    } finally {
      clearTimeout(silence);
    }
  }

  async function publish({ id, event, data, key }: Frame, behind: number) {
    const failed = (code: string, message: string, details = {}) => tell({ type: "error", id, code, message, details });
    const later = (message: string, retry_after: number) => {
      refusals += 1;
      failed("BUSY", message, { retry_after });
    };
    // It is sent again behind the one that was refused.
    if (behind !== refusals) return void failed("BUSY", "Another one is to be first");
    const timer = setTimeout(() => end(1006, "No answer to a publication"), PUBLISH_MS_MAX);
    try {
      const body = JSON.stringify({ topic: event, payload: data, id: key });
      const answer = await send(address("/publish"), all.signal, { method: "POST", body });
      const { status } = answer;
      const text = await answer.text();
      if (status === 202) tell({ type: "response", id, result: JSON.parse(text) });
      // With another token it is sent again.
      else if (status === 401 && token) end(4401, text);
      else if (status === 401 || status === 403) failed("FORBIDDEN", text);
      else if (status === 413) failed("MESSAGE_TOO_LARGE", text);
      else if (status === 429 || status === 503) later(text, (retryAfter(answer) ?? 1000) / 1000);
      else if (status < 500) failed("INVALID_MESSAGE", text);
      // It may be published: as with any lost connection, its key is sent again for as long as that is known.
      else end(1006, text, retryAfter(answer) ?? UNKNOWN_MS);
    } catch (error) {
      end(1006, String(error), UNKNOWN_MS);
    } finally {
      clearTimeout(timer);
    }
  }

  const upgrading = setInterval(tryWebSocket, UPGRADE_MS);
  void ask().then(() => tell({ type: "connection_established", client_id: null, user: null, name: null, role: null }));
  return {
    send(text) {
      const message = JSON.parse(text);
      const { type, id, events } = message;
      if (type === "subscribe") void subscribe(message);
      else if (type === "publish") {
        const behind = refusals;
        publishing = publishing.then(() => publish(message, behind));
      } else if (type === "unsubscribe") {
        for (const name of events) {
          streams.get(name)?.abort();
          streams.delete(name);
        }
        tell({ type: "unsubscribed", id });
      } else if (type === "ping") {
        if (id) return tell({ type: "pong", id });
        void ask();
        tryWebSocket();
      } else if (id) tell({ type: "error", id, code: "UNSUPPORTED", message: `Over SSE there is no ${type}` });
    },
    close,
  };
}

const ignore = () => {};

function retryAfter(answer: Response): number | undefined {
  return Number(answer.headers.get("retry-after")) * 1000 || undefined;
}
