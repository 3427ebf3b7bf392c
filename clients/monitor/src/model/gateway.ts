// Which gateway this page belongs to, and how it is reached.
import { type Mode, endpointOf, modeOf } from "../manager";
import { textOf } from "./value";

export interface Gateway {
  readonly mode: Mode;
  readonly endpoint: string;
  /** Its version, where it says so. */
  readonly version?: string | undefined;
}

const isMode = (text: unknown): text is Mode => text === "demo" || text === "dev" || text === "prod";

/**
 * A copy that was built with `VITE_WS_URL` belongs to that gateway, in the mode of `?mode=`, or demo. Any other belongs to
 * the gateway that served it, which says its mode itself, unless it is in prod mode.
 *
 * @throws Error where the gateway cannot be reached, and TypeError where `VITE_WS_URL` is no address.
 */
export async function findGateway(page: URL, built = import.meta.env["VITE_WS_URL"] as string | undefined): Promise<Gateway> {
  const asked = page.searchParams.get("mode");
  const mode = isMode(asked) ? asked : undefined;
  if (mode || built) {
    const endpoint = endpointOf(built, mode, page.origin);
    return { mode: modeOf(endpoint), endpoint };
  }
  const answer = await fetch(new URL("/api/v1/dev-config", page)).catch((cause) => {
    throw new Error("The gateway cannot be reached", { cause });
  });
  if (answer.status === 404) return { mode: "prod", endpoint: endpointOf("", "prod", page.origin) };
  if (!answer.ok) throw new Error(`The gateway answers ${answer.status}`);
  const { mode: own, endpoint, version } = await answer.json();
  const found = endpointOf(String(endpoint), undefined, page.origin);
  return { mode: isMode(own) ? own : modeOf(found), endpoint: found, version: textOf({ version }, "version") };
}
