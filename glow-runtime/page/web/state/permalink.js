// Links that give the very same picture: the recipe, and the pixels of the photographs that it needs, in the part of
// the address after # that browsers send to nobody.
import { modelSha256 } from '../engine/bundle.js';
import { imagesOf } from '../model/recipe.js';
import { sha256 } from '../model/sha256.js';

/**
 * @typedef {import('../model/recipe.js').Recipe} Recipe
 * @typedef {import('../engine/bundle.js').Manifest} Manifest
 */

const KEY = '#p=';
/** Longer links are refused unread. */
const MOST_CHARACTERS = 1 << 20;
/** What a link may unpack to. */
const MOST_BYTES = 1 << 24;

/**
 * The part of the address from # on.
 * @param {Recipe} recipe
 * @param {Manifest} manifest
 * @param {Map<string, Uint8Array>} pixels by hash
 */
export async function writeLink(recipe, manifest, pixels) {
  const images = imagesOf(recipe).map((hash) => pixels.get(hash) ?? new Uint8Array());
  const head = new TextEncoder().encode(
    JSON.stringify({ v: 1, model: modelSha256(manifest).slice(0, 12), recipe }),
  );
  const bits = manifest.architecture.n_bits;
  // The JSON ends at the first zero byte, which JSON cannot contain.
  const parts = [head, Uint8Array.of(0), ...images.map((image) => image.map((value) => value >> (8 - bits)))];
  return KEY + toText(await through(new Blob(parts), new CompressionStream('deflate-raw')));
}

/**
 * Takes a link apart; null if the address has none. The recipe is unchecked.
 * @param {string} hash the part of the address from # on
 * @param {Manifest} manifest
 * @returns {Promise<{recipe: any, images: Map<string, Uint8Array>} | null>}
 */
export async function readLink(hash, manifest) {
  if (!hash.startsWith(KEY)) return null;
  const text = hash.slice(KEY.length);
  if (text.length > MOST_CHARACTERS) throw new Error('This link is too long.');
  let bytes, head;
  try {
    bytes = await through(new Blob([fromText(text)]), new DecompressionStream('deflate-raw'));
    head = JSON.parse(new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0))));
  } catch {
    throw new Error('This link is not whole: a part of it was lost on the way.');
  }
  const model = modelSha256(manifest).slice(0, 12);
  if (head.v !== 1 || head.model !== model) {
    throw new Error(`This link belongs to another model (${head.model}); this page has ${model}.`);
  }
  const { height, width, channels, n_bits: bits } = manifest.architecture;
  const size = height * width * channels;
  const images = new Map();
  for (let at = bytes.indexOf(0) + 1; at + size <= bytes.length; at += size) {
    const image = bytes.slice(at, at + size).map((value) => value << (8 - bits));
    images.set(sha256(image), image);
  }
  return { recipe: head.recipe, images };
}

/**
 * @param {Blob} blob
 * @param {CompressionStream | DecompressionStream} stream
 */
async function through(blob, stream) {
  const reader = blob.stream().pipeThrough(/** @type {any} */ (stream)).getReader();
  const parts = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    size += value.length;
    if (size > MOST_BYTES) throw new Error('it unpacks to too much');
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** base64url. @param {Uint8Array} bytes */
function toText(bytes) {
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/** @param {string} text */
function fromText(text) {
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}
