// The operator's token: for this tab alone, until it is closed. Where the browser refuses storage, for this page.

const NAME = "fanfare-monitor.token";
let kept: string | undefined;

export function savedToken(): string | undefined {
  try {
    return sessionStorage.getItem(NAME) || undefined;
  } catch {
    return kept;
  }
}

export function saveToken(token: string | undefined): void {
  kept = token;
  try {
    if (token) sessionStorage.setItem(NAME, token);
    else sessionStorage.removeItem(NAME);
  } catch {
    // It is kept in `kept`.
  }
}

/**
 * Takes a token from the page's address, `?token=` or `#token=`, and out of it: addresses are shown and shared. Gives it;
 * undefined where there is none.
 */
export function takeTokenOfAddress(): string | undefined {
  const url = new URL(location.href);
  const fragment = new URLSearchParams(url.hash.slice(1));
  const token = fragment.get("token") || url.searchParams.get("token");
  if (!token) return undefined;
  saveToken(token);
  url.searchParams.delete("token");
  url.hash = "";
  history.replaceState(null, "", url);
  return token;
}
