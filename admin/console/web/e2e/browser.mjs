// A real Chromium, which notes everything that must not happen.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import { atEnd, patience, token } from "./hub.mjs";

const executablePath = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => path && existsSync(path));
if (!executablePath) throw new Error("no Chromium: install Debian's package chromium, or name one in the variable CHROMIUM");

let started;

/** launch returns the browser of all tests of a file. Their windows share nothing. */
export const launch = () => (started ??= chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] }));

/** close ends the browser. */
export const close = async () => (await started)?.close();

/**
 * open shows the login page in a new window. When the test ends, the window must have seen no error, no violation of
 * the page's policy, no dialog, and no request to another host than the hub. Statuses in expected may occur, and what allowed
 * matches may be complained of.
 */
export async function open(t, hub, { path = "/", expected = [], allowed, ...options } = {}) {
  const context = await (await launch()).newContext({ viewport: { width: 1360, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(`error: ${error.stack}`));
  page.on("dialog", async (dialog) => {
    wrong.push(`dialog: ${dialog.message()}`);
    await dialog.dismiss();
  });
  page.on("console", (message) => {
    const text = message.text();
    const status = Number(/status of (\d+)/.exec(text)?.[1]);
    if (allowed?.test(text)) return;
    if (["error", "warning"].includes(message.type()) && !expected.includes(status) && !(expected.includes(0) && /net::ERR/.test(text))) {
      wrong.push(`console: ${text}`);
    }
  });
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== hub.admin) wrong.push(`a request to ${request.url()}`);
    if (request.url().includes(token)) wrong.push(`the token is in ${request.url()}`);
  });
  atEnd(t, async () => {
    await context.close();
    assert.deepEqual(wrong, []);
  });
  await page.goto(hub.admin + path);
  return page;
}

/** logIn types the token and waits for the page behind. */
export async function logIn(page, typed = token) {
  await page.getByLabel("Admin token").fill(typed);
  await page.keyboard.press("Enter");
  await page.locator(".shell").waitFor();
}

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** barriers lists what axe finds that would keep people from using the page (WCAG 2.2, levels A and AA). */
export async function barriers(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  return violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.target.join(" ")}: ${n.failureSummary.replaceAll("\n", " ")}`));
}

/** tooWide names the elements that stick out of the window. */
export const tooWide = (page) =>
  page.evaluate(() => {
    if (document.documentElement.scrollWidth <= innerWidth) return [];
    const out = [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth && !e.parentElement.closest(".scroll, .bar"));
    return [`${document.documentElement.scrollWidth} px`, ...out.map((e) => `${e.tagName}.${e.className}`)];
  });

/** to follows a link of the navigation. */
export const to = (page, name) => page.getByRole("navigation", { name: "Pages", exact: true }).getByRole("link", { name, exact: true }).click();
