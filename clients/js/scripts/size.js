// Says what each entry point weighs, minified and compressed, as an application has it that uses all of it. Fails where
// one is beyond its limit. The core does not count for the others.
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { entries } from "./entries.js";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Bytes of what is loaded at once, and of what is loaded later. */
async function gzipBytes(folder) {
  const withoutCore = {
    name: "without-core",
    setup: (build) => build.onResolve({ filter: /\/core\// }, () => ({ path: "fanfare-client", external: true })),
  };
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    entryPoints: [`src/${folder}/index.ts`],
    outdir: "size",
    bundle: true,
    splitting: true,
    minify: true,
    format: "esm",
    target: "es2022",
    packages: "external",
    write: false,
    metafile: true,
    plugins: folder === "core" ? [] : [withoutCore],
  });
  const files = new Map(outputFiles.map(({ path, contents }) => [path.slice(root.length), contents]));
  const atOnce = new Set();
  const add = (path) => {
    if (atOnce.has(path) || !files.has(path)) return;
    atOnce.add(path);
    for (const { path: other, kind } of metafile.outputs[path].imports) {
      if (kind === "import-statement") add(other);
    }
  };
  add("size/index.js");
  const weigh = (wanted) => {
    const contents = [...files].filter(([path]) => wanted === atOnce.has(path)).map(([, contents]) => contents);
    return contents.length ? gzipSync(Buffer.concat(contents), { level: 9 }).length : 0;
  };
  return [weigh(true), weigh(false)];
}

function check(name, bytes, bytes_max) {
  const fits = bytes <= bytes_max;
  console.log(`${fits ? "ok" : "TOO LARGE"}  ${name}: ${bytes} bytes, at most ${bytes_max}`);
  if (!fits) process.exitCode = 1;
}

for (const { name, folder, gzip_max, later_gzip_max = 0 } of entries) {
  const [atOnce, later] = await gzipBytes(folder);
  check(name, atOnce, gzip_max);
  if (later || later_gzip_max) check(`${name}, loaded later`, later, later_gzip_max);
}
