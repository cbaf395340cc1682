// The two graphs of a bundle under onnxruntime-web.
import { fetchBytes } from './bundle.js';

/** Files of onnxruntime-web for each kind of execution. */
const LIBRARIES = {
  wasm: { api: 'ort.wasm.min.mjs', core: 'ort-wasm-simd-threaded' },
  webgpu: { api: 'ort.webgpu.min.mjs', core: 'ort-wasm-simd-threaded.asyncify' },
};

/** The size of the larger part of each, for the progress while it loads. */
const CORE_BYTES = { wasm: 14_239_897, webgpu: 26_781_914 };

/**
 * @param {'wasm' | 'webgpu'} kind
 * @param {string} url of the folder with onnxruntime-web's files, absolute
 * @param {number} threads
 * @param {import('./bundle.js').OnProgress} [onProgress]
 */
export async function loadOnnxruntime(kind, url, threads, onProgress) {
  const { api, core } = LIBRARIES[kind];
  const name = `${core}.wasm`;
  const [ort, binary] = await Promise.all([
    import(url + api).catch((error) => {
      throw new Error(`${api} cannot be loaded: ${error.message}`);
    }),
    fetchBytes(url + name, name, CORE_BYTES[kind], onProgress),
  ]);
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = { mjs: `${url}${core}.mjs` };
  ort.env.wasm.wasmBinary = binary.buffer;
  ort.env.logLevel = 'error';
  return ort;
}

/**
 * One graph, one image at a time.
 */
export class Graph {
  /**
   * @param {any} ort
   * @param {'wasm' | 'webgpu'} kind
   * @param {Uint8Array} graph
   * @param {Uint8Array | null} weights shared by both graphs; null where each holds its own
   * @param {string} name for messages
   */
  static async create(ort, kind, graph, weights, name) {
    try {
      const session = await ort.InferenceSession.create(graph, {
        executionProviders: [kind],
        graphOptimizationLevel: 'all',
        logSeverityLevel: 3,
        externalData: weights ? [{ path: 'model.safetensors', data: weights }] : [],
      });
      return new Graph(ort, session, name);
    } catch (error) {
      throw new Error(`${name} cannot be loaded: ${/** @type {Error} */ (error).message}`);
    }
  }

  /**
   * @param {any} ort
   * @param {any} session
   * @param {string} name
   */
  constructor(ort, session, name) {
    this.ort = ort;
    this.session = session;
    this.name = name;
  }

  /**
   * @param {Record<string, {type: string, data: any, dims: number[]}>} inputs
   * @returns {Promise<Record<string, any>>} the outputs' data by name
   */
  async run(inputs) {
    const feeds = Object.fromEntries(
      Object.entries(inputs).map(([name, { type, data, dims }]) => [name, new this.ort.Tensor(type, data, dims)]),
    );
    try {
      const results = await this.session.run(feeds);
      return Object.fromEntries(Object.entries(results).map(([name, tensor]) => [name, tensor.data]));
    } catch (error) {
      throw new Error(`${this.name} failed: ${/** @type {Error} */ (error).message}`);
    }
  }

  async release() {
    await this.session.release();
  }
}
