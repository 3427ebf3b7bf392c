// Serves the build at /monitor with a strict policy, as the gateway does, and passes everything else on to a gateway.
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { type IncomingMessage, type ServerResponse, createServer, request } from "node:http";
import { type Socket, connect } from "node:net";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";

const dist = fileURLToPath(new URL("../../dist/", import.meta.url));
const types: Record<string, string> = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

export interface Server {
  /** Of the page. */
  readonly url: string;
  /** Ends all WebSockets without a word. */
  cut(): void;
  stop(): Promise<void>;
}

/** Port 0 of `gateway` stands for one that cannot be reached. */
export async function serve(gateway: { port: number }): Promise<Server> {
  if (!existsSync(dist)) throw new Error("the page is not built: make monitor");
  const upgrades = new Set<Socket>();
  const all = new Set<Socket>();
  const server = createServer(async (incoming, outgoing) => {
    const { pathname } = new URL(incoming.url ?? "/", "http://x");
    if (!pathname.startsWith("/monitor/")) return pass(incoming, outgoing, gateway.port);
    const name = pathname.slice("/monitor/".length) || "index.html";
    try {
      const content = await readFile(dist + name);
      outgoing.writeHead(200, { "content-type": types[extname(name)] ?? "application/octet-stream", "content-security-policy": POLICY });
      outgoing.end(content);
    } catch {
      outgoing.writeHead(404).end();
    }
  });
  server.on("connection", (socket) => {
    all.add(socket);
    socket.on("close", () => all.delete(socket));
    socket.on("error", () => {});
  });
  server.on("upgrade", (incoming: IncomingMessage, socket: Socket) => {
    const other = connect(gateway.port, "127.0.0.1");
    upgrades.add(socket);
    const headers = incoming.rawHeaders.map((text, i) => (i % 2 ? `${text}\r\n` : `${text}: `)).join("");
    other.write(`GET ${incoming.url} HTTP/1.1\r\n${headers}\r\n`);
    socket.pipe(other).pipe(socket);
    const end = () => {
      upgrades.delete(socket);
      socket.destroy();
      other.destroy();
    };
    for (const one of [socket, other]) one.on("close", end).on("error", end);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  return {
    url: `http://127.0.0.1:${port}/monitor/`,
    cut: () => upgrades.forEach((socket) => socket.destroy()),
    async stop() {
      for (const socket of all) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

function pass(incoming: IncomingMessage, outgoing: ServerResponse, port: number): void {
  const { method, headers, url } = incoming;
  const onward = request({ port, host: "127.0.0.1", method, headers, path: url }, (answer) => {
    outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(outgoing);
  });
  onward.on("error", () => outgoing.destroy());
  incoming.pipe(onward);
}
