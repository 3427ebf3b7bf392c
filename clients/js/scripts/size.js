// Says what each entry point weighs, minified and compressed, as an application has it that uses all of it. Fails where
// one is beyond its limit. The core does not count for the others.
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { entries } from "./entries.js";

const root = fileURLToPath(new URL("..", import.meta.url));

async function gzipBytes(folder) {
  const withoutCore = {
    name: "without-core",
    setup: (build) => build.onResolve({ filter: /\/core\// }, () => ({ path: "fanfare-client", external: true })),
  };
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: [`src/${folder}/index.ts`],
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    packages: "external",
    write: false,
    plugins: folder === "core" ? [] : [withoutCore],
  });
  return gzipSync(outputFiles[0].contents, { level: 9 }).length;
}

for (const { name, folder, gzip_max } of entries) {
  const bytes = await gzipBytes(folder);
  const fits = bytes <= gzip_max;
  console.log(`${fits ? "ok " : "TOO LARGE"} ${name.padEnd(10)} ${bytes} of ${gzip_max} bytes`);
  if (!fits) process.exitCode = 1;
}
