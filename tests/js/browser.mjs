// Chromium without a window, in a profile of its own; nothing outside this machine can be reached from it.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import puppeteer from "puppeteer-core";

/** Calls `work(page)` on a new page; what goes wrong in the page fails it too. */
export async function withPage(executablePath, work, viewport = { width: 900, height: 700 }) {
  const userDataDir = await mkdtemp(join(tmpdir(), "chromium-"));
  const args = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"];
  const browser = await puppeteer.launch({ executablePath, userDataDir, args, protocolTimeout: 240_000 });
  try {
    const page = await browser.newPage();
    await page.setViewport(viewport);
    const problems = [];
    page.on("pageerror", (error) => problems.push(String(error)));
    page.on("requestfailed", (request) => {
      if (!request.response()) problems.push(`not loaded: ${request.url()}`);  // an answer, even 404, is the page's
    });
    const result = await work(page);
    if (problems.length) throw new Error(problems.join("; "));
    return result;
  } finally {
    await browser.close();
    await rm(userDataDir, { recursive: true, force: true });
  }
}
