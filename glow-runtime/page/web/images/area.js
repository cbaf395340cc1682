// Reducing images by exact area averaging, as the project's programs do (glow-data, area.rs): the same pixels come
// out, so sums are in float32 and in the same order.

/** A rectangle in pixels. @typedef {{top: number, left: number, height: number, width: number}} Rectangle */

const f = Math.fround;

/**
 * The largest rectangle in the middle of another with an aspect ratio, to the nearest pixel.
 * @param {Rectangle} within
 * @param {number} toHeight
 * @param {number} toWidth
 * @returns {Rectangle}
 */
export function centre(within, toHeight, toWidth) {
  const { height, width } = within;
  const rounded = (/** @type {number} */ a, /** @type {number} */ b) => Math.floor((a + Math.floor(b / 2)) / b);
  const flat = width * toHeight >= height * toWidth;
  const cropHeight = flat ? height : rounded(width * toHeight, toWidth);
  const cropWidth = flat ? rounded(height * toWidth, toHeight) : width;
  return {
    top: within.top + Math.floor((height - cropHeight) / 2),
    left: within.left + Math.floor((width - cropWidth) / 2),
    height: cropHeight,
    width: cropWidth,
  };
}

/**
 * Averages pixels [fromHeight, fromWidth, channels] down to [height, width, channels].
 * @param {Uint8Array | Uint8ClampedArray} pixels
 * @param {{height: number, width: number, channels: number}} from
 * @param {number} height
 * @param {number} width
 * @returns {Uint8Array}
 */
export function reduce(pixels, from, height, width) {
  const c = from.channels;
  const columns = spans(from.width, width);
  const narrow = new Float32Array(from.height * width * c);
  let at = 0;
  for (let y = 0; y < from.height; y++) {
    for (const { first, weights } of columns) {
      const start = (y * from.width + first) * c;
      for (let channel = 0; channel < c; channel++) {
        let sum = 0;
        for (let i = 0; i < weights.length; i++) sum = f(sum + f(weights[i] * pixels[start + i * c + channel]));
        narrow[at++] = sum;
      }
    }
  }
  const row = width * c;
  const reduced = new Uint8Array(height * row);
  const sums = new Float32Array(row);
  spans(from.height, height).forEach(({ first, weights }, y) => {
    sums.fill(0);
    weights.forEach((weight, i) => {
      const start = (first + i) * row;
      for (let x = 0; x < row; x++) sums[x] += f(weight * narrow[start + x]);
    });
    for (let x = 0; x < row; x++) reduced[y * row + x] = Math.min(255, f(sums[x] + 0.5));
  });
  return reduced;
}

/**
 * Divides source pixels evenly among results: for each the first that it covers, and how much of it each makes up.
 * @param {number} from
 * @param {number} to
 */
function spans(from, to) {
  return Array.from({ length: to }, (_, i) => {
    // In units of 1/to of a source pixel every border is an integer.
    const start = i * from;
    const end = start + from;
    const first = Math.floor(start / to);
    const last = Math.floor((end - 1) / to);
    const weights = new Float32Array(last - first + 1);
    for (let s = first; s <= last; s++) {
      weights[s - first] = (Math.min(end, (s + 1) * to) - Math.max(start, s * to)) / from;
    }
    return { first, weights };
  });
}

/**
 * RGB to gray with the weights of Rec. 601, rounded to the nearest.
 * @param {Uint8Array} pixels
 */
export function luma(pixels) {
  return Uint8Array.from({ length: pixels.length / 3 }, (_, i) => {
    const [r, g, b] = pixels.subarray(3 * i);
    return Math.floor((299 * r + 587 * g + 114 * b + 500) / 1000);
  });
}
