// A gateway that does what a real one cannot: says anything, cuts anywhere, never answers.
import { type Server, type Socket, createServer } from "node:net";
import { createHash } from "node:crypto";
import { once } from "node:events";

/** One connection of a client after the upgrade. */
export class Link {
  /** Messages of the client that {@link next} has not given, decoded. */
  readonly #messages: any[] = [];
  #wake: (() => void) | undefined;
  #isClosing = false;
  /** The code that the client closed with, once it has. */
  closeCode: number | undefined;
  readonly closed: Promise<void>;
  /** Whether the end of a subscription is answered by itself, as the gateway does. */
  answersUnsubscribe = true;

  constructor(
    /** What the client asked for: `/path?query`. */
    readonly path: string,
    readonly headers: Record<string, string>,
    private readonly socket: Socket,
    rest: Buffer,
  ) {
    this.closed = new Promise((done) =>
      socket.on("close", () => {
        this.#wake?.();
        done();
      }),
    );
    let bytes = rest;
    const read = (more: Buffer) => {
      bytes = Buffer.concat([bytes, more]);
      for (let frame; (frame = takeFrame(bytes)); bytes = frame.rest) this.#take(frame.opcode, frame.payload);
    };
    socket.on("data", read);
    read(Buffer.alloc(0));
  }

  #take(opcode: number, payload: Buffer): void {
    if (opcode === 8) {
      this.closeCode = payload.length >= 2 ? payload.readUInt16BE(0) : 1005;
      // No frame follows a close frame: browsers take it for a broken connection.
      if (this.#isClosing) this.socket.end();
      else this.socket.end(frame(8, payload));
    } else if (opcode === 9) this.socket.write(frame(10, payload));
    else if (opcode === 1 || opcode === 2) {
      const message = JSON.parse(payload.toString());
      this.#messages.push(message);
      if (message.type === "unsubscribe" && this.answersUnsubscribe) this.say({ type: "unsubscribed", id: message.id });
      this.#wake?.();
    }
  }

