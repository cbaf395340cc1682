// Fetches a bundle and proves that each of its files is the one that its manifest names.

/**
 * What a bundle's model.json holds, as far as the page reads it.
 * @typedef {object} Manifest
 * @property {string} format
 * @property {number} version
 * @property {{height: number, width: number, channels: number, n_bits: number, levels: number, classes: number}} architecture
 * @property {import('../model/latents.js').LatentShape[]} latent_shapes
 * @property {string} precision
 * @property {string[]} [class_names]
 * @property {{crop?: string, background?: string}} [preprocessing] a crop in percent, and #rrggbb behind what is transparent
 * @property {{step: number, bits_per_dim: number | null}} provenance
 * @property {Record<string, {bytes: number, sha256: string}>} files
 */

/** @typedef {(part: {name: string, loaded: number, total: number}) => void} OnProgress */

/**
 * @param {string} url of the bundle's folder, with a slash at the end
 * @returns {Promise<Manifest>}
 */
export async function fetchManifest(url) {
  const name = 'model.json';
  const bytes = await fetchBytes(url + name, name);
  let manifest;
  try {
    manifest = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new Error(`${name} is not JSON`);
  }
  if (manifest.format !== 'glow-bundle' || manifest.version !== 1) {
    throw new Error(`${name} is ${manifest.format} ${manifest.version}; this page reads glow-bundle 1`);
  }
  return manifest;
}

/**
 * One of the files that the manifest names.
 * @param {string} url of the bundle's folder
 * @param {Manifest} manifest
 * @param {string} name
 * @param {OnProgress} [onProgress]
 */
export async function fetchListed(url, manifest, name, onProgress) {
  const entry = manifest.files[name];
  if (!entry) throw new Error(`model.json does not name ${name}`);
  // A new bundle at the same place must not meet files of the old one in a cache.
  const bytes = await fetchBytes(`${url}${name}?${entry.sha256.slice(0, 16)}`, name, entry.bytes, onProgress);
  if (bytes.length !== entry.bytes) {
    throw new Error(`${name} has ${bytes.length} bytes instead of ${entry.bytes}; load the page again`);
  }
  // Only offered to pages from https and from this machine.
  if (crypto.subtle && (await sha256(bytes)) !== entry.sha256) {
    throw new Error(`${name} is damaged: its SHA-256 is not the one in model.json`);
  }
  return bytes;
}

/**
 * Tells one model from another: the SHA-256 of its weights, or of the decoder where each graph holds its own.
 * @param {Manifest} manifest
 */
export const modelSha256 = ({ files }) => (files['model.safetensors'] ?? files['decoder.onnx']).sha256;

/**
 * @param {string} url
 * @param {string} name for messages and progress
 * @param {number} [total] in bytes; compressed transfers do not tell
 * @param {OnProgress} [onProgress]
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function fetchBytes(url, name, total = 0, onProgress) {
  let response;
  try {
    response = await fetch(url);
  } catch (error) {
    throw new Error(`${name} cannot be fetched: ${/** @type {Error} */ (error).message}`);
  }
  if (!response.ok || !response.body) throw new Error(`${name} cannot be fetched: ${response.status} ${response.statusText}`);
  /** @type {Uint8Array[]} */
  const parts = [];
  let loaded = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      throw new Error(`${name} broke off after ${loaded} bytes: ${error.message}`);
    });
    if (done) break;
    parts.push(value);
    loaded += value.length;
    onProgress?.({ name, loaded, total: Math.max(total, loaded) });
  }
  const bytes = new Uint8Array(loaded);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Promise<string>} in hexadecimal
 */
export async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
