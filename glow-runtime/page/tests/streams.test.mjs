// Without a browser: the numbers are those of the project's programs.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { luma, reduce } from '../web/images/area.js';
import { defaultCrop } from '../web/images/photo.js';
import { Evaluator } from '../web/model/evaluate.js';
import { latentsFile, lerp, slerp } from '../web/model/latents.js';
import { normal, uniform } from '../web/model/random.js';
import { checkRecipe, RecipeError } from '../web/model/recipe.js';
import { readTensors } from '../web/model/safetensors.js';
import { sha256 } from '../web/model/sha256.js';
import { compare } from '../web/model/typicality.js';
import { folder, glow, GOLDEN, hashOf, makeBundle, pattern, png, PREPROCESSING, readAll } from './site.mjs';

const { bundle, prepared } = await makeBundle();
const { latent_shapes: shapes } = JSON.parse(readFileSync(join(bundle, 'model.json'), 'utf8'));
const evaluator = new Evaluator(shapes, [], () => assert.fail());

test('streams are the golden ones of the project', () => {
  const f32 = (values) => values.map(Math.fround);
  assert.deepEqual([...normal(1n, 7n, 3)], f32([0.34973285, 0.7222981, 0.93742794]));
  assert.deepEqual([...uniform(1n, 2n, 7n, 3)], [63349, 53099, 42492].map((k) => k / 65536));
  const all = [...normal(5n, 2n, 1000)].filter((z) => Math.abs(z) <= Math.fround(0.8));
  assert.deepEqual([...normal(5n, 2n, all.length, 0.8)], all);
});

test('latents of a seed decode to the pictures of glow sample', async () => {
  // The largest seed, and a truncation, which draws again.
  for (const [seed, temperature, truncation] of [['1', 0.7, null], ['18446744073709551615', 0.9, 1.5]]) {
    const [latents, here, there] = ['latents', 'here', 'there'].map((name) => join(folder, `${name}-${seed}`));
    mkdirSync(latents);
    mkdirSync(here);
    for (let number = 0; number < 6; number++) {
      const flat = await evaluator.latent({ base: { sample: { seed, number, temperature, truncation } } });
      const file = join(latents, `${number}.safetensors`);
      writeFileSync(file, latentsFile(flat, shapes));
      glow('decode', bundle, file, '--out', join(here, String(number)));
    }
    const more = truncation === null ? [] : ['--truncation', String(truncation)];
    glow('sample', bundle, '--count', '6', '--seed', seed, '--temperature', String(temperature), ...more, '--out', there);
    const decoded = Array.from({ length: 6 }, (_, number) => readAll(join(here, String(number)))[0]);
    assert.deepEqual(decoded, readAll(there));
    // The hash that is asserted from Rust, C and Python too.
    if (seed === '1') assert.equal(hashOf(decoded), GOLDEN);
  }
});

test('a photograph is cut and averaged as glow encode does it', async () => {
  const whole = [[8, 8], [20, 16], [31, 97], [109, 89]].map(([height, width]) => ({ height, width, model: bundle }));
  const cuts = [[20, 16], [109, 89]].map(([height, width]) => ({ height, width, model: prepared }));
  for (const { height, width, model } of [...whole, ...cuts]) {
    const pixels = pattern(height, width, 1);
    const name = `${height}x${width}${model === prepared ? '-cut' : ''}`;
    const file = await png(`${name}.png`, pixels, height, width);
    const [latents, out] = ['safetensors', 'out'].map((end) => join(folder, `${name}.${end}`));
    glow('encode', model, file, '--out', latents);
    glow('decode', model, latents, '--out', out);
    const preprocessing = model === prepared ? PREPROCESSING : undefined;
    const part = defaultCrop({ height, width }, { architecture: { height: 8, width: 8 }, preprocessing });
    const { top, left, height: h, width: w } = part;
    const cut = new Uint8Array(h * w * 3);
    for (let y = 0; y < h; y++) cut.set(pixels.subarray(((top + y) * width + left) * 3).subarray(0, w * 3), y * w * 3);
    assert.deepEqual([...reduce(cut, { height: h, width: w, channels: 3 }, 8, 8)], readAll(out)[0]);
  }
});

