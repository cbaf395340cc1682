// The page in a headless browser: pixels are compared with glow's. Over the back end in the browser, or, with
// BACKEND=server, over that of `glow serve`.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { readTensors } from '../web/model/safetensors.js';
import {
  folder, glow, GOLDEN, hashOf, launch, makeBundle, packages, pattern, png, readAll, readPng, root, serve, serveBundle,
  SOFTWARE_GPU,
} from './site.mjs';

const TIMEOUT = 60_000;
const onServer = process.env.BACKEND === 'server';
/** Of tests about the model in the browser itself. */
const inBrowser = { skip: onServer && 'the model is not in the browser' };
const site = join(folder, 'site');
let plain, bundle, host, browser, page;
/** What the browser complained about. */
const complaints = [];

before(async () => {
  ({ bundle: plain, prepared: bundle } = await makeBundle());
  host = await hostOf(bundle, site);
  browser = await launch();
  page = await open(host.url);
});

after(async () => {
  await browser?.close();
  await host?.close();
});

/** The page over a bundle: from a site that is written to a folder, or from a server. */
async function hostOf(model, out) {
  if (onServer) return serveBundle(model);
  glow('page', model, '--out', out);
  return serve(out);
}

/** A page of its own, ready to be used. */
async function open(url, options = {}) {
  const context = await browser.newContext({
    viewport: { width: 1200, height: 900 }, permissions: ['clipboard-read', 'clipboard-write', 'camera'], ...options,
  });
  const opened = await context.newPage();
  opened.setDefaultTimeout(TIMEOUT);
  opened.on('console', (message) => {
    // Here is no GPU, and these tests read canvases often: Chromium speaks of both.
    if (/No available adapters|Canvas2D: Multiple readback/.test(message.text())) return;
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  opened.on('pageerror', (error) => complaints.push(error.message));
  if (onServer && url.startsWith(host.url)) opened.on('request', (request) => host.requests.push({ url: request.url() }));
  // Renderings that the worker or the server is asked for.
  await opened.addInitScript(() => {
    window.rendered = 0;
    const ask = window.fetch;
    window.sentImages = [];
    window.fetch = async (url, ...rest) => {
      if (String(url).includes('/v1/render')) window.rendered++;
      const response = await ask(url, ...rest);
      if (String(url).includes('/v1/images')) window.sentImages.push((await response.clone().json()).image);
      return response;
    };
    const post = Worker.prototype.postMessage;
    Worker.prototype.postMessage = function (message, ...rest) {
      if (message?.method === 'render') window.rendered++;
      return post.call(this, message, ...rest);
    };
  });
  await opened.goto(url);
  await opened.waitForSelector('html[data-ready]');
  await settled(opened);
  return opened;
}

const settled = (on = page) => on.waitForSelector('#stage[aria-busy="false"]');

/** The picture's pixels [H, W, 3], once nothing moves. */
async function picture(on = page) {
  await settled(on);
  return canvas(on.locator('canvas.picture'));
}

/** A canvas' pixels. */
const canvas = (locator) =>
  locator.evaluate((element) => {
    const { data } = element.getContext('2d').getImageData(0, 0, element.width, element.height);
    return Array.from(data).filter((_, i) => i % 4 < 3);
  });

/** Moves a slider as a drag does, and lets go. */
async function slide(name, ...values) {
  await page.getByLabel(name, { exact: true }).evaluate((input, steps) => {
    for (const value of steps) {
      input.value = value;
      input.dispatchEvent(new Event('input', { bubbles: true }));
    }
    input.dispatchEvent(new Event('change', { bubbles: true }));
  }, values);
}

const tab = (name, on = page) => on.getByRole('tab', { name }).click();

/** Chooses a file and takes the part that the page proposes. */
async function upload(file, on = page) {
  await on.setInputFiles('#file', file);
  await takePart(on);
}

/** A dialog is closed before it is gone; the photograph is the page's once it is gone. */
async function takePart(on = page) {
  await on.getByRole('button', { name: 'Use this part' }).click();
  await on.waitForSelector('dialog[aria-labelledby="crop-title"]', { state: 'detached' });
}

async function download(button) {
  const waiting = page.waitForEvent('download');
  await page.getByRole('button', { name: button, exact: true }).click();
  const path = join(folder, `download-${Date.now()}`);
  await (await waiting).saveAs(path);
  return path;
}

/** What glow makes of words that end in a folder of images. */
function images(name, ...words) {
  const out = join(folder, name);
  glow(...words, '--out', out);
  return readAll(out);
}

/** The picture that glow decodes from the latents that the page saves. */
async function decoded(name) {
  const latents = await download('Latents');
  return images(name, 'decode', bundle, latents)[0];
}

const photo = (name, seed, height = 20, width = 16) => png(name, pattern(height, width, seed), height, width);

test('it says what it runs', async () => {
  const status = await page.textContent('#status');
  const where = onServer ? /8 × 8, fp32 · the server 127\.0\.0\.1:\d+, CPU · \d+ ms a frame/ : /8 × 8, fp32 · WebAssembly, \d+ threads? · \d+ ms a frame/;
  assert.match(status, where);
  const privacy = onServer ? /sent to the server 127\.0\.0\.1:\d+, .* writes them nowhere/ : /nothing is sent anywhere/;
  assert.match(await page.textContent('#privacy'), privacy);
});

test('draws are those of glow sample', async () => {
  const draws = page.getByRole('group', { name: 'Draws' }).locator('canvas');
  const compare = async (name, ...words) => {
    const expected = images(name, 'sample', bundle, '--count', '12', ...words);
    await page.waitForTimeout(300);
    for (let i = 0; i < 12; i++) {
      await assert.doesNotReject(
        page.waitForFunction(
          ([at, wanted]) => {
            const element = document.querySelectorAll('[aria-label="Draws"] canvas')[at];
            const { data } = element.getContext('2d').getImageData(0, 0, element.width, element.height);
            return Array.from(data).filter((_, j) => j % 4 < 3).join() === wanted;
          },
          [i, expected[i].join()],
        ),
        `draw ${i} of ${words}`,
      );
    }
    assert.deepEqual(await picture(), expected[0]);
    assert.equal(await draws.count(), 12);
  };
  await compare('draws-1', '--seed', '1');
  const first = [];
  for (let i = 0; i < 6; i++) first.push(await canvas(draws.nth(i)));
  assert.equal(hashOf(first), GOLDEN);
  await page.getByLabel('Seed', { exact: true }).fill('18446744073709551615');
  await page.keyboard.press('Enter');
  await slide('Temperature', 0.9);
  await slide('Truncation', 1.5);
  await compare('draws-2', '--seed', '18446744073709551615', '--temperature', '0.9', '--truncation', '1.5');
});

test('a wrong seed is refused', async () => {
  await page.getByLabel('Seed', { exact: true }).fill('a face');
  await page.keyboard.press('Enter');
  await page.getByText('The seed is not changed').waitFor();
  await page.getByRole('button', { name: 'Dismiss' }).click();
  assert.equal(await page.getByLabel('Seed', { exact: true }).inputValue(), '18446744073709551615');
});

test('a photograph is what glow encode makes of it', async () => {
  const file = await photo('one.png', 1);
  const latents = join(folder, 'one.safetensors');
  glow('encode', bundle, file, '--out', latents);
  const [expected] = images('one', 'decode', bundle, latents);
  await upload(file);
  assert.deepEqual(await picture(), expected);
  const here = readTensors(new Uint8Array(readFileSync(await download('Latents'))), 'here').tensors;
  const there = readTensors(new Uint8Array(readFileSync(latents)), 'there').tensors;
  for (const [name, { values }] of there) {
    values.forEach((value, i) => assert.ok(Math.abs(value - here.get(name).values[i]) < 1e-3, `${name} ${i}`));
  }
  // The saved picture has these very pixels.
  assert.deepEqual([...readPng(await download('Picture')).pixels], expected);
});

test('likelihoods are those of glow score', async () => {
  await page.waitForSelector('#measures .value[data-state="new"]');
  const shown = Number(await page.textContent('#measures .value'));
  const path = await download('Picture');
  const line = JSON.parse(glow('score', plain, path, '--draws', '4', '--json'));
  assert.ok(Math.abs(shown - line.bits_per_dim) < 2e-3, `${shown} ${line.bits_per_dim}`);
});

test('an edit is that of glow edit, and keys move sliders', async () => {
  await tab('Edit');
  const file = join(folder, 'one.png');
  await slide('Bright light', 0.1, 0.3, 0.5);
  const [expected] = images('edited', 'edit', bundle, file, '--attribute', 'Bright_Light=0.5');
  assert.deepEqual(await picture(), expected);
  await page.getByLabel('Bright light', { exact: true }).press('ArrowRight');
  const [further] = images('edited-55', 'edit', bundle, file, '--attribute', 'Bright_Light=0.55');
  assert.deepEqual(await picture(), further);
  assert.notDeepEqual(further, expected);
});

test('before and after', async () => {
  const edited = await picture();
  await page.getByRole('button', { name: 'Before' }).click();
  assert.deepEqual(await picture(), readAll(join(folder, 'one'))[0]);
  await page.getByRole('button', { name: 'Before' }).click();
  assert.deepEqual(await picture(), edited);
});

test('undo and redo, by button and by key', async () => {
  const edited = await picture();
  await page.getByRole('button', { name: 'Undo' }).click();
  const [half] = images('half', 'edit', bundle, join(folder, 'one.png'), '--attribute', 'Bright_Light=0.5');
  assert.deepEqual(await picture(), half);
  await page.keyboard.press('Control+z');
  assert.deepEqual(await picture(), readAll(join(folder, 'one'))[0]);
  await page.keyboard.press('Control+Shift+z');
  await page.getByRole('button', { name: 'Redo' }).click();
  assert.deepEqual(await picture(), edited);
});

test('a link gives the very same picture elsewhere, and a broken one says so', async () => {
  const expected = await picture();
  await page.getByRole('button', { name: 'Link' }).click();
  await page.locator('#shared').getByText('It contains the photograph').waitFor();
  const link = await page.evaluate(() => navigator.clipboard.readText());
  const other = await open(link);
  assert.deepEqual(await picture(other), expected);
  await other.goto(`${link.slice(0, -40)}`);
  await other.getByText('This link is not whole').waitFor();
  await other.context().close();
});

test('drags ask for the newest value alone', async () => {
  await picture();
  const count = () => page.evaluate(() => window.rendered);
  const earlier = await count();
  const values = Array.from({ length: 100 }, (_, i) => (i / 100).toFixed(2));
  await slide('Bright light', ...values, 1);
  const [expected] = images('newest', 'edit', bundle, join(folder, 'one.png'), '--attribute', 'Bright_Light=1');
  assert.deepEqual(await picture(), expected);
  const frames = (await count()) - earlier;
  assert.ok(frames <= 4, `${frames} renderings for 101 values`);
});

test('two faces and a walk between them are those of glow interpolate', async () => {
  const [one, two] = [join(folder, 'one.png'), await photo('two.png', 2)];
  await upload(two);
  await tab('Walk');
  const walk = page.locator('#panel-walk');
  await walk.getByRole('button', { name: 'From' }).click();
  await walk.getByRole('button', { name: 'Take: Photograph 1' }).click();
  await walk.getByRole('button', { name: 'Take: Photograph 2' }).click();
  for (const [name, words] of [['straight', []], ['sphere', ['--spherical']]]) {
    const sheet = join(folder, `${name}.png`);
    glow('interpolate', bundle, one, two, '--steps', '5', '--scale', '1', ...words, '--out', sheet);
    const { pixels, width } = readPng(sheet);
    // Between white lines of two pixels.
    const step = (i) => Array.from({ length: 8 }, (_, y) => [...pixels.subarray(((y + 2) * width + 2 + 10 * i) * 3).subarray(0, 24)]).flat();
    if (words.length) await walk.getByRole('checkbox').check();
    await slide('Along the way', 0.25);
    assert.deepEqual(await picture(), step(1), name);
    await slide('Along the way', 1);
    assert.deepEqual(await picture(), step(4), name);
  }
  await walk.getByRole('button', { name: 'Play' }).click();
  await page.waitForTimeout(1000);
  await walk.getByRole('button', { name: 'Pause' }).click();
  assert.notEqual(await page.getByLabel('Along the way').inputValue(), '1');
});

test('four faces blend by pointer and by keys', async () => {
  await tab('Blend');
  const middle = await picture();
  assert.deepEqual(middle, await decoded('middle'));
  const { x, y, width, height } = await page.locator('.pad').boundingBox();
  await page.mouse.move(x + width / 2, y + height / 2);
  await page.mouse.down();
  await page.mouse.move(x + width - 1, y + height / 2, { steps: 5 });
  await page.mouse.up();
  assert.equal(await page.getByLabel('From left to right').inputValue(), '1');
  assert.notDeepEqual(await picture(), middle);
  await page.getByLabel('From top to bottom').press('End');
  const corner = page.locator('#panel-blend').getByRole('button', { name: 'Bottom right' });
  assert.deepEqual(await picture(), await canvas(corner.locator('canvas')));
  await page.getByLabel('Two faces').check();
  assert.deepEqual(await picture(), await decoded('pair'));
});

test('fine levels vary while the coarse are kept', async () => {
  await tab('Levels');
  const base = await picture();
  const before = readTensors(new Uint8Array(readFileSync(await download('Latents'))), 'before').tensors;
  await slide('Keep the coarsest levels', 1);
  const varied = await picture();
  assert.notDeepEqual(varied, base);
  assert.deepEqual(varied, await decoded('varied'));
  const later = readTensors(new Uint8Array(readFileSync(await download('Latents'))), 'after').tensors;
  assert.deepEqual(later.get('eps_1').values, before.get('eps_1').values);
  assert.notDeepEqual(later.get('eps_0').values, before.get('eps_0').values);
  await page.getByRole('button', { name: 'Vary again' }).click();
  assert.notDeepEqual(await picture(), varied);
  await page.getByRole('button', { name: 'Variation 2' }).click();
  await page.getByRole('button', { name: 'Reset' }).click();
  assert.deepEqual(await picture(), base);
});

/** A file as the browser has it. */
const transfer = async (path, type, target) => {
  const bytes = [...readFileSync(path)];
  await page.evaluate(
    ([content, kind]) => {
      const data = new DataTransfer();
      data.items.add(new File([Uint8Array.from(content)], 'a face.png', { type: 'image/png' }));
      const event =
        kind === 'drop'
          ? new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })
          : new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true });
      document.body.dispatchEvent(event);
    },
    [bytes, target],
  );
};

