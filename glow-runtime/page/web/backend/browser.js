// The back end in this browser: the model runs in a worker of the page. Nothing is sent anywhere.
/** @typedef {import('../model/recipe.js').Recipe} Recipe */
/** @typedef {import('./backend.js').Backend} Backend */
import { meanOf } from '../model/score.js';


const BUNDLE = new URL('../model.glow/', import.meta.url).href;
const ONNXRUNTIME = new URL('../onnxruntime-web/', import.meta.url).href;

/** A worker that is called by messages. */
class Engine {
  /** @param {(progress: any) => void} onProgress */
  constructor(onProgress) {
    this.worker = new Worker(new URL('../engine/worker.js', import.meta.url), { type: 'module' });
    /** @type {Map<number, {resolve: (result: any) => void, reject: (error: Error) => void}>} */
    this.waiting = new Map();
    this.calls = 0;
    this.worker.addEventListener('message', ({ data }) => {
      if (data.progress) return onProgress(data.progress);
      const call = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.error === undefined) call?.resolve(data.result);
      else call?.reject(new Error(data.error));
    });
    this.worker.addEventListener('error', (event) => {
      const error = new Error(`The worker failed: ${event.message ?? 'its script cannot be loaded'}`);
      for (const { reject } of this.waiting.values()) reject(error);
      this.waiting.clear();
    });
  }

  stop() {
    this.worker.terminate();
  }

  /**
   * @param {string} method
   * @param {unknown} [argument]
   * @returns {Promise<any>}
   */
  call(method, argument) {
    const id = ++this.calls;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, method, argument });
    });
  }
}

/** Threads that help: one a physical core, of which browsers tell only twice the number, and no more than 8. */
function threadsHere() {
  if (!self.crossOriginIsolated) return 1;
  const logical = navigator.hardwareConcurrency || 1;
  return logical <= 2 ? logical : Math.min(8, Math.ceil(logical / 2));
}

/**
 * Loads the bundle beside the page.
 * @param {string[]} optional which of the bundle's optional files are there
 * @param {(progress: {name: string, loaded: number, total: number}) => void} onProgress
 * @returns {Promise<Backend>}
 */
export async function browserBackend(optional, onProgress) {
  const engine = new Engine(onProgress);
  const threads = threadsHere();
  const places = { bundle: BUNDLE, optional, onnxruntime: ONNXRUNTIME };
  const { manifest, attributes, reference } = await engine.call('load', { kind: 'wasm', threads, ...places });
  const { height, width, channels } = manifest.architecture;
  const where = threads === 1 ? 'WebAssembly, 1 thread' : `WebAssembly, ${threads} threads`;

  /** Draws while a slider moves, where there is a GPU that computes rightly. @type {Engine | null} */
  let gpu = null;
  /** What a GPU that comes later must know. @type {Map<string, Uint8Array>} */
  const images = new Map();

  const backend = {
    manifest,
    attributes,
    reference,
    where,
    privacy: 'Photographs stay on this machine: the model runs in this page, and nothing is sent anywhere.',
    /** @param {string} id @param {Uint8Array} pixels */
    async addImage(id, pixels) {
      images.set(id, pixels);
      await Promise.all([engine.call('add', { id, pixels }), gpu?.call('add', { id, pixels })]);
    },
    /** @param {Recipe} recipe @param {{live?: boolean}} [options] */
    render: (recipe, { live = false } = {}) => (live && gpu ? gpu : engine).call('render', recipe),
    /** @param {Recipe} recipe @param {number} draws @param {AbortSignal} [signal] */
    async score(recipe, draws, signal) {
      const values = [];
      for (let draw = 0; draw < draws; draw++) {
        values.push(await engine.call('logProb', { recipe, draw }));
        signal?.throwIfAborted();
      }
      return { ...meanOf(values, height * width * channels), radii: await engine.call('radii', recipe) };
    },
    /** @param {Recipe} recipe */
    coordinates: (recipe) => engine.call('coordinates', recipe),
    /** @param {Recipe} recipe */
    latents: (recipe) => engine.call('latents', recipe),
  };

  // The page is of use before: this goes on beside it.
  openGpu(places)
    .then(async (opened) => {
      if (!opened) return;
      const [there, here] = [await timeOf(opened), await timeOf(engine)];
      if (there >= here) {
        opened.stop();
        throw new Error(`${there.toFixed(0)} ms a picture are no less than WebAssembly's ${here.toFixed(0)} ms`);
      }
      for (const [id, pixels] of images) opened.call('add', { id, pixels });
      gpu = opened;
      backend.where = `WebGPU while something moves, then ${where}`;
    })
    .catch((error) => console.info(`WebGPU is not used: ${error.message}`));
  return backend;
}

/**
 * Milliseconds that a picture takes, the least of a few.
 * @param {Engine} engine
 */
async function timeOf(engine) {
  let least = Infinity;
  for (let number = 0; number < 4; number++) {
    const sample = { seed: '0', number: 1_000_000 + number, temperature: 0.7, truncation: null };
    least = Math.min(least, (await engine.call('render', { base: { sample } })).ms);
  }
  return least;
}

/**
 * A second engine on the GPU; null where the browser offers none. Throws where it computes wrongly. What it draws
 * may differ from WebAssembly's in the last bit, so that it draws only what is soon drawn again.
 * @param {{bundle: string, optional: string[], onnxruntime: string}} places
 */
async function openGpu(places) {
  const adapter = await /** @type {any} */ (navigator).gpu?.requestAdapter();
  if (!adapter || adapter.info?.isFallbackAdapter) return null;
  const engine = new Engine(() => {});
  try {
    await engine.call('load', { kind: 'webgpu', threads: 1, ...places });
    await engine.call('check');
    return engine;
  } catch (error) {
    engine.stop();
    throw error;
  }
}
