// How long a frame takes while a slider is dragged: node frames.mjs BUNDLE [SECONDS], over `glow serve` with
// BACKEND=server. Prints the milliseconds from one picture to the next, and those of the model alone.
import { join } from 'node:path';
import { folder, glow, launch, serve, serveBundle } from './site.mjs';

const [, , bundle, seconds = '5'] = process.argv;
const onServer = process.env.BACKEND === 'server';
const site = join(folder, 'site');
if (!onServer) glow('page', bundle, '--out', site);
const host = onServer ? await serveBundle(bundle) : await serve(site);
const browser = await launch();
const page = await browser.newPage();
page.setDefaultTimeout(300_000);
await page.addInitScript(() => {
  window.painted = [];
  const put = CanvasRenderingContext2D.prototype.putImageData;
  CanvasRenderingContext2D.prototype.putImageData = function (...words) {
    if (this.canvas.className === 'picture') window.painted.push(performance.now());
    return put.apply(this, words);
  };
});
await page.goto(host.url);
await page.waitForSelector('html[data-ready]');
await page.waitForSelector('#measures .value[data-state="new"]', { state: 'attached' });
const drag = (duration) =>
  page.getByLabel('Temperature', { exact: true }).evaluate(async (input, end) => {
    const begun = performance.now();
    window.painted = [];
    while (performance.now() - begun < end) {
      input.value = 0.7 + 0.3 * Math.sin((performance.now() - begun) / 700);
      input.dispatchEvent(new Event('input', { bubbles: true }));
      await new Promise(requestAnimationFrame);
    }
    return window.painted;
  }, duration);
// The first frames are slower: the browser is still compiling.
await drag(2000);
const painted = await drag(1000 * Number(seconds));
const gaps = painted.slice(1).map((time, i) => time - painted[i]).sort((a, b) => a - b);
const at = (share) => gaps[Math.floor(share * (gaps.length - 1))].toFixed(1);
console.log(`${painted.length} frames; ms a frame: least ${at(0)}, median ${at(0.5)}, 90 % ${at(0.9)}`);
console.log(await page.textContent('#status'));
await browser.close();
await host.close();
