import { readFileSync } from "node:fs";
import { defineConfig } from "vite";

// The packages whose code is in the bundle. Their licences travel with it.
const bundled = ["preact", "@preact/signals", "@preact/signals-core", "uplot"];

const licences = {
  name: "licences",
  generateBundle() {
    const texts = bundled.map((name) => {
      const dir = new URL(`node_modules/${name}/`, import.meta.url);
      const { version } = JSON.parse(readFileSync(new URL("package.json", dir), "utf8"));
      return `${name} ${version}\n\n${readFileSync(new URL("LICENSE", dir), "utf8").trim()}\n`;
    });
    this.emitFile({ type: "asset", fileName: "licenses.txt", source: texts.join(`\n${"-".repeat(72)}\n\n`) });
  },
};

// Where the files go is said by scripts/build.mjs.
export default defineConfig({
  plugins: [licences],
  build: {
    target: "es2022",
    assetsInlineLimit: 0, // a data: URL would need an exception in the Content-Security-Policy
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
});
