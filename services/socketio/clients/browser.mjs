// Opens PAGE in Chromium and prints each line that its list shows. TOKEN is typed where the page asks for one. A line on standard
// input clicks the page's button. It ends with standard input.
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const executablePath = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => path && existsSync(path));
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
try {
  const context = await browser.newContext({ ignoreHTTPSErrors: process.env.CA !== undefined });
  const page = await context.newPage();
  page.on("dialog", (dialog) => dialog.accept(process.env.TOKEN));
  page.on("pageerror", (error) => console.log(`error: ${error}`));
  await page.exposeFunction("printLine", (line) => console.log(line));
  await page.addInitScript(() => {
    const watch = (changes) => changes.forEach((c) => c.addedNodes.forEach((n) => n.nodeName === "LI" && window.printLine(n.textContent)));
    new MutationObserver(watch).observe(document, { childList: true, subtree: true });
  });
  await page.goto(process.env.PAGE);
  for await (const _ of createInterface({ input: process.stdin })) {
    await page.click("button");
  }
} finally {
  await browser.close();
}
