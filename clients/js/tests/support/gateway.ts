// A real gateway: FANFARE_BIN, or the debug build of this repository.
import { type ChildProcess, spawn } from "node:child_process";
import { createHmac, randomInt } from "node:crypto";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const repository = fileURLToPath(new URL("../../../..", import.meta.url));
const binary =
  process.env["FANFARE_BIN"] ?? resolve(repository, process.env["CARGO_TARGET_DIR"] ?? "target", "debug/fanfare");

/** The secret that {@link token} signs with; give it to a gateway as `AUTH__JWT_SECRET`. */
export const SECRET = "a secret of thirty-two characters";

export interface GatewayOptions {
  /** demo (the default): everything open. */
  mode?: "demo" | "dev" | "prod";
  /** Keys of the configuration as in the environment, without `FANFARE_`: `{ HUB__HISTORY_SIZE: "5" }`. */
  settings?: Record<string, string>;
  /** A configuration file's text. */
  config?: string;
}

/** A process of its own, on the same port after a restart. */
export class Gateway {
  readonly url: string;
  readonly http: string;
  #process: ChildProcess | undefined;

  private constructor(
    readonly port: number,
    private readonly options: GatewayOptions,
  ) {
    this.url = `ws://127.0.0.1:${port}`;
    this.http = `http://127.0.0.1:${port}`;
  }

  /** Starts one and waits until it answers. */
  static async start(options: GatewayOptions = {}): Promise<Gateway> {
    if (!existsSync(binary)) throw new Error(`no gateway: set FANFARE_BIN, there is no ${binary}`);
    const gateway = new Gateway(await freePort(), options);
    await gateway.start();
    return gateway;
  }

  /** Starts it again after {@link stop}. */
  async start(): Promise<void> {
    const environment = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !name.startsWith("FANFARE_")),
    );
    const quick = { SERVER__SHARDS: "1", SERVER__DRAIN_TIMEOUT: "100ms", LOG__LEVEL: "error" };
    const settings = { ...quick, ...this.options.settings };
    for (const [name, value] of Object.entries(settings)) environment[`FANFARE_${name}`] = value;
    const listen = `127.0.0.1:${this.port}`;
    const mode = this.options.mode ?? "demo";
    const file = join(tmpdir(), `fanfare-js-${process.pid}-${this.port}.toml`);
    writeFileSync(file, this.options.config ?? "");
    const child = spawn(binary, ["serve", "--mode", mode, "--listen", listen, "--config", file, "--env-file", ""], {
      env: environment,
      stdio: ["ignore", "ignore", "inherit"],
    });
    this.#process = child;
    child.once("exit", () => rmSync(file, { force: true }));
    const deadline = Date.now() + 30_000;
    while (!(await answers(`http://${listen}/health`))) {
      if (child.exitCode !== null) throw new Error(`the gateway has ended with ${child.exitCode}`);
      if (Date.now() > deadline) throw new Error("the gateway does not answer");
      await new Promise((done) => setTimeout(done, 20));
    }
  }

  /** Stops it and waits for its end. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill(signal);
    child.kill("SIGCONT");
    await ended;
  }

  /** Sends a signal that does not end it, as SIGSTOP and SIGCONT. */
  signal(signal: NodeJS.Signals): void {
    this.#process?.kill(signal);
  }

  /** The JSON of a GET. */
  async get(path: string): Promise<any> {
    return (await fetch(this.http + path)).json();
  }

  /** Publishes over HTTP and gives the answer. */
  async publish(event: string, data: unknown, headers: Record<string, string> = {}): Promise<any> {
    const body = JSON.stringify({ event, data });
    const answer = await fetch(`${this.http}/api/v1/events`, { method: "POST", body, headers });
    if (answer.status !== 202) throw new Error(`${answer.status}: ${await answer.text()}`);
    return answer.json();
  }
}

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(url)).ok;
  } catch {
    return false;
  }
}

/** Below those that the system gives to outgoing connections: one of them may take it during a restart. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 30_000);
    const server = createServer();
    const free = await new Promise<boolean>((done) => {
      server.once("error", () => done(false));
      server.listen(port, "127.0.0.1", () => server.close(() => done(true)));
    });
    if (free) return port;
  }
}

/** A token of `user`, ten minutes unless `claims` has another `exp`. */
export function token(user: string, claims: Record<string, unknown> = {}): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const exp = Math.floor(Date.now() / 1000) + 600;
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: user, exp, ...claims })}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}
