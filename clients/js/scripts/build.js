// Builds `dist`: a module for each entry point, with what several share in modules of their own, source maps, and
// declarations. Not minified: applications do that, and stacks stay readable.
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { entries } from "./entries.js";

const root = fileURLToPath(new URL("..", import.meta.url));
rmSync(`${root}dist`, { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: entries.map(({ folder }) => `src/${folder}/index.ts`),
  outbase: "src",
  outdir: "dist",
  bundle: true,
  splitting: true,
  chunkNames: "shared/[hash]",
  format: "esm",
  target: "es2022",
  sourcemap: true,
  packages: "external",
});
execFileSync(process.execPath, [`${root}node_modules/typescript/bin/tsc`, "-p", `${root}tsconfig.build.json`], {
  stdio: "inherit",
});
