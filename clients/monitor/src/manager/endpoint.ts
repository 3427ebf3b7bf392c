// Where the gateway is: from an address such as `NEXT_PUBLIC_WS_URL`, and the mode.

export type Mode = "demo" | "dev" | "prod";

export const PATHS: Readonly<Record<Mode, string>> = {
  demo: "/api/v1/ws/demo",
  dev: "/api/v1/ws/dev",
  prod: "/api/v1/ws",
};

/**
 * The WebSocket address that `url` stands for. Empty: `origin`'s endpoint of the mode, which is `demo` unless another one
 * is given. A host alone, `wss://host`: that host's endpoint of the mode. With a path: as it is.
 *
 * @throws TypeError where `url` is no address of `ws`, `wss`, `http` or `https`.
 */
export function endpointOf(url: string | undefined, mode: Mode = "demo", origin = "http://127.0.0.1:8080"): string {
  const text = url?.trim() ?? "";
  const found = new URL(text || new URL(origin).origin, origin);
  found.protocol = found.protocol.replace(/^http/, "ws");
  if (!/^wss?:$/.test(found.protocol)) throw new TypeError(`no address of a WebSocket: ${text}`);
  if (!text || found.pathname === "/") found.pathname = PATHS[mode];
  return found.href;
}

/** The mode whose endpoint an address is. */
export function modeOf(endpoint: string): Mode {
  const { pathname } = new URL(endpoint);
  return pathname === PATHS.demo ? "demo" : pathname === PATHS.dev ? "dev" : "prod";
}