for (const [way, seed] of [['drop', 3], ['paste', 4]]) {
  test(`a ${way} brings a photograph, whose part can be moved by keys`, async () => {
    const [height, width] = [24, 40];
    const pixels = pattern(height, width, seed);
    await transfer(await png(`${way}.png`, pixels, height, width), 'image/png', way);
    const box = page.getByRole('application', { name: /The part that is taken/ });
    await box.press('ArrowLeft');
    await box.press('ArrowLeft');
    await takePart();
    // Preprocessing and the model's shape leave 22×22 at (9, 1); a step is a pixel here.
    const cut = new Uint8Array(22 * 22 * 3);
    for (let y = 0; y < 22; y++) cut.set(pixels.subarray(((y + 1) * width + 7) * 3).subarray(0, 66), y * 66);
    const latents = join(folder, `${way}.safetensors`);
    glow('encode', plain, await png(`${way}-cut.png`, cut, 22, 22), '--out', latents);
    assert.deepEqual(await picture(), images(way, 'decode', bundle, latents)[0]);
  });
}

test('the camera takes a photograph', async () => {
  await tab('Faces');
  const count = () => page.getByRole('button', { name: /^Photograph/ }).count();
  const earlier = await count();
  await page.getByRole('button', { name: 'Take one' }).click();
  await page.waitForFunction(() => document.querySelector('video')?.videoWidth > 0);
  await page.getByRole('button', { name: 'Take it' }).click();
  await takePart();
  await picture();
  assert.equal(await count(), earlier + 1);
});

