import { playwright } from "@vitest/browser-playwright";
import { defineConfig } from "vitest/config";
import * as commands from "./tests/support/commands.js";

// The Chromium to test in; the system's unless FANFARE_CHROMIUM names another.
const executablePath = process.env["FANFARE_CHROMIUM"] ?? "/usr/bin/chromium";

export default defineConfig({
  test: {
    testTimeout: 30_000,
    hookTimeout: 30_000,
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
        optimizeDeps: { include: ["react", "react/jsx-dev-runtime", "react-dom/client", "react-dom/server"] },
        test: {
          name: "browser",
          include: ["tests/**/*.browser.test.{ts,tsx}"],
          browser: {
            enabled: true,
            headless: true,
            screenshotFailures: false,
            provider: playwright({ launchOptions: { executablePath, args: ["--no-sandbox"] } }),
            instances: [{ browser: "chromium" }],
            commands: { ...commands },
          },
        },
      },
    ],
  },
});
