// Light or dark: as the system says, unless the operator has chosen.

export type Theme = "system" | "light" | "dark";

const NAME = "fanfare-monitor.theme";

export function savedTheme(): Theme {
  try {
    const saved = localStorage.getItem(NAME);
    return saved === "light" || saved === "dark" ? saved : "system";
  } catch {
    return "system";
  }
}

export function applyTheme(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
}

export function saveTheme(theme: Theme): void {
  applyTheme(theme);
  try {
    if (theme === "system") localStorage.removeItem(NAME);
    else localStorage.setItem(NAME, theme);
  } catch {
    // It holds for this page.
  }
}
