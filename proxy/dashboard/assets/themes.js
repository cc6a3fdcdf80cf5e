// Light or dark: as the system has it, or as somebody has chosen. Charts are painted, so they must hear of a change.

import { useCallback, useEffect, useState } from "./lib.js";

const KEY = "tollhouse-theme"; // as in theme.js
const DARK = matchMedia("(prefers-color-scheme: dark)");
export const THEMES = ["auto", "light", "dark"];

// `[theme, setTheme, scheme]`: what was chosen, and the scheme that it comes to.
export function useTheme() {
  const [theme, choose] = useState(chosen);
  const [dark, setDark] = useState(DARK.matches);
  const scheme = theme === "auto" ? (dark ? "dark" : "light") : theme;
  document.documentElement.dataset.theme = scheme; // before the charts of this rendering read their colours

  useEffect(() => {
    const turned = () => setDark(DARK.matches);
    DARK.addEventListener("change", turned);
    return () => DARK.removeEventListener("change", turned);
  }, []);

  const setTheme = useCallback((theme) => {
    try {
      if (theme === "auto") localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, theme);
    } catch {
      // a browser that keeps nothing forgets it with the page
    }
    choose(theme);
  }, []);

  return [theme, setTheme, scheme];
}

function chosen() {
  try {
    const theme = localStorage.getItem(KEY);
    return THEMES.includes(theme) ? theme : "auto";
  } catch {
    return "auto";
  }
}