test('EXIF turns a photograph', async () => {
  // The browser compresses it; the tag is put in behind the first marker.
  const jpeg = Buffer.from(
    await page.evaluate(async () => {
      const sheet = new OffscreenCanvas(64, 48);
      const context = sheet.getContext('2d');
      const shade = context.createLinearGradient(0, 0, 64, 48);
      shade.addColorStop(0, '#204080');
      shade.addColorStop(1, '#f0c080');
      context.fillStyle = shade;
      context.fillRect(0, 0, 64, 48);
      const blob = await sheet.convertToBlob({ type: 'image/jpeg', quality: 1 });
      return [...new Uint8Array(await blob.arrayBuffer())];
    }),
  );
  const tiff = '4d4d002a00000008' + '0001' + '0112' + '0003' + '00000001' + '0006' + '0000' + '00000000';
  const exif = Buffer.concat([Buffer.from('Exif\0\0'), Buffer.from(tiff, 'hex')]);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(exif.length + 2);
  const turned = Buffer.concat([jpeg.subarray(0, 2), Buffer.from('ffe1', 'hex'), length, exif, jpeg.subarray(2)]);
  const file = join(folder, 'turned.jpg');
  writeFileSync(file, turned);
  const latents = join(folder, 'turned.safetensors');
  glow('encode', bundle, file, '--out', latents);
  const [expected] = images('turned', 'decode', bundle, latents);
  await upload(file);
  // Decoders of JPEG round differently.
  (await picture()).forEach((value, i) => assert.ok(Math.abs(value - expected[i]) <= 3, `${value} ${expected[i]}`));
});

