// Says what each entry point weighs, minified and compressed, as an application has it that uses all of it. Fails where
// one is beyond its limit. The core does not count for the others, and parts that are loaded on demand are said beside it.
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { entries } from "./entries.js";

const root = fileURLToPath(new URL("..", import.meta.url));

const gzip = (outputs) => gzipSync(Buffer.concat(outputs.map(({ contents }) => contents)), { level: 9 }).length;

/** Bytes of what is loaded at once, and of what is loaded when it is needed. */
async function gzipBytes(folder) {
  const withoutCore = {
    name: "without-core",
    setup: (build) => build.onResolve({ filter: /\/core\// }, () => ({ path: "fanfare-client", external: true })),
  };
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    entryPoints: [`src/${folder}/index.ts`],
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    packages: "external",
    splitting: true,
    outdir: "out",
    metafile: true,
    write: false,
    plugins: folder === "core" ? [] : [withoutCore],
  });
  const at_once = new Set();
  const follow = (path) => {
    if (at_once.has(path)) return;
    at_once.add(path);
    for (const { path: next, kind, external } of metafile.outputs[path].imports) {
      if (!external && kind === "import-statement") follow(next);
    }
  };
  follow("out/index.js");
  const early = outputFiles.filter(({ path }) => at_once.has(relative(root, path)));
  const late = outputFiles.filter(({ path }) => !at_once.has(relative(root, path)));
  return { bytes: gzip(early), later: late.length > 0 ? gzip(late) : 0 };
}

for (const { name, folder, gzip_max } of entries) {
  const { bytes, later } = await gzipBytes(folder);
  const fits = bytes <= gzip_max;
  console.log(`${fits ? "ok " : "TOO LARGE"} ${name.padEnd(10)} ${bytes} of ${gzip_max} bytes${later > 0 ? `, and ${later} on demand` : ""}`);
  if (!fits) process.exitCode = 1;
}
