import { effect, signal } from "@preact/signals";
import { recall, store } from "./storage";

export type Theme = "auto" | "light" | "dark";

const key = "mastersocket.theme";
const themeOf = (text: string): Theme => (text === "light" || text === "dark" ? text : "auto");

/** The operator's choice; auto follows the system. */
export const theme = signal<Theme>(themeOf(recall(key)));

const system = matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(system.matches);
system.addEventListener("change", (e) => (systemDark.value = e.matches));

/** dark reports whether the dark colours are shown. */
export const dark = () => (theme.value === "auto" ? systemDark.value : theme.value === "dark");

effect(() => {
  document.documentElement.dataset.theme = dark() ? "dark" : "light";
});

effect(() => store(key, theme.value === "auto" ? "" : theme.value));
