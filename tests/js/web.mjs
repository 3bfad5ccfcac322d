// `node web.mjs FOLDER CHROMIUM`: every case in onnxruntime-web (WebAssembly); outputs as FOLDER/NAME.web.bin.
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { withPage } from "./browser.mjs";
import { serve } from "./server.mjs";

const [folder, chromium] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));
const server = await serve({
  "/": here,
  "/ort/": join(here, "node_modules/onnxruntime-web/dist"),
  "/cases/": folder,
});
try {
  await withPage(chromium, async (page) => {
    await page.goto(`${server.url}/web.html`);
    await page.waitForFunction("window.runCase");
    for (const one of JSON.parse(await readFile(join(folder, "cases.json")))) {
      const output = await page.evaluate((given) => window.runCase(given), one);
      await writeFile(join(folder, `${one.name}.web.bin`), new Uint8Array(new Float32Array(output).buffer));
    }
  });
} finally {
  server.close();
}
