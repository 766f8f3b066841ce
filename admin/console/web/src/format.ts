// Figures with unit and few digits.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const one = new Intl.NumberFormat("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** Stands for an unknown figure. */
export const none = "–";

export const count = (n: number) => whole.format(n);

/** plural returns a count with its noun. */
export const plural = (n: number, noun: string) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;

/** amount shortens a number of any size: 0.4, 12, 1,234, 56.7 k, 1.2 M. */
export function amount(n: number): string {
  if (n === 0) return "0";
  if (n < 10) return n < 0.05 ? "<0.1" : one.format(n);
  if (n < 10_000) return whole.format(n);
  if (n < 1e6) return `${one.format(n / 1e3)} k`;
  return n < 1e9 ? `${one.format(n / 1e6)} M` : `${one.format(n / 1e9)} G`;
}

export const rate = (n: number | undefined) => (n === undefined ? none : `${amount(n)}/s`);

const units = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(n: number): string {
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024;
    unit++;
  }
  return `${unit === 0 || n >= 100 ? whole.format(n) : one.format(n)} ${units[unit]}`;
}

export const byteRate = (n: number | undefined) => (n === undefined ? none : `${bytes(n)}/s`);

/** duration returns milliseconds in their two greatest units. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** brief returns milliseconds in their greatest unit, for tables. */
export const brief = (ms: number) => duration(ms).split(" ").slice(0, 2).join(" ");

/** idle returns a brief duration that does not flicker below a second. */
export const idle = (ms: number) => (ms < 1000 ? "<1 s" : brief(ms));

/** lag returns a short duration, given in seconds. */
export function lag(s: number): string {
  if (s < 1e-3) return `${whole.format(s * 1e6)} µs`;
  if (s < 1) return `${s < 0.1 ? one.format(s * 1e3) : whole.format(s * 1e3)} ms`;
  return `${one.format(s)} s`;
}

const pad = (n: number, width = 2) => String(n).padStart(width, "0");

/** clock returns the time of day. */
export const clock = (d: Date, millis = false) =>
  `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}${millis ? `.${pad(d.getMilliseconds(), 3)}` : ""}`;

/** moment returns date and time. */
export const moment = (d: Date) => `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${clock(d)}`;

export const sum = (counts: { [key: string]: number } | null | undefined) =>
  Object.values(counts ?? {}).reduce((a, b) => a + b, 0);

/** words returns the label of a name on the wire such as no_receiver. */
export const words = (name: string) => name.replaceAll("_", " ").toLowerCase();
