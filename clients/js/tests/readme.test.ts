// The TypeScript of the pages: all of it is type-checked, and what a reader runs first is run.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import ts from "typescript";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Gateway } from "./support/gateway.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const pages = ["README.md", "../../README.md", "../../docs/clients.md"];
const blocks = pages.flatMap((page) => {
  const found = readFileSync(resolve(root, page), "utf8").matchAll(/^```(tsx?)\n(.*?)\n```$/gms);
  return [...found].map(([, language, code = ""], number) => ({ page, number, language, code }));
});

/** What the blocks leave to their reader. */
const PRELUDE = `
declare const client: import("fanfare-client").Client;
declare function connect(url: string, options?: import("fanfare-client").Options): import("fanfare-client").Client;
declare function show(...values: unknown[]): void;
declare function reload(topic: string): void;
`;

let folder: string;
let gateway: Gateway;
beforeAll(async () => {
  folder = mkdtempSync(join(root, "node_modules/.readme-"));
  gateway = await Gateway.start();
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await gateway.stop();
});

test("every block has the types that it uses", () => {
  expect(blocks.length).toBeGreaterThan(5);
  const files = blocks.map(({ language, code }, number) => {
    const file = join(folder, `block${number}.${language}`);
    writeFileSync(file, `${code}\nexport {};\n`);
    return file;
  });
  const prelude = join(folder, "prelude.d.ts");
  writeFileSync(prelude, PRELUDE);
  const { options } = ts.parseJsonConfigFileContent(ts.readConfigFile(`${root}tsconfig.json`, ts.sys.readFile).config, ts.sys, root);
  const program = ts.createProgram([prelude, ...files], {
    ...options,
    noUnusedLocals: false,
    paths: { "fanfare-client": [`${root}src/core/index.ts`], "fanfare-client/*": [`${root}src/*/index.ts`] },
  });
  const found = ts.getPreEmitDiagnostics(program).map(({ file, messageText }) => {
    const number = files.indexOf(file?.fileName ?? "");
    return [blocks[number]?.page, blocks[number]?.number, ts.flattenDiagnosticMessageText(messageText, "\n")];
  });
  expect(found).toEqual([]);
});

/** Runs a block in Node with the gateway's address; what it prints. */
async function run({ code }: { code: string }, until: string): Promise<string> {
  const entry = join(folder, "run.ts");
  const outfile = join(folder, "run.mjs");
  // Node 20 has none of its own.
  const before = 'import { WebSocket as ws } from "ws"; globalThis.WebSocket ??= ws as any;\n';
  writeFileSync(entry, before + code.replaceAll("127.0.0.1:8080", `127.0.0.1:${gateway.port}`));
  const alias = { "fanfare-client": `${root}src/core/index.ts` };
  await build({ entryPoints: [entry], bundle: true, format: "esm", platform: "node", external: ["ws"], alias, outfile, target: "node20" });
  const child = spawn(process.execPath, [outfile], { stdio: ["ignore", "pipe", "inherit"] });
  let printed = "";
  const ended = once(child, "exit");
  child.stdout.on("data", (bytes) => {
    printed += bytes;
    if (printed.includes(until)) child.kill();
  });
  await ended;
  return printed;
}

test("the first ten minutes work as they stand there", async () => {
  const [first] = blocks.filter(({ page }) => page === "README.md");
  expect(await run(first!, "never")).toBe("published 1\norder 1\n");
});

test("the gateway's own pages show what works", async () => {
  for (const block of blocks.filter(({ page, language }) => page !== "README.md" && language === "ts")) {
    expect(block.code).toContain('from "fanfare-client"');
    await expect(run(block, "hello")).resolves.toContain("hello");
  }
});
