// Says what each entry point weighs, minified by Vite's bundler and compressed, as an application has it that uses all
// of it. Fails where one is beyond its limit. The core does not count for the others.
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { rolldown } from "rolldown";
import { entries } from "./entries.js";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Bytes of what is loaded at once, and of what is loaded later. */
async function gzipBytes(folder) {
  const isExternal = (id) => !/^[./]/.test(id) || (folder !== "core" && /\/core\//.test(id));
  // "use client" of React is for whoever bundles the package.
  const checks = { moduleLevelDirective: false };
  const bundle = await rolldown({ cwd: root, input: `./src/${folder}/index.ts`, external: isExternal, checks });
  const { output } = await bundle.generate({ format: "esm", minify: true });
  const files = new Map(output.map((file) => [file.fileName, file]));
  const atOnce = new Set();
  const add = (name) => {
    if (atOnce.has(name) || !files.has(name)) return;
    atOnce.add(name);
    files.get(name).imports.forEach(add);
  };
  output.filter(({ isEntry }) => isEntry).forEach(({ fileName }) => add(fileName));
  const weigh = (wanted) => {
    const code = output.filter(({ fileName }) => wanted === atOnce.has(fileName)).map(({ code }) => code);
    // Annotations are for other bundlers: applications do not have them.
    return code.length ? gzipSync(code.join("").replaceAll("/* @__PURE__ */ ", ""), { level: 9 }).length : 0;
  };
  return [weigh(true), weigh(false)];
}

// What another zlib may make more of the same code.
const ZLIB_TOLERANCE = 1.01;

function check(name, bytes, bytes_max) {
  const fits = bytes <= bytes_max * ZLIB_TOLERANCE;
  console.log(`${fits ? "ok" : "TOO LARGE"}  ${name}: ${bytes} bytes, at most ${bytes_max}`);
  if (!fits) process.exitCode = 1;
}

for (const { name, folder, gzip_max, later_gzip_max = 0 } of entries) {
  const [atOnce, later] = await gzipBytes(folder);
  check(name, atOnce, gzip_max);
  if (later || later_gzip_max) check(`${name}, loaded later`, later, later_gzip_max);
}
