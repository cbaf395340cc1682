// Without a browser: the order of work, the history, and the check of a provider.
import assert from 'node:assert/strict';
import test from 'node:test';
import { selfCheck } from '../web/engine/check.js';
import { keyOf } from '../web/model/recipe.js';
import { initialState, recipeNow, stateOf, withTab } from '../web/state/recipes.js';
import { Store } from '../web/state/store.js';
import { Work } from '../web/state/work.js';

const manifest = { architecture: { classes: 0, levels: 2, n_bits: 5 } };

/** Work that is done when it is told to. */
function steps() {
  const log = [];
  const waiting = [];
  const job = (name) => (signal) =>
    new Promise((resolve, reject) => {
      log.push(name);
      waiting.push(resolve);
      signal.addEventListener('abort', () => reject(signal.reason));
    });
  const finish = async () => {
    waiting.shift()();
    await new Promise(setImmediate);
  };
  return { log, job, finish };
}

test('of what comes first only the newest is done, and it interrupts what can wait', async () => {
  const { log, job, finish } = steps();
  const errors = [];
  const work = new Work((error) => errors.push(error));
  work.newest(job('a'));
  for (const name of ['b', 'c', 'd']) work.newest(job(name));
  work.whenIdle('thumbs', [job('old thumb')]);
  work.whenIdle('thumbs', [job('thumb'), job('never')]);
  assert.deepEqual(log, ['a']);
  await finish();
  assert.deepEqual(log, ['a', 'd']);
  await finish();
  assert.deepEqual(log, ['a', 'd', 'thumb']);
  work.newest(job('e'));
  await new Promise(setImmediate);
  assert.deepEqual(log, ['a', 'd', 'thumb', 'e']);
  work.whenIdle('thumbs', []);
  assert.deepEqual(errors, []);
});

test('what fails is told, and the rest goes on', async () => {
  const errors = [];
  const work = new Work((error) => errors.push(error.message));
  work.newest(async () => {
    throw new Error('broken');
  });
  let done = false;
  work.whenIdle('more', [async () => void (done = true)]);
  await new Promise(setImmediate);
  assert.deepEqual(errors, ['broken']);
  assert.ok(done);
});

test('a drag is one step of the history', () => {
  const store = new Store(initialState(1n));
  const smile = (strength) => store.move({ strengths: { Smiling: strength } });
  for (const strength of [0.1, 0.2, 0.3]) smile(strength);
  store.commit();
  smile(0.9);
  store.commit();
  // Nothing changed: no step.
  store.commit();
  store.undo();
  assert.equal(store.state.strengths.Smiling, 0.3);
  store.undo();
  assert.deepEqual([store.state.strengths, store.canUndo, store.canRedo], [{}, false, true]);
  store.redo();
  store.set({ photos: ['f'.repeat(64)] });
  assert.equal(store.canRedo, false);
  store.undo();
  assert.deepEqual(store.state.photos, ['f'.repeat(64)], 'a photograph stays within reach');
});

test('a recipe becomes a state that has this recipe', () => {
  const first = initialState(7n);
  const image = { image: 'a'.repeat(64) };
  for (const state of [
    first,
    { ...first, face: { number: 5 }, strengths: { Smiling: 0.5 } },
    { ...first, face: image, redraw: { levels: [0], seed: '3', number: 1, temperature: 0.5 } },
    { ...withTab(first, 'blend'), blend: { ...first.blend, of: [image, image, ...first.blend.of.slice(2)], x: 0.25 } },
    { ...withTab(first, 'walk'), walk: { ...first.walk, at: 1, spherical: true } },
  ]) {
    const recipe = recipeNow(state, manifest);
    assert.equal(keyOf(recipeNow(stateOf(recipe, first), manifest)), keyOf(recipe));
  }
});

test('a provider that computes wrongly is found out', async () => {
  const shift = (values, by) => Float32Array.from(values, (value) => value + by);
  const model = (error) => ({
    manifest: { architecture: { classes: 0 } },
    dims: 48,
    quantize: (image) => image,
    decode: async (flat) => Uint8Array.from(flat, (z) => 128 + 16 * z),
    encode: async (image) => ({ flat: shift(Float32Array.from(image, (value) => (value + 0.5 - 128) / 16), error) }),
  });
  await selfCheck(model(0));
  await selfCheck(model(0.4 / 16));
  await assert.rejects(selfCheck(model(0.6 / 16)), /did not come back/);
});
