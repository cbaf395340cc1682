// What the tests stand on: the program glow, a bundle, a site that it writes, a server for it, a browser.
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inflateSync } from 'node:zlib';
import { writePng } from '../web/images/png.js';

export const root = fileURLToPath(new URL('../../../', import.meta.url));
export const packages = join(root, '.native/web');
const program = process.env.GLOW ?? join(root, 'target/debug/glow');
const chromium = process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);

/** A folder that goes with the tests. */
export const folder = mkdtempSync(join(tmpdir(), 'glow-page-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

/** Runs glow; what it printed. */
export function glow(...words) {
  return execFileSync(program, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** A colourful image that is nothing but itself, as [H, W, 3]. */
export function pattern(height, width, seed) {
  return Uint8Array.from({ length: height * width * 3 }, (_, i) => {
    const [y, x, c] = [Math.floor(i / 3 / width), Math.floor(i / 3) % width, i % 3];
    return 128 + 90 * Math.sin((x * (c + 1 + seed)) / 7 + y / 5) * Math.cos((y * (3 - c)) / 9 + seed) + ((i * 37) % 17);
  });
}

/** Writes an image; its path. */
export async function png(name, pixels, height, width, channels = 3) {
  const path = join(folder, name);
  writeFileSync(path, await writePng(pixels, { height, width, channels }));
  return path;
}

/** Reads a PNG file of 8 bits, RGB, into [H, W, 3]. */
export function readPng(path) {
  const bytes = typeof path === 'string' ? readFileSync(path) : path;
  const data = [];
  let width, height;
  for (let at = 8; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    const type = bytes.toString('latin1', at + 4, at + 8);
    const body = bytes.subarray(at + 8, at + 8 + length);
    if (type === 'IHDR') {
      [width, height] = [body.readUInt32BE(0), body.readUInt32BE(4)];
      if (body[8] !== 8 || body[9] !== 2) throw new Error(`${path} is not RGB of 8 bits`);
    }
    if (type === 'IDAT') data.push(body);
    at += 12 + length;
  }
  const raw = inflateSync(Buffer.concat(data));
  const row = width * 3;
  const pixels = new Uint8Array(height * row);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (row + 1)];
    for (let x = 0; x < row; x++) {
      const a = x >= 3 ? pixels[y * row + x - 3] : 0;
      const b = y > 0 ? pixels[(y - 1) * row + x] : 0;
      const c = x >= 3 && y > 0 ? pixels[(y - 1) * row + x - 3] : 0;
      const [pa, pb, pc] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)];
      const paeth = pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
      pixels[y * row + x] = raw[y * (row + 1) + 1 + x] + [0, a, b, (a + b) >> 1, paeth][filter];
    }
  }
  return { width, height, pixels };
}

/** The images of a folder that glow wrote, in order. */
export const readAll = (path) => readdirSync(path).sort().map((name) => [...readPng(join(path, name)).pixels]);

/** What the model's images were prepared by. */
export const PREPROCESSING = { crop: '10%,5%,80%,90%', background: '#204060' };

/** The project's random model of 8×8 images, with one attribute: as it is, and with preprocessing. */
export async function makeBundle() {
  const bundle = join(folder, 'bundle');
  cpSync(join(root, 'models/tests/bundle'), bundle, { recursive: true });
  for (const [kind, level] of [['bright', 170], ['dark', 70]]) {
    mkdirSync(join(folder, kind));
    for (let i = 0; i < 4; i++) {
      await png(`${kind}/${i}.png`, pattern(8, 8, i).map((value) => level + (value >> 3)), 8, 8);
    }
  }
  const [bright, dark] = [join(folder, 'bright'), join(folder, 'dark')];
  glow('attributes', 'fit', bundle, '--positive', bright, '--negative', dark, '--name', 'Bright_Light');
  const prepared = join(folder, 'prepared');
  cpSync(bundle, prepared, { recursive: true });
  const manifest = join(prepared, 'model.json');
  const content = { ...JSON.parse(readFileSync(manifest, 'utf8')), preprocessing: PREPROCESSING };
  writeFileSync(manifest, JSON.stringify(content));
  return { bundle, prepared };
}

const TYPES = {
  '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.css': 'text/css',
  '.json': 'application/json', '.svg': 'image/svg+xml', '.wasm': 'application/wasm',
};

/** Serves a folder to this machine; `isolated` sends the headers that allow threads. */
export function serve(site, { isolated = true } = {}) {
  const requests = [];
  const server = createServer((request, response) => {
    requests.push({ method: request.method, url: request.url });
    const { pathname } = new URL(request.url, 'http://localhost');
    const path = join(site, normalize(pathname.endsWith('/') ? `${pathname}index.html` : pathname));
    if (!existsSync(path)) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, {
      'Content-Type': TYPES[extname(path)] ?? 'application/octet-stream',
      'Cache-Control': 'no-store',
      ...(isolated && {
        'Cross-Origin-Opener-Policy': 'same-origin',
        'Cross-Origin-Embedder-Policy': 'require-corp',
      }),
    });
    response.end(readFileSync(path));
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const url = `http://127.0.0.1:${server.address().port}/`;
      resolve({ url, requests, close: () => server.close() });
    });
  });
}

/** Runs `glow serve` with a bundle, on a port of its own. */
export async function serveBundle(bundle, ...words) {
  const server = spawn(program, ['serve', bundle, '--port', '0', ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(server, 'exit');
  process.on('exit', () => server.kill('SIGKILL'));
  const [line] = await Promise.race([once(server.stdout, 'data'), ended]);
  const url = String(line).trim();
  if (!url.startsWith('http')) throw new Error(`glow serve ended: ${url}`);
  const close = async () => {
    server.kill();
    const [code] = await ended;
    if (code !== 0) throw new Error(`glow serve ended with ${code}`);
  };
  return { url, requests: [], close };
}

/** The hash of the pixels of six samples of seed 1, which is asserted from Rust, C and Python too. */
export const [GOLDEN] = readFileSync(join(root, 'models/tests/samples.sha256'), 'utf8').split(' ');
export const hashOf = (images) => createHash('sha256').update(Uint8Array.from(images.flat())).digest('hex');

const QUIET = [
  '--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];
/** A GPU that is a program, and a slow one. */
export const SOFTWARE_GPU = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan'];

/** A headless browser with a camera that is none. */
export async function launch(more = ['--disable-gpu']) {
  if (!chromium) throw new Error('no Chromium: install it (Debian: chromium), or name one in CHROMIUM');
  const { chromium: browser } = await import(join(packages, 'playwright-core/index.mjs'));
  return browser.launch({
    executablePath: chromium,
    args: [...QUIET, ...more, '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'],
  });
}
