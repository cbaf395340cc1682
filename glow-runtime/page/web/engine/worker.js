// The worker: owns the model, follows recipes. The page talks to it by messages (backend/browser.js).
import { project, readAttributes } from '../model/attributes.js';
import { Evaluator } from '../model/evaluate.js';
import { latentsFile, radii } from '../model/latents.js';
import { keyOf } from '../model/recipe.js';
import { readReference } from '../model/typicality.js';
import { fetchBytes, fetchListed, fetchManifest, modelSha256 } from './bundle.js';
import { selfCheck } from './check.js';
import { Graph, loadOnnxruntime } from './graphs.js';
import { Model } from './model.js';

/** @typedef {import('../model/recipe.js').Recipe} Recipe */

/** @type {Model} */
let model;
/** @type {Evaluator} */
let evaluator;
/** Pixels [H, W, C] by their hash. @type {Map<string, Uint8Array>} */
const images = new Map();
/** The last picture, of which likelihoods are asked next. @type {{key: string, pixels: Uint8Array}} */
let last = { key: '', pixels: new Uint8Array() };

/** What the page may call. */
const methods = {
  /**
   * @param {{kind: 'wasm' | 'webgpu', threads: number, bundle: string, optional: string[], onnxruntime: string}} options
   */
  async load({ kind, threads, bundle, optional, onnxruntime }) {
    const manifest = await fetchManifest(bundle);
    const listed = (/** @type {string} */ name) => fetchListed(bundle, manifest, name, report);
    const extra = (/** @type {string} */ name) => (optional.includes(name) ? fetchBytes(bundle + name, name) : null);
    const [ort, weights, decoder, encoder, attributes, reference] = await Promise.all([
      loadOnnxruntime(kind, onnxruntime, threads, report),
      'model.safetensors' in manifest.files ? listed('model.safetensors') : null,
      listed('decoder.onnx'),
      listed('encoder.onnx'),
      extra('attributes.safetensors'),
      extra('reference.json'),
    ]);
    report({ name: 'decoder.onnx', loaded: 1, total: 1, preparing: true });
    const graph = (/** @type {Uint8Array} */ bytes, /** @type {string} */ name) =>
      Graph.create(ort, kind, bytes, weights, name);
    const decoding = await graph(decoder, 'decoder.onnx');
    // The first picture needs only the decoder.
    model = new Model(manifest, decoding, () => graph(encoder, 'encoder.onnx'));
    const sha256 = modelSha256(manifest);
    const directions = attributes ? readAttributes(attributes, sha256, model.dims) : [];
    evaluator = new Evaluator(manifest.latent_shapes, directions, async (hash, label) => {
      const image = images.get(hash);
      if (!image) throw new Error('The photograph of this link or step is not here any more: choose it again.');
      return (await model.encode(image, null, label)).flat;
    });
    return {
      manifest,
      attributes: directions.map(({ name }) => name),
      reference: readReference(reference && JSON.parse(new TextDecoder().decode(reference)), sha256),
    };
  },

  /** One image there and back, equal pixels; throws where that fails. */
  check: () => selfCheck(model),

  /** @param {{id: string, pixels: Uint8Array}} image */
  async add({ id, pixels }) {
    images.set(id, pixels);
  },

  /** @param {Recipe} recipe */
  async render(recipe) {
    const started = performance.now();
    const pixels = await picture(recipe);
    return { pixels, ms: performance.now() - started };
  },

  /**
   * log p of one draw of the dequantization noise, in nats.
   * @param {{recipe: Recipe, draw: number}} request
   */
  async logProb({ recipe, draw }) {
    return model.logProb(await picture(recipe), draw, recipe.label);
  },

  /** @param {Recipe} recipe */
  async radii(recipe) {
    return radii(await evaluator.latent(recipe), model.manifest.latent_shapes);
  },

  /** @param {Recipe} recipe */
  async coordinates(recipe) {
    return project(await evaluator.latent(recipe), evaluator.attributes);
  },

  /** @param {Recipe} recipe */
  async latents(recipe) {
    return latentsFile(await evaluator.latent(recipe), model.manifest.latent_shapes);
  },
};

/** @param {Recipe} recipe */
async function picture(recipe) {
  const key = keyOf(recipe);
  if (last.key !== key) last = { key, pixels: await model.decode(await evaluator.latent(recipe), recipe.label) };
  return last.pixels;
}

/** @param {{name: string, loaded: number, total: number, preparing?: boolean}} progress */
function report(progress) {
  self.postMessage({ progress });
}

self.addEventListener('message', async ({ data: { id, method, argument } }) => {
  try {
    const result = await /** @type {any} */ (methods)[method](argument);
    self.postMessage({ id, result });
  } catch (error) {
    self.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
});
