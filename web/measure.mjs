// Prints how long the page of `serve` takes in Chromium: node measure.mjs http://127.0.0.1:8765/ photo.jpg
import { chromium } from "playwright-core";

const [address, photo] = process.argv.slice(2);
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await browser.newPage();
page.setDefaultTimeout(600_000);
let start = performance.now();

function say(what) {
  console.log(`${((performance.now() - start) / 1000).toFixed(1).padStart(6)} s  ${what}`);
  start = performance.now();
}

await page.goto(address);
await page.waitForSelector("html[data-state=painted]");
say("from the address to the first picture");
await page.waitForSelector(".style:last-child canvas[width]");
say("thumbnails in all styles");
await page.getByRole("radio").nth(1).check({ force: true });
await page.waitForSelector("html[data-state=painted]");
say("another style");
await page.setInputFiles("#photo-file", photo);
await page.waitForSelector("html[data-state=painted]");
say(`preview of ${photo}`);
const download = page.waitForEvent("download");
await page.click("#save");
await download;
say((await page.textContent("#save")).replace("Download", "in full size,"));
await browser.close();
