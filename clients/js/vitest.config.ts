import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { playwright } from "@vitest/browser-playwright";
import { defineConfig } from "vitest/config";
import * as commands from "./tests/support/commands.js";

// The Chromium to test in; the system's unless FANFARE_CHROMIUM names another.
const executablePath = process.env["FANFARE_CHROMIUM"] ?? "/usr/bin/chromium";

/** The React page of the gateway's README, as it stands there, as the module `/readme.tsx?port=<of the gateway>`. */
const readme = {
  name: "readme",
  resolveId: (id: string) => (id.startsWith("/readme.tsx") ? id : undefined),
  load(id: string) {
    const [, port] = /^\/readme\.tsx\?port=(\d+)/.exec(id) ?? [];
    if (!port) return undefined;
    const text = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
    const [, code = ""] = /^```tsx\n(.*?)\n```$/ms.exec(text)!;
    return code.replaceAll("127.0.0.1:8080", `127.0.0.1:${port}`);
  },
};

const browser = () => ({
  enabled: true,
  headless: true,
  screenshotFailures: false,
  provider: playwright({ launchOptions: { executablePath, args: ["--no-sandbox"] } }),
  instances: [{ browser: "chromium" as const }],
  commands: { ...commands },
});
const react = ["react", "react/jsx-dev-runtime", "react-dom/client", "react-dom/server"];
const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

export default defineConfig({
  test: {
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // A bound for a loaded machine: what is polled for usually comes at once.
    expect: { poll: { timeout: 10_000 } },
    projects: [
      {
        extends: true,
        test: {
          name: "node",
          environment: "node",
          include: ["tests/**/*.test.{ts,tsx}"],
          exclude: ["tests/**/*.browser.test.{ts,tsx}"],
        },
      },
      {
        extends: true,
        // What is found while tests run has the page loaded anew.
        plugins: [readme],
        resolve: { alias: { "fanfare-client/react": path("src/react/index.ts") } },
        optimizeDeps: { include: react },
        test: { name: "browser", include: ["tests/**/*.browser.test.{ts,tsx}"], env: { REACT: "19" }, browser: browser() },
      },
      {
        extends: true,
        cacheDir: "node_modules/.vite-react-18",
        resolve: { alias: [{ find: /^(react|react-dom)(?=\/|$)/, replacement: path("tests/react-18/node_modules/$1") }] },
        optimizeDeps: { include: react },
        test: { name: "react 18", include: ["tests/react/react.browser.test.tsx"], env: { REACT: "18" }, browser: browser() },
      },
    ],
  },
});
