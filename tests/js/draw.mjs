// `node draw.mjs FOLDER CHROMIUM [PICTURE.png]`: opens the page of examples/browser in FOLDER, draws digits with the
// mouse, prints what it said and showed as JSON; the picture is of the last digit.
import { serve } from "./server.mjs";
import { withPage } from "./browser.mjs";

const [folder, chromium, picture] = process.argv.slice(2);
const circle = (cx, cy, rx, ry) => Array.from({ length: 41 }, (_, i) => {
  const angle = (i / 40) * 2 * Math.PI - Math.PI / 2;
  return [cx + rx * Math.cos(angle), cy + ry * Math.sin(angle)];
});
const DIGITS = {
  0: circle(140, 140, 60, 95),
  1: [[150, 45], [138, 235]],
  6: [[165, 45], [115, 95], [92, 165], [112, 228], [165, 228], [188, 185], [155, 150], [105, 165]],
  3: [[85, 70], [130, 45], [185, 70], [180, 115], [135, 138], [185, 160], [195, 205], [145, 238], [85, 215]],
};
const ORDER = ["0", "1", "6", "3"];

const server = await serve({ "/": folder });
try {
  const found = await withPage(chromium, async (page) => {
    await page.goto(`${server.url}/`);
    await page.waitForFunction("document.body.dataset.ready", { timeout: 120_000 });
    const ready = await page.evaluate("document.body.dataset.ready");
    const loaded = await page.$eval("#answer", (one) => one.textContent);
    if (ready === "failed") return { ready, loaded };
    const box = await (await page.$("#pad")).boundingBox();
    const said = {};
    for (const [count, digit] of ORDER.entries()) {
      await page.click("#clear");
      const [first, ...rest] = DIGITS[digit].map(([x, y]) => [box.x + x, box.y + y]);
      await page.mouse.move(...first);
      await page.mouse.down();
      for (const point of rest) await page.mouse.move(...point, { steps: 6 });
      await page.mouse.up();
      await page.waitForFunction((n) => document.body.dataset.looked === String(n), {}, count + 1);
      said[digit] = await page.$$eval("#files tr", (rows) => rows.map((row) => row.lastChild.textContent));
    }
    const answer = await page.$eval("#answer", (one) => one.textContent);
    const rows = await page.$$eval("#files tr", (all) => all.map((row) => Array.from(row.cells, (c) => c.textContent)));
    const bytes = await page.$$eval("[data-bytes]", (all) => all.map((one) => Number(one.dataset.bytes)));
    if (picture) await page.screenshot({ path: picture });
    return { ready, loaded, said, answer, rows, bytes };
  });
  console.log(JSON.stringify(found));
} finally {
  server.close();
}