test('what is transparent gets the colour of the model', async () => {
  const solid = pattern(16, 16, 6);
  const pixels = Uint8Array.from({ length: 16 * 16 * 4 }, (_, i) => (i % 4 < 3 ? solid[(i >> 2) * 3 + (i % 4)] : (i * 5) % 256));
  const file = await png('clear.png', pixels, 16, 16, 4);
  const latents = join(folder, 'clear.safetensors');
  glow('encode', bundle, file, '--out', latents);
  const [expected] = images('clear', 'decode', bundle, latents);
  await upload(file);
  // A canvas keeps colours times alpha in 8 bits.
  (await picture()).forEach((value, i) => assert.ok(Math.abs(value - expected[i]) <= 2, `${value} ${expected[i]}`));
});

test('what is no photograph, or too small, is named', async () => {
  const broken = join(folder, 'broken.png');
  writeFileSync(broken, 'no image');
  await page.setInputFiles('#file', broken);
  await page.getByText('broken.png cannot be decoded').waitFor();
  await page.setInputFiles('#file', await photo('tiny.png', 1, 5, 9));
  await page.getByText('tiny.png is 9×5 pixels, smaller than').waitFor();
  const dismiss = page.getByRole('button', { name: 'Dismiss' });
  while ((await dismiss.count()) > 0) await dismiss.first().click();
});

