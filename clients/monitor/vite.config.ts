import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

// The gateway that `npm run dev` shows.
const gateway = process.env["FANFARE_URL"] ?? "http://127.0.0.1:8080";

export default defineConfig({
  base: "/monitor/",
  resolve: {
    // The library's source: a clean clone needs no build of it first.
    alias: { "fanfare-client": fileURLToPath(new URL("../js/src/core/index.ts", import.meta.url)) },
  },
  build: {
    target: "es2022",
    // The gateway's policy refuses `data:` and inline code.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: { "/api": { target: gateway, ws: true, changeOrigin: true } },
  },
  test: {
    include: ["tests/**/*.test.ts"],
    // They wait more than they compute.
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 30_000,
    expect: { poll: { timeout: 10_000 } },
  },
});
