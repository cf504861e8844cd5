// Light or dark colours: those of the system until the visitor chooses.

import { byId } from "./dom.js";

const KEY = "kosmos2-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";

function draw() {
  byId("theme").setAttribute("aria-pressed", isDark());
}

/** Restore the visitor's choice, and let the button change it. */
export function listenForTheme() {
  const chosen = localStorage.getItem(KEY);
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
  system.addEventListener("change", draw);
  byId("theme").onclick = () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    localStorage.setItem(KEY, theme);
    draw();
  };
  draw();
}