test('keys do everything: tabs, faces, help', async () => {
  await page.getByRole('tab', { name: 'Faces' }).focus();
  await page.keyboard.press('ArrowRight');
  assert.equal(await page.getByRole('tab', { name: 'Edit' }).getAttribute('aria-selected'), 'true');
  await page.keyboard.press('Home');
  const seed = await page.getByLabel('Seed', { exact: true }).inputValue();
  await page.keyboard.press('n');
  await settled();
  assert.notEqual(await page.getByLabel('Seed', { exact: true }).inputValue(), seed);
  await page.keyboard.press('?');
  await page.getByRole('dialog', { name: 'Keys and about' }).waitFor();
  await page.keyboard.press('Escape');
});

test('axe finds nothing, in the light and in the dark, on a phone and in dialogs', async () => {
  const axe = readFileSync(join(packages, 'axe-core/axe.min.js'), 'utf8');
  const check = async (on, place) => {
    const { violations } = await on.evaluate(() => window.axe.run());
    assert.deepEqual(violations.map(({ id, nodes }) => [id, ...nodes.map(({ html }) => html)]), [], place);
  };
  for (const colorScheme of ['light', 'dark']) {
    const phone = await open(host.url, { colorScheme, viewport: { width: 360, height: 740 }, hasTouch: true });
    // The page's own policy lets no script in but through the debugger.
    await phone.evaluate(axe);
    for (const name of ['Faces', 'Edit', 'Blend', 'Walk', 'Levels']) {
      await tab(name, phone);
      await check(phone, `${colorScheme} ${name}`);
      const wide = await phone.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      assert.ok(!wide, `${name} is wider than a phone`);
    }
    await phone.getByRole('button', { name: 'Keys & about' }).click();
    await check(phone, `${colorScheme} help`);
    await phone.keyboard.press('Escape');
    await phone.setInputFiles('#file', await photo('axe.png', 5));
    await phone.getByRole('button', { name: 'Use this part' }).waitFor();
    await check(phone, `${colorScheme} crop`);
    await phone.context().close();
  }
});

test('on a phone the picture stays in sight', async () => {
  const phone = await open(host.url, { viewport: { width: 360, height: 640 }, hasTouch: true });
  await phone.getByLabel('Truncation', { exact: true }).scrollIntoViewIfNeeded();
  await phone.evaluate(() => scrollTo(0, document.body.scrollHeight));
  assert.ok(await phone.evaluate(() => scrollY > 200));
  const { y, height } = await phone.locator('canvas.picture').boundingBox();
  assert.ok(y >= 0 && y + height < 320, `${y} ${height}`);
  await phone.context().close();
});

test('a model of classes draws the one that is chosen', async () => {
  const model = join(root, 'models/tests/conditional-bundle');
  const other = await hostOf(model, join(folder, 'classes'));
  const chosen = await open(other.url);
  for (const label of [0, 2]) {
    if (label) await chosen.getByLabel('Class').selectOption(String(label));
    const words = ['sample', model, '--count', '1', '--seed', '1', '--label', String(label)];
    assert.deepEqual(await picture(chosen), images(`class-${label}`, ...words)[0]);
  }
  await chosen.context().close();
  await other.close();
});

