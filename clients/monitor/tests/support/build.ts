// Builds what the tests open, as `npm run build` does.
import { build } from "vite";

export default async function (): Promise<void> {
  // Vitest's own would make it a build for development, which a policy may refuse.
  process.env["NODE_ENV"] = "production";
  await build({ logLevel: "warn", mode: "production" });
  process.env["NODE_ENV"] = "test";
}
