// A proxy before a gateway that cuts connections, refuses upgrades, or lets nothing through.
import { type Server, type Socket, connect, createServer } from "node:net";
import { once } from "node:events";

export class Proxy {
  readonly port: number;
  readonly #sockets = new Set<Socket>();
  /** Milliseconds after which a connection is cut, drawn anew for each; undefined: never. */
  lifetime: (() => number) | undefined;
  /** Whether requests for a WebSocket are answered with 403, as some proxies do. */
  refusesWebSocket = false;
  /** Whether bytes wait, as on a network that has gone. */
  isSilent = false;
  /** Whether what the gateway says is lost, and what clients say is not. */
  losesAnswers = false;
  /** Connections that were cut. */
  cuts = 0;

  private constructor(
    private readonly server: Server,
    private readonly target: number,
  ) {
    const address = server.address();
    this.port = typeof address === "object" && address ? address.port : 0;
    server.on("connection", (socket) => this.#serve(socket));
  }

  static async start(target: number): Promise<Proxy> {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new Proxy(server, target);
  }

  /** Cuts all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async stop(): Promise<void> {
    this.lifetime = undefined;
    this.server.close();
    this.cut();
    await once(this.server, "close");
  }

  #serve(client: Socket): void {
    const gateway = connect(this.target, "127.0.0.1");
    const pairs: [Socket, Socket][] = [
      [client, gateway],
      [gateway, client],
    ];
    for (const [from, to] of pairs) {
      this.#sockets.add(from);
      from.on("error", () => {});
      from.on("close", () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      from.on("data", (bytes) => {
        if (from === client && this.refusesWebSocket && /^upgrade: websocket/im.test(bytes.toString("latin1"))) {
          client.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        } else if (!this.isSilent && !(this.losesAnswers && from === gateway)) to.write(bytes);
      });
    }
    const lifetime = this.lifetime?.();
    if (lifetime === undefined) return;
    setTimeout(() => {
      if (client.destroyed) return;
      this.cuts += 1;
      client.destroy();
    }, lifetime);
  }
}
