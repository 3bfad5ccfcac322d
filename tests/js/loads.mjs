// `node loads.mjs CHROMIUM ROUNDS NAME=FILE.onnx...`: what a page takes to load each file in onnxruntime-web, as JSON.
// Every round is a browser of its own that has compiled the runtime; the files come in turn, each first in turn.
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { withPage } from "./browser.mjs";
import { serve } from "./server.mjs";

const [chromium, rounds, ...files] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));
const named = files.map((word) => word.split("="));
const folders = Object.fromEntries(named.map(([name, file]) => [`/files/${name}/`, dirname(resolve(file))]));
const urls = Object.fromEntries(named.map(([name, file]) => [name, `/files/${name}/${file.split("/").pop()}`]));
const server = await serve({ "/": here, "/ort/": join(here, "node_modules/onnxruntime-web/dist"), ...folders });

/** Middle of the sorted numbers, and the quarters around it. */
const middle = (numbers) => {
  const sorted = numbers.slice().sort((a, b) => a - b);
  return [0.5, 0.25, 0.75].map((share) => sorted[Math.round(share * (sorted.length - 1))]);
};

const found = Object.fromEntries(named.map(([name]) => [name, { bytes: 0, load: [], run: [] }]));
try {
  for (let round = 0; round < Number(rounds); round++) {
    const names = named.map(([name]) => name);
    const order = [...names.slice(round % names.length), ...names.slice(0, round % names.length)];
    await withPage(chromium, async (page) => {
      await page.goto(`${server.url}/web.html`);
      await page.waitForFunction("window.timeLoad");
      await page.evaluate("window.timeLoad(null)");
      for (const name of order) {
        const one = await page.evaluate((url) => window.timeLoad(url), urls[name]);
        found[name].bytes = one.bytes;
        found[name].load.push(one.load);
        found[name].run.push(one.run);
      }
    });
  }
} finally {
  server.close();
}
console.log(JSON.stringify(Object.entries(found).map(([name, { bytes, load, run }]) => ({
  name, bytes, load_ms: middle(load), run_ms: middle(run), rounds: load.length,
}))));
