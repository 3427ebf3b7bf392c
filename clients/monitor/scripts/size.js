// Says what the build weighs compressed, and fails where that is beyond the limit.
import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const GZIP_MAX = 120 * 1024;
const dist = fileURLToPath(new URL("../dist/", import.meta.url));
const bytes = readdirSync(dist, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => gzipSync(readFileSync(`${entry.parentPath}/${entry.name}`), { level: 9 }).length)
  .reduce((sum, size) => sum + size, 0);
console.log(`${bytes <= GZIP_MAX ? "ok" : "TOO LARGE"}  dist: ${bytes} bytes of gzip, at most ${GZIP_MAX}`);
if (bytes > GZIP_MAX) process.exitCode = 1;
