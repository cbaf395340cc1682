// From a file of an image to the pixels that the model takes: the same as `glow encode` makes of it, but for decoders
// of JPEG, which differ by a step or two.
import { centre, luma, reduce } from './area.js';

/**
 * @typedef {import('./area.js').Rectangle} Rectangle
 * @typedef {import('../engine/bundle.js').Manifest} Manifest
 * @typedef {ImageBitmap} Photo turned as its EXIF orientation says
 */

/** Larger images are refused: a canvas would not hold them. */
const MOST_PIXELS = 120e6;

/**
 * @param {Blob} file
 * @param {string} name for messages
 * @param {Manifest} manifest
 * @returns {Promise<Photo>}
 */
export async function decodePhoto(file, name, manifest) {
  let photo;
  try {
    // The numbers in the file, without conversions to the screen's colours, as the other programs read them.
    photo = await createImageBitmap(file, { imageOrientation: 'from-image', colorSpaceConversion: 'none' });
  } catch {
    throw new Error(`${name} cannot be decoded as an image. PNG, JPEG, WebP, BMP, GIF and AVIF are read.`);
  }
  const { height, width } = manifest.architecture;
  if (photo.width * photo.height > MOST_PIXELS) {
    throw new Error(`${name} has ${photo.width}×${photo.height} pixels; at most 120 million are read.`);
  }
  if (photo.width < width || photo.height < height) {
    throw new Error(`${name} is ${photo.width}×${photo.height} pixels, smaller than the model's ${width}×${height}.`);
  }
  return photo;
}

/**
 * The part that `glow encode` takes: what the model's preprocessing cuts out, and of that the largest rectangle in
 * the middle with the model's aspect ratio. The middle of the whole photograph where that is smaller than the model.
 * @param {{height: number, width: number}} photo
 * @param {Manifest} manifest
 * @returns {Rectangle}
 */
export function defaultCrop(photo, { architecture: { height, width }, preprocessing }) {
  const whole = { top: 0, left: 0, height: photo.height, width: photo.width };
  const cut = cutOut(whole, preprocessing?.crop);
  return centre(cut.height < height || cut.width < width ? whole : cut, height, width);
}

/**
 * @param {Rectangle} whole
 * @param {string} [crop] "LEFT%,TOP%,WIDTH%,HEIGHT%"; empty for all of it
 * @returns {Rectangle}
 */
function cutOut(whole, crop) {
  if (!crop) return whole;
  const [left, top, width, height] = crop.split(',').map(parseFloat);
  const span = (/** @type {number} */ begin, /** @type {number} */ length, /** @type {number} */ side) => {
    const pixels = (/** @type {number} */ percent) => Math.round((percent / 100) * side);
    const from = Math.min(pixels(begin), side - 1);
    return { from, size: Math.min(Math.max(1, pixels(length)), side - from) };
  };
  const [across, down] = [span(left, width, whole.width), span(top, height, whole.height)];
  return { top: down.from, left: across.from, height: down.size, width: across.size };
}

/**
 * The pixels [H, W, C] of a part of a photograph as the model sees them, with only the upper n_bits of each.
 * @param {CanvasImageSource} photo
 * @param {Rectangle} crop at least of the model's size
 * @param {Manifest} manifest
 * @returns {Uint8Array}
 */
export function fitPhoto(photo, crop, { architecture, preprocessing }) {
  const { height, width, channels, n_bits: bits } = architecture;
  const canvas = new OffscreenCanvas(crop.width, crop.height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (!context) throw new Error('This browser gives no canvas for the photograph.');
  // What is transparent lies on the model's background.
  context.fillStyle = preprocessing?.background ?? '#ffffff';
  context.fillRect(0, 0, crop.width, crop.height);
  context.drawImage(photo, -crop.left, -crop.top);
  const { data } = context.getImageData(0, 0, crop.width, crop.height);
  const rgb = new Uint8Array(crop.height * crop.width * 3);
  for (let i = 0, at = 0; i < data.length; i += 4) {
    rgb[at++] = data[i];
    rgb[at++] = data[i + 1];
    rgb[at++] = data[i + 2];
  }
  const pixels = channels === 1 ? luma(rgb) : rgb;
  const reduced = reduce(pixels, { height: crop.height, width: crop.width, channels }, height, width);
  return reduced.map((value) => (value >> (8 - bits)) << (8 - bits));
}
