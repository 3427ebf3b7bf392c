// The package as its users get it: packed, installed in an empty project, used by Node, by TypeScript and by Vite.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type InlineConfig, build } from "vite";
import { Gateway } from "./support/gateway.js";

const root = fileURLToPath(new URL("..", import.meta.url));
let project: string;
let gateway: Gateway;

const run = (command: string, ...args: string[]) => execFileSync(command, args, { cwd: project, encoding: "utf8" });
const write = (name: string, text: string) => writeFileSync(join(project, name), text);

beforeAll(async () => {
  project = mkdtempSync(join(tmpdir(), "fanfare-client-"));
  execFileSync("npm", ["pack", "--silent", "--pack-destination", project], { cwd: root });
  const [tarball] = readdirSync(project);
  write("package.json", '{"name":"empty","private":true,"type":"module"}');
  // What else the project has is here already: nothing is fetched.
  run("npm", "install", "--silent", "--offline", "--no-audit", "--no-fund", "--legacy-peer-deps", `./${tarball}`, `${root}node_modules/ws`);
  gateway = await Gateway.start();
}, 120_000);
afterAll(async () => {
  rmSync(project, { recursive: true, force: true });
  await gateway?.stop();
});

test("it has its license, its readme, maps and types, and no tests", () => {
  const files = readdirSync(join(project, "node_modules/fanfare-client"), { recursive: true }).map(String);
  expect(files).toEqual(expect.arrayContaining(["LICENSE", "README.md", "dist/core/index.js", "dist/core/index.js.map", "dist/core/index.d.ts"]));
  expect(files.filter((file) => /test|node_modules/.test(file))).toEqual([]);
  const map = JSON.parse(readFileSync(join(project, "node_modules/fanfare-client/dist/core/index.js.map"), "utf8"));
  expect(map.sources).toContain("../../src/core/client.ts");
});

test("every entry point is there", () => {
  const folder = join(project, "node_modules/fanfare-client");
  const { exports } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const sources = readdirSync(join(root, "src"), { recursive: true }).map(String);
  const missing = Object.values<{ types: string; default: string }>(exports)
    .filter(({ default: file }) => sources.some((source) => source.startsWith(`${file.split("/")[2]}/index.`)))
    .flatMap((entry) => Object.values(entry))
    .filter((file) => !readdirSync(folder, { recursive: true }).map(String).includes(file.slice(2)));
  expect(missing).toEqual([]);
});

test("Node runs it, and without a WebSocket says what to do", () => {
  write(
    "main.js",
    `import { connect } from "fanfare-client";
     import WebSocket from "ws";
     const url = "${gateway.url}/api/v1/ws/demo";
     const native = globalThis.WebSocket;
     delete globalThis.WebSocket;
     try { connect(url); } catch (error) { console.log(error.code); }
     const client = connect(url, { WebSocket });
     const news = client.subscribe("news");
     await news.ready();
     await client.publish("news", "hello");
     for await (const event of news) { console.log(event.data); break; }
     client.close();`,
  );
  expect(run(process.execPath, "main.js")).toBe("NO_WEBSOCKET\nhello\n");
});

test.each(["nodenext", "bundler"])("TypeScript takes its types, with moduleResolution %s", (resolution) => {
  write(
    "main.ts",
    `import { type Client, FanfareError, connect } from "fanfare-client";
     const client: Client = connect("ws://x/", { transports: ["ws", "sse"], token: async ({ reason }) => reason });
     const sub = client.subscribe<{ n: number }>("a", { since: undefined });
     sub.on("event", ({ data }) => data.n.toFixed());
     for await (const item of sub) if (item.type === "event") item.data.n.toFixed();
     export const failed = (error: unknown) => error instanceof FanfareError && error.remedy === "token";`,
  );
  const module = resolution === "bundler" ? "esnext" : resolution;
  const options = ["--noEmit", "--strict", "--exactOptionalPropertyTypes", "--target", "es2022", "--lib", "es2022,dom"];
  run(process.execPath, `${root}node_modules/typescript/bin/tsc`, ...options, "--module", module, "--moduleResolution", resolution, "main.ts");
});

/** What Vite makes of an application: its scripts, those loaded at once first, and the modules in them. */
async function application(main: string) {
  write("app.js", main);
  write("index.html", '<script type="module" src="./app.js"></script>');
  mkdirSync(join(project, "public"), { recursive: true });
  const config: InlineConfig = { root: project, configFile: false, logLevel: "error", build: { write: false } };
  const result = await build(config);
  const { output } = Array.isArray(result) ? result[0]! : (result as Extract<typeof result, { output: unknown }>);
  const chunks = output.filter((file) => file.type === "chunk").sort((a, b) => Number(b.isEntry) - Number(a.isEntry));
  const modules = chunks.flatMap(({ moduleIds }) => moduleIds).filter((id) => id.includes("fanfare-client/dist"));
  return { chunks, modules };
}

test("of the core alone Vite bundles the core alone", async () => {
  const { chunks, modules } = await application('import { connect } from "fanfare-client"; connect("/api/v1/ws/demo");');
  expect(modules.filter((id) => !/dist\/(core|shared)\//.test(id))).toEqual([]);
  expect(chunks.map(({ code }) => code).join()).not.toMatch(/useSyncExternalStore|indexedDB/);
  // With Vite's own code for what is loaded later, where the application has none otherwise.
  expect(gzipSync(chunks[0]!.code).length).toBeLessThan(7.5 * 1024);
});

test("what is not used is left out", async () => {
  const { chunks } = await application('import { FanfareError } from "fanfare-client"; console.log(new FanfareError("A", "b"));');
  expect(chunks.map(({ code }) => code).join()).not.toContain("WebSocket");
  const nothing = await application('import "fanfare-client";');
  expect(nothing.modules).toEqual([]);
});