test('the part that preprocessing cuts out is that of the project', () => {
  const cut = (crop, width, height, side) => {
    const { left, top, ...size } = defaultCrop({ width, height }, { architecture: { width: side, height: side }, preprocessing: { crop } });
    return [left, top, size.width, size.height];
  };
  // The faces of CelebA at half their size, and at their own.
  assert.deepEqual(cut('6.7%,17.4%,85.4%,69.7%', 89, 109, 64), [6, 19, 76, 76]);
  assert.deepEqual(cut('6.7%,17.4%,85.4%,69.7%', 178, 218, 64), [12, 38, 152, 152]);
  assert.deepEqual(cut('', 89, 109, 64), [0, 10, 89, 89]);
  assert.deepEqual(cut(undefined, 301, 100, 32), [100, 0, 100, 100]);
  // Where that is too small for the model, the middle of all.
  assert.deepEqual(cut('45%,45%,10%,10%', 100, 100, 32), [0, 0, 100, 100]);
});

test('gray is the luma of Rec. 601', () => {
  assert.deepEqual([...luma(Uint8Array.of(255, 0, 0, 0, 255, 0, 0, 0, 255, 77, 77, 77))], [76, 150, 29, 77]);
});

test('ways between latents keep their ends, and the sphere the length', () => {
  const [a, b] = [normal(1n, 0n, 4096), normal(1n, 1n, 4096)];
  for (const way of [lerp, slerp]) {
    assert.deepEqual(way(a, b, 0), a);
    assert.deepEqual(way(a, b, 1), b);
  }
  const length = (v) => Math.hypot(...v);
  assert.ok(Math.abs(length(slerp(a, b, 0.5)) / length(a) - 1) < 0.05);
  assert.ok(length(lerp(a, b, 0.5)) / length(a) < 0.75);
});

test('safetensors come back, and broken ones are refused', () => {
  const flat = normal(3n, 0n, 192);
  const file = latentsFile(flat, shapes);
  const { tensors } = readTensors(file, 'latents');
  assert.deepEqual([...tensors.get('eps_0').values, ...tensors.get('eps_1').values], [...flat]);
  for (const end of [0, 7, 20, file.length - 1]) assert.throws(() => readTensors(file.slice(0, end), 'latents'), /latents is not/);
});

test('SHA-256 is the standard one', () => {
  for (const size of [0, 1, 55, 56, 63, 64, 65, 12288]) {
    const bytes = new Uint8Array(size).map((_, i) => i * 7);
    assert.equal(sha256(bytes), createHash('sha256').update(bytes).digest('hex'));
  }
});

test('a recipe from outside is checked', () => {
  const limits = { levels: 2, classes: 0, attributes: ['Smiling'] };
  const sample = { seed: '7', number: 0, temperature: 0.7, truncation: null };
  const good = { base: { sample }, strengths: { Smiling: 1 }, redraw: { levels: [0], seed: '1', number: 2, temperature: 1 } };
  assert.deepEqual(checkRecipe(JSON.parse(JSON.stringify({ ...good, more: 1 })), limits), good);
  for (const bad of [
    null, [], {}, { base: {} }, { base: { image: '../model' } }, { base: { sample: { ...sample, seed: '-1' } } },
    { base: { sample: { ...sample, seed: '18446744073709551616' } } }, { base: { sample: { ...sample, temperature: NaN } } },
    { base: { sample: { ...sample, number: 0.5 } } }, { base: { sample: { ...sample, truncation: 0 } } },
    { base: { blend: { of: [{ sample }], x: 0, y: 0 } } }, { base: { sample }, strengths: { Tall: 1 } },
    { base: { sample }, strengths: { Smiling: 1e9 } }, { base: { sample }, label: 0 },
    { base: { sample }, redraw: { levels: [2], seed: '1', number: 0, temperature: 1 } },
  ]) {
    assert.throws(() => checkRecipe(bad, limits), RecipeError, JSON.stringify(bad));
  }
});

test('typicality is that of glow score', () => {
  const { deviations, pValue } = compare([1, 2, 3], 3);
  assert.equal(deviations, 1);
  assert.equal(pValue, 3 / 4);
});
