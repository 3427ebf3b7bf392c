import { playwright } from "@vitest/browser-playwright";
import { defineConfig } from "vitest/config";
import { killGateway, restartGateway, startGateway, stopGateway } from "./tests/support/commands.js";

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
        test: {
          name: "browser",
          include: ["tests/**/*.browser.test.{ts,tsx}"],
          browser: {
            enabled: true,
            headless: true,
            screenshotFailures: false,
            provider: playwright({ launchOptions: { executablePath, args: ["--no-sandbox"] } }),
            instances: [{ browser: "chromium" }],
            commands: { startGateway, stopGateway, killGateway, restartGateway },
          },
        },
      },
    ],
  },
});
