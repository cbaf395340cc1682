// The back end of a server, `glow serve`: recipes go there, pixels come back.
import { imagesOf } from '../model/recipe.js';

/** @typedef {import('../model/recipe.js').Recipe} Recipe */
/** @typedef {import('./backend.js').Backend} Backend */

const ROOT = new URL('../', import.meta.url);

/** Times that a busy server is asked again. */
const TRIES = 4;

/** What a server answered instead of what it was asked for. */
class ServerError extends Error {
  /**
   * @param {string} message
   * @param {string} kind a word for programs, such as `overloaded`
   * @param {number} [retryAfter] seconds
   */
  constructor(message, kind, retryAfter) {
    super(message);
    this.kind = kind;
    this.retryAfter = retryAfter;
  }
}

/** The model that the page's address names; the server's first without one. */
const model = new URLSearchParams(location.search).get('model');

/**
 * @param {string} path
 * @param {RequestInit} [options]
 * @param {Record<string, string>} [query]
 * @returns {Promise<Response>}
 */
async function ask(path, options, query = {}) {
  const url = new URL(path, ROOT);
  url.search = new URLSearchParams(model === null ? query : { ...query, model }).toString();
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    options?.signal?.throwIfAborted();
    throw new Error(`The server at ${ROOT.host} cannot be reached: ${/** @type {Error} */ (error).message}`);
  }
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  const message = error?.message ?? `${response.status} ${response.statusText}`;
  const seconds = Number(response.headers.get('Retry-After'));
  throw new ServerError(`The server answered: ${message}.`, error?.kind ?? '', seconds || undefined);
}

/** @param {number} seconds @param {AbortSignal} [signal] */
const wait = (seconds, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener('abort', () => (clearTimeout(timer), reject(signal.reason)));
  });

/**
 * @param {(part: {name: string, loaded: number, total: number}) => void} onProgress
 * @returns {Promise<Backend>}
 */
export async function serverBackend(onProgress) {
  onProgress({ name: 'model', loaded: 0, total: 1 });
  const { manifest, attributes, reference, runs } = await (await ask('v1/model')).json();
  onProgress({ name: 'model', loaded: 1, total: 1 });

  /** Photographs, which the server may forget. @type {Map<string, Uint8Array>} */
  const images = new Map();
  /** Those on their way there. @type {Map<string, Promise<void>>} */
  const sent = new Map();

  /** @param {string} id */
  function send(id) {
    const pixels = images.get(id);
    if (!pixels) throw new Error('The photograph of this link or step is not here any more: choose it again.');
    const headers = { 'Content-Type': 'application/octet-stream' };
    const sending = ask('v1/images', { method: 'POST', headers, body: /** @type {BodyInit} */ (pixels) }).then(async (response) => {
      const { image } = await response.json();
      if (image !== id) throw new Error('The server made another image of the photograph’s pixels.');
    });
    sent.set(id, sending);
    // One that failed is sent again by who needs it.
    sending.catch(() => sent.delete(id));
    return sending;
  }

  /**
   * @param {string} path
   * @param {Recipe} recipe
   * @param {{more?: object, query?: Record<string, string>, signal?: AbortSignal}} [options]
   */
  async function call(path, recipe, { more = {}, query, signal } = {}) {
    const headers = { 'Content-Type': 'application/json' };
    const request = { method: 'POST', headers, body: JSON.stringify({ recipe, ...more }), signal };
    const needed = imagesOf(recipe);
    for (let tried = 1; ; tried++) {
      await Promise.all(needed.map((id) => sent.get(id) ?? send(id)));
      try {
        return await ask(path, request, query);
      } catch (error) {
        if (!(error instanceof ServerError) || tried === TRIES) throw error;
        if (error.kind === 'unknown_image') for (const id of needed) sent.delete(id);
        else if (error.kind === 'overloaded') await wait(error.retryAfter ?? 1, signal);
        else throw error;
      }
    }
  }

  return {
    manifest,
    attributes,
    reference,
    where: `the server ${ROOT.host}, ${runs.providers.join(' and ')}`,
    privacy: `Photographs are sent to the server ${ROOT.host}, cut and reduced to what the model sees. It keeps them in memory for a while and writes them nowhere.`,
    async addImage(id, pixels) {
      images.set(id, pixels);
      await send(id);
    },
    async render(recipe) {
      const started = performance.now();
      const response = await call('v1/render', recipe, { query: { format: 'raw' } });
      const pixels = new Uint8Array(await response.arrayBuffer());
      return { pixels, ms: performance.now() - started };
    },
    async score(recipe, draws, signal) {
      const score = await (await call('v1/score', recipe, { more: { draws }, signal })).json();
      const { log_prob: logProb, standard_error: standardError, bits_per_dim: bitsPerDim, radii } = score;
      return { logProb, standardError, bitsPerDim, radii };
    },
    async coordinates(recipe) {
      return (await (await call('v1/coordinates', recipe)).json()).coordinates;
    },
    async latents(recipe) {
      return new Uint8Array(await (await call('v1/latents', recipe)).arrayBuffer());
    },
  };
}
