import { effect, signal } from "@preact/signals";

export type Theme = "auto" | "light" | "dark";

/** What the operator chose; as the system has it until then. */
export const theme = signal<Theme>("auto");

const system = matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(system.matches);
system.addEventListener("change", (e) => (systemDark.value = e.matches));

/** dark tells which of the two is shown. */
export const dark = () => (theme.value === "auto" ? systemDark.value : theme.value === "dark");

effect(() => {
  document.documentElement.dataset.theme = dark() ? "dark" : "light";
});
