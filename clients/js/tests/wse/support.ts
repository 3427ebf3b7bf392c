// Clients of the tests, and servers that say anything.
import { createECDH } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import WebSocket, { WebSocketServer } from "ws";
import { WSEClient, type WSEClientConfig, type WSMessage, type WebSocketConstructor } from "../../src/wse/index.js";

/** Quick enough for tests, in all else as it is. */
export const QUICK: WSEClientConfig = {
  WebSocket: WebSocket as unknown as WebSocketConstructor,
  reconnection: { baseDelay: 20, maxDelay: 100 },
  offline: { persistToStorage: false },
};

/** A client, what it has been told by its events, and what came of each topic. */
export class Watched {
  readonly client: WSEClient;
  readonly events: { name: string; detail: any }[] = [];
  readonly messages: WSMessage[] = [];
  readonly states: string[] = [];
  /** Which events are kept in {@link events}. */
  keeps: (name: string) => boolean = () => true;
  /** All sockets that it has made. */
  readonly sockets: WebSocket[] = [];
  static readonly socket = WebSocket;

  constructor(url: string | string[], config: WSEClientConfig = {}, token?: string) {
    const target = new EventTarget();
    const dispatch = target.dispatchEvent.bind(target);
    target.dispatchEvent = (event) => {
      if (this.keeps(event.type)) this.events.push({ name: event.type, detail: (event as CustomEvent).detail });
      return dispatch(event);
    };
    const Base = (config.WebSocket ?? WebSocket) as unknown as new (url: string, protocols?: string[]) => WebSocket;
    const made = this.sockets;
    class Kept extends Base {
      constructor(address: string, protocols?: string[]) {
        super(address, protocols);
        made.push(this);
      }
    }
    const Socket = Kept as unknown as WebSocketConstructor;
    this.client = new WSEClient([url].flat(), { ...QUICK, ...config, WebSocket: Socket, eventTarget: target });
    this.client.setToken(token);
    this.client.store.subscribe((state) => state.connectionState, (state) => this.states.push(state));
  }

  /** Keeps what comes of a type. */
  watch(...types: string[]): this {
    for (const type of types) this.client.on(type, (message) => this.messages.push(message));
    return this;
  }

  start(...topics: string[]): this {
    this.client.subscribe(topics);
    this.client.start();
    return this;
  }

  numbers(): number[] {
    return this.messages.map(({ p }) => p.n as number);
  }

  told(name: string): any[] {
    return this.events.filter((event) => event.name === name).map(({ detail }) => detail);
  }
}

/** One connection at a {@link FakeServer}. */
export class FakeLink {
  readonly heard: any[] = [];
  readonly raw: (string | Buffer)[] = [];
  closed: number | undefined;
  #wake: (() => void) | undefined;

  constructor(
    readonly socket: WebSocket,
    readonly path: string,
    readonly protocol: string,
  ) {
    socket.on("message", (data: Buffer, binary) => {
      this.raw.push(binary ? data : data.toString());
      if (!binary) this.heard.push(JSON.parse(data.toString().replace(/^PONG:.*/, '{"t":"old pong"}')));
      this.#wake?.();
    });
    socket.on("close", (code) => {
      this.closed = code;
      this.#wake?.();
    });
    socket.on("error", () => {});
  }

  say(message: unknown): void {
    this.socket.send(typeof message === "string" || message instanceof Uint8Array ? message : JSON.stringify(message));
  }

  ready(features: object = { recovery: true }): void {
    this.say({ c: "WSE", t: "server_ready", p: { details: { connection_id: "c1", user_id: "ann", features } }, id: `ready${Math.random()}`, v: 1 });
  }

  /** The next message of a type; others are passed over. */
  async next(type: string): Promise<any> {
    for (;;) {
      const at = this.heard.findIndex(({ t }) => t === type);
      if (at >= 0) return this.heard.splice(0, at + 1)[at];
      if (this.closed !== undefined) throw new Error(`closed with ${this.closed} before ${type}`);
      await new Promise<void>((done) => (this.#wake = done));
    }
  }

  /** Greets, and confirms the first subscription. */
  async open(features?: object): Promise<any> {
    this.ready(features);
    await this.next("client_hello");
    const asked = await this.next("subscription_update");
    this.confirm(asked);
    return asked;
  }

  /** Agrees on a key, of which it does not keep its own part. */
  agree(): void {
    const encryption_public_key = createECDH("prime256v1").generateKeys("base64");
    this.say({ c: "WSE", t: "server_hello", p: { features: { encryption: true }, encryption_public_key } });
  }

  confirm(asked: any, recovery?: object): void {
    const p = { action: asked.p.action, success: true, success_topics: asked.p.topics, failed_topics: [], topics: asked.p.topics };
    this.say({ c: "WSE", t: "subscription_update", p: recovery ? { ...p, recovery } : p, v: 1 });
  }

  cut(): void {
    this.socket.terminate();
  }
}

export class FakeServer {
  readonly links: FakeLink[] = [];
  #given = 0;
  #wake: (() => void) | undefined;

  private constructor(private readonly server: WebSocketServer) {
    server.on("connection", (socket, request) => {
      this.links.push(new FakeLink(socket, request.url ?? "", socket.protocol));
      this.#wake?.();
    });
  }

  static async start(port = 0): Promise<FakeServer> {
    const server = new WebSocketServer({ host: "127.0.0.1", port });
    await once(server, "listening");
    return new FakeServer(server);
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}/wse`;
  }

  async link(): Promise<FakeLink> {
    for (;;) {
      const link = this.links[this.#given];
      if (link) {
        this.#given++;
        return link;
      }
      await new Promise<void>((done) => (this.#wake = done));
    }
  }

  async stop(): Promise<void> {
    for (const { socket } of this.links) socket.terminate();
    await new Promise((done) => this.server.close(done));
  }
}