test('one thread without the headers, and the same pixels', inBrowser, async () => {
  const bare = await serve(site, { isolated: false });
  const other = await open(bare.url);
  assert.match(await other.textContent('#status'), /WebAssembly, 1 thread ·/);
  assert.deepEqual(await picture(other), images('plain', 'sample', bundle, '--count', '1', '--seed', '1')[0]);
  await other.context().close();
  bare.close();
});

test('what fails to load is named', inBrowser, async () => {
  for (const [name, expected] of [
    ['model.glow/decoder.onnx', /decoder\.onnx is damaged/],
    ['onnxruntime-web/ort-wasm-simd-threaded.wasm', /ort-wasm-simd-threaded\.wasm cannot be fetched/],
  ]) {
    const context = await browser.newContext();
    const other = await context.newPage();
    other.setDefaultTimeout(TIMEOUT);
    await other.route(`**/${name}*`, async (route) => {
      if (name.endsWith('.wasm')) return route.fulfill({ status: 404 });
      const body = readFileSync(join(site, name));
      body[body.length >> 1] ^= 1;
      return route.fulfill({ body });
    });
    await other.goto(host.url);
    await other.getByRole('button', { name: 'Try again' }).waitFor();
    assert.match(await other.textContent('.loading'), expected);
    await context.close();
  }
});

test('a GPU that is not faster draws nothing', inBrowser, async (t) => {
  const other = await launch(SOFTWARE_GPU);
  try {
    const tried = await other.newPage();
    tried.setDefaultTimeout(TIMEOUT);
    await tried.addInitScript(() => {
      // A program in place of a GPU is not even tried, unless it is taken for one.
      const { gpu } = navigator;
      const request = gpu?.requestAdapter.bind(gpu);
      if (gpu) gpu.requestAdapter = async () => ((await request()) ? { info: {} } : null);
    });
    const verdict = tried.waitForEvent('console', (message) => message.text().startsWith('WebGPU is not used')).catch(() => null);
    await tried.goto(host.url);
    await tried.waitForSelector('html[data-ready]');
    if (!(await tried.evaluate(async () => navigator.gpu?.requestAdapter()))) return t.skip('no software for WebGPU here');
    assert.match((await verdict)?.text() ?? '', /\d+ ms a picture are no less than WebAssembly's|did not come back/);
    assert.match(await tried.textContent('#status'), /· WebAssembly, \d+ threads? ·/);
  } finally {
    await other.close();
  }
});

test('a server that is not there, and one that forgot a photograph', { skip: !onServer && 'there is no server' }, async () => {
  const [expected] = images('forgotten', 'edit', bundle, join(folder, 'one.png'), '--attribute', 'Bright_Light=0.25');
  const own = await hostOf(bundle);
  const other = await open(own.url);
  await upload(join(folder, 'one.png'), other);
  await picture(other);
  const known = await other.evaluate(() => window.sentImages);
  assert.equal(known.length, 1);
  const earlier = complaints.length;
  for (const id of known) assert.equal((await fetch(`${own.url}v1/images/${id}`, { method: 'DELETE' })).status, 204);
  await tab('Edit', other);
  await other.getByLabel('Bright light', { exact: true }).evaluate((input) => {
    input.value = '0.25';
    input.dispatchEvent(new Event('input', { bubbles: true }));
    input.dispatchEvent(new Event('change', { bubbles: true }));
  });
  assert.deepEqual(await picture(other), expected);
  await own.close();
  await other.getByLabel('Bright light', { exact: true }).press('ArrowRight');
  await other.getByText('cannot be reached').first().waitFor();
  // The browser speaks of the image that was not there, and of the connection.
  complaints.splice(earlier);
  await other.context().close();
});

test('nothing left the machine, and the browser had nothing to complain about', () => {
  if (onServer) {
    assert.ok(host.requests.length > 30);
    for (const { url } of host.requests) assert.ok(url.startsWith(host.url) || /^(blob|data):/.test(url), url);
    return assert.deepEqual(complaints, []);
  }
  assert.ok(host.requests.length > 30);
  for (const { method, url } of host.requests) {
    assert.equal(method, 'GET', url);
    assert.ok(existsSync(join(site, url.split('?')[0])), url);
  }
  assert.deepEqual(complaints, []);
});
