// What the page asks of a back end: this browser (browser.js) or a server (server.js).

/**
 * @typedef {import('../model/recipe.js').Recipe} Recipe
 * @typedef {import('../engine/bundle.js').Manifest} Manifest
 * @typedef {{loaded: number, total: number, name: string, preparing?: boolean}} Progress
 */

/**
 * A likelihood: the mean over the draws of the dequantization noise, its standard error (null for one draw), the mean
 * in bits/dim, and the root mean square of each level of the latent.
 * @typedef {{logProb: number, standardError: number | null, bitsPerDim: number, radii: number[]}} Score
 */

/**
 * @typedef {object} Backend
 * @property {Manifest} manifest
 * @property {string[]} attributes their names, in the bundle's order
 * @property {number[] | null} reference bits/dim of images like those of the training: `glow score --save-reference`
 * @property {string} where what computes, such as "WebAssembly, 2 threads"
 * @property {string} privacy what becomes of a photograph
 * @property {(id: string, pixels: Uint8Array) => Promise<void>} addImage pixels
 *   [H, W, C] by their SHA-256; calls that come after may name it
 * @property {(recipe: Recipe, options?: {live?: boolean}) => Promise<{pixels: Uint8Array, ms: number}>} render
 *   pixels [H, W, C]; `live` while a slider moves, where speed counts for more than the last bit
 * @property {(recipe: Recipe, draws: number, signal?: AbortSignal) => Promise<Score>} score
 * @property {(recipe: Recipe) => Promise<Record<string, number>>} coordinates along the attributes
 * @property {(recipe: Recipe) => Promise<Uint8Array<ArrayBuffer>>} latents a file that `glow decode` reads
 */

/**
 * The back end that site.json names, which lies beside the page.
 * @param {(progress: Progress) => void} onProgress
 * @returns {Promise<Backend>}
 */
export async function openBackend(onProgress) {
  const name = 'site.json';
  const response = await fetch(new URL(`../${name}`, import.meta.url));
  if (!response.ok) throw new Error(`${name} cannot be fetched: ${response.status} ${response.statusText}`);
  const { backend, optional = [] } = await response.json();
  // Only the one that is needed is fetched.
  if (backend === 'browser') return (await import('./browser.js')).browserBackend(optional, onProgress);
  if (backend === 'server') return (await import('./server.js')).serverBackend(onProgress);
  throw new Error(`${name} names the back end ${backend}, which this page does not have`);
}