  /** The client's next message, of a type if one is given: others are skipped. */
  async next(type?: string): Promise<any> {
    for (;;) {
      while (this.#messages.length > 0) {
        const message = this.#messages.shift();
        if (type === undefined || message.type === type) return message;
      }
      if (this.socket.destroyed) throw new Error("the client has gone");
      await new Promise<void>((done) => (this.#wake = done));
    }
  }

  /** Sends a message: an object as JSON, text as it is. */
  say(message: unknown): void {
    this.socket.write(frame(1, Buffer.from(typeof message === "string" ? message : JSON.stringify(message))));
  }

  /** Sends a binary message. */
  binary(bytes: Uint8Array): void {
    this.socket.write(frame(2, Buffer.from(bytes)));
  }

  /** Sends bytes that need not be a frame. */
  raw(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  greet(more: object = {}): void {
    const timestamp = new Date().toISOString();
    this.say({ type: "connection_established", client_id: "fake", authenticated: false, user: null, timestamp, ...more });
  }

  /** Greets, and confirms the first subscription from offset 0 of epoch 1. Gives what was asked for. */
  async open(): Promise<any> {
    this.greet();
    const asked = await this.next("subscribe");
    this.confirm(asked);
    return asked;
  }

  confirm(asked: any, topics?: object): void {
    const places = Object.fromEntries(asked.events.map((name: string) => [name, { epoch: 1, offset: 0 }]));
    this.say({ type: "subscription_confirmed", events: asked.events, topics: topics ?? places, id: asked.id });
  }

  event(topic: string, offset: number, data: unknown, epoch: number | string = 1): void {
    this.say({ type: "event", event: topic, event_type: topic, data, event_id: `${epoch}-${offset}` });
  }

  /** A close frame; the client's answer ends the connection. */
  close(code: number, reason = ""): void {
    const payload = Buffer.alloc(2 + Buffer.byteLength(reason));
    payload.writeUInt16BE(code);
    payload.write(reason, 2);
    this.#isClosing = true;
    this.socket.write(frame(8, payload));
  }

  /** Ends the connection without a word. */
  cut(): void {
    this.socket.destroy();
  }
}

/** An HTTP request that is no upgrade, or one that {@link FakeGateway.refuse} is about. */
export interface Request {
  method: string;
  path: string;
  headers: Record<string, string>;
  body: string;
  socket: Socket;
}

export class FakeGateway {
  readonly port: number;
  readonly url: string;
  readonly http: string;
  /** Connections so far, in their order. */
  readonly links: Link[] = [];
  /** Answers requests that are no upgrades, such as those of SSE. */
  onRequest: (request: Request) => void = ({ socket }) => socket.end(answer(404, '{"detail":"no"}'));
  /** Answers the next upgrades with these bytes instead. */
  readonly refusals: string[] = [];
  #given = 0;
  #wake: (() => void) | undefined;
  readonly #sockets = new Set<Socket>();

  private constructor(private readonly server: Server) {
    const address = server.address();
    this.port = typeof address === "object" && address ? address.port : 0;
    this.url = `ws://127.0.0.1:${this.port}/api/v1/ws`;
    this.http = `http://127.0.0.1:${this.port}`;
    server.on("connection", (socket) => this.#serve(socket));
  }

  static async start(): Promise<FakeGateway> {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new FakeGateway(server);
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.server.close();
    await once(this.server, "close");
  }

  /** The next connection that {@link link} has not given yet. */
  async link(): Promise<Link> {
    for (;;) {
      const link = this.links[this.#given];
      if (link) {
        this.#given += 1;
        return link;
      }
      await new Promise<void>((done) => (this.#wake = done));
    }
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("error", () => {});
    let bytes = Buffer.alloc(0);
    const read = (more: Buffer) => {
      bytes = Buffer.concat([bytes, more]);
      const end = bytes.indexOf("\r\n\r\n");
      if (end < 0) return;
      const [first = "", ...lines] = bytes.subarray(0, end).toString().split("\r\n");
      const [method = "", path = ""] = first.split(" ");
      const headers = Object.fromEntries(
        lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]),
      );
      const rest = bytes.subarray(end + 4);
      if (!headers["upgrade"]) {
        const length = Number(headers["content-length"] ?? 0);
        if (rest.length < length) return;
        socket.off("data", read);
        return this.onRequest({ method, path, headers, body: rest.subarray(0, length).toString(), socket });
      }
      socket.off("data", read);
      const refusal = this.refusals.shift();
      if (refusal !== undefined) return void socket.end(refusal);
      const key = headers["sec-websocket-key"] ?? "";
      const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
      const protocol = headers["sec-websocket-protocol"] ? "sec-websocket-protocol: bearer\r\n" : "";
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n` +
          `sec-websocket-accept: ${accept}\r\n${protocol}\r\n`,
      );
      this.links.push(new Link(path, headers, socket, rest));
      this.#wake?.();
    };
    socket.on("data", read);
  }
}

/** An HTTP response whose end is that of the connection. */
export function answer(status: number, body: string, headers: Record<string, string> = {}): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} -\r\nconnection: close\r\naccess-control-allow-origin: *\r\n${lines.join("")}\r\n${body}`;
}

/** An unmasked, final frame. */
export function frame(opcode: number, payload: Uint8Array): Buffer {
  const length = payload.length;
  const head = length < 126 ? Buffer.of(0x80 | opcode, length) : Buffer.alloc(length < 65_536 ? 4 : 10);
  if (length >= 126) {
    head[0] = 0x80 | opcode;
    head[1] = length < 65_536 ? 126 : 127;
    if (length < 65_536) head.writeUInt16BE(length, 2);
    else head.writeBigUInt64BE(BigInt(length), 2);
  }
  return Buffer.concat([head, payload]);
}

/** The first frame of a client's bytes, unmasked, and what is behind it. */
function takeFrame(bytes: Buffer): { opcode: number; payload: Buffer; rest: Buffer } | undefined {
  if (bytes.length < 2) return undefined;
  let length = bytes[1]! & 0x7f;
  let at = 2;
  if (length === 126) {
    if (bytes.length < 4) return undefined;
    length = bytes.readUInt16BE(2);
    at = 4;
  } else if (length === 127) {
    if (bytes.length < 10) return undefined;
    length = Number(bytes.readBigUInt64BE(2));
    at = 10;
  }
  if (bytes.length < at + 4 + length) return undefined;
  const mask = bytes.subarray(at, at + 4);
  const payload = Buffer.from(bytes.subarray(at + 4, at + 4 + length));
  for (let i = 0; i < length; i++) payload[i]! ^= mask[i & 3]!;
  return { opcode: bytes[0]! & 0x0f, payload, rest: bytes.subarray(at + 4 + length) };
}
