// Flat latents, eps_0 … eps_{L−1} one after the other, and the ways between them: the arithmetic of glow-runtime's
// `Latents`, in float32 with the same order of operations, so that the same latents come out.
import { writeTensors } from './safetensors.js';

/** @typedef {{channels: number, height: number, width: number}} LatentShape */

const f = Math.fround;

/** @param {LatentShape} shape */
export const size = (shape) => shape.channels * shape.height * shape.width;

/**
 * Where each level lies in a flat latent.
 * @param {LatentShape[]} shapes
 * @returns {{from: number, to: number}[]}
 */
export function ranges(shapes) {
  let to = 0;
  return shapes.map((shape) => ({ from: to, to: (to += size(shape)) }));
}

/**
 * (1 − t)·a + t·b; 0 gives a and 1 gives b, exactly.
 * @param {Float32Array} a
 * @param {Float32Array} b
 * @param {number} t
 */
export function lerp(a, b, t) {
  return weigh(a, b, f(1 - f(t)), f(t));
}

/**
 * Spherical interpolation, sin((1 − t)·θ)/sin θ · a + sin(t·θ)/sin θ · b with θ the angle between the two; where
 * that is near 0 or π, as `lerp`.
 * @param {Float32Array} a
 * @param {Float32Array} b
 * @param {number} t
 */
export function slerp(a, b, t) {
  const norms = Math.sqrt(dot(a, a) * dot(b, b));
  const angle = Math.acos(Math.min(1, Math.max(-1, dot(a, b) / norms)));
  const way = f(t);
  const sine = Math.sin(angle);
  if (!(sine > 1e-6)) return weigh(a, b, f(1 - way), way);
  return weigh(a, b, f(Math.sin((1 - way) * angle) / sine), f(Math.sin(way * angle) / sine));
}

/**
 * @param {Float32Array} a
 * @param {Float32Array} b
 * @param {number} ofA
 * @param {number} ofB
 */
function weigh(a, b, ofA, ofB) {
  const sum = new Float32Array(a.length);
  for (let i = 0; i < sum.length; i++) sum[i] = f(ofA * a[i]) + f(ofB * b[i]);
  return sum;
}

/**
 * ⟨a, b⟩ in float64.
 * @param {Float32Array} a
 * @param {Float32Array} b
 */
export function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/**
 * The root mean square of each level: 1 on average for what the model draws at temperature 1.
 * @param {Float32Array} flat
 * @param {LatentShape[]} shapes
 */
export function radii(flat, shapes) {
  return ranges(shapes).map(({ from, to }) => {
    const level = flat.subarray(from, to);
    return Math.sqrt(dot(level, level) / level.length);
  });
}

/**
 * A file that `glow decode` reads: safetensors with eps_0 … eps_{L−1}, float32 [1, c, h, w] each.
 * @param {Float32Array} flat
 * @param {LatentShape[]} shapes
 */
export function latentsFile(flat, shapes) {
  const places = ranges(shapes);
  const tensors = shapes.map(({ channels, height, width }, level) => ({
    name: `eps_${level}`,
    shape: [1, channels, height, width],
    values: flat.slice(places[level].from, places[level].to),
  }));
  return writeTensors({ format: 'glow-latents' }, tensors);
}
