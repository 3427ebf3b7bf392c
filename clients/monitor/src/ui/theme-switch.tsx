import { useState } from "react";
import { type Theme, saveTheme, savedTheme } from "../model/theme";

const THEMES: readonly [Theme, string, string][] = [
  ["system", "As the system", "M3 4h14v9H3zM7 16.5h6M10 13v3.5"],
  ["light", "Light", "M10 6.2a3.8 3.8 0 1 1 0 7.6 3.8 3.8 0 0 1 0-7.6M10 1.8v1.6M10 16.6v1.6M1.8 10h1.6M16.6 10h1.6M4.2 4.2l1.1 1.1M14.7 14.7l1.1 1.1M4.2 15.8l1.1-1.1M14.7 5.3l1.1-1.1"],
  ["dark", "Dark", "M16.5 12.2A7 7 0 0 1 7.8 3.5a7 7 0 1 0 8.7 8.7"],
];

export function ThemeSwitch() {
  const [theme, setTheme] = useState(savedTheme);
  return (
    <fieldset className="themes">
      <legend className="visually-hidden">Colours</legend>
      {THEMES.map(([name, label, path]) => (
        <label key={name} title={label}>
          <input
            type="radio"
            name="theme"
            value={name}
            checked={theme === name}
            onChange={() => {
              saveTheme(name);
              setTheme(name);
            }}
          />
          <svg viewBox="0 0 20 20" aria-hidden="true"><path d={path} /></svg>
          <span className="visually-hidden">{label}</span>
        </label>
      ))}
    </fieldset>
  );
}
