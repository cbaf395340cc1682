// Named directions in latent space: a bundle's attributes.safetensors, as glow-runtime's `Attributes`.
import { dot } from './latents.js';
import { readTensors } from './safetensors.js';

/** @typedef {{name: string, direction: Float32Array, offset: number, square: number}} Attribute */

/**
 * @param {Uint8Array} bytes
 * @param {string} modelSha256
 * @param {number} dims
 * @returns {Attribute[]}
 */
export function readAttributes(bytes, modelSha256, dims) {
  const file = 'attributes.safetensors';
  const { metadata, tensors } = readTensors(bytes, file);
  if (metadata.format !== 'glow-attributes' || !['1', '2'].includes(metadata.version)) {
    throw new Error(`${file} is ${metadata.format} ${metadata.version}; this page reads glow-attributes 1 and 2`);
  }
  if (metadata.model_sha256 !== modelSha256) {
    throw new Error(`${file} belongs to other weights than this bundle's; fit the attributes again`);
  }
  const entries = /** @type {{name: string, offset: number}[]} */ (JSON.parse(metadata.attributes));
  return entries.map(({ name, offset }) => {
    // The end of the direction: the numbers before it, of the finest levels, are 0.
    const end = tensors.get(name)?.values;
    if (!end || end.length === 0 || end.length > dims || (metadata.version === '1' && end.length !== dims)) {
      throw new Error(`${file} has no direction ${name} of ${dims} numbers`);
    }
    const direction = new Float32Array(dims);
    direction.set(end, dims - end.length);
    return { name, direction, offset, square: dot(direction, direction) };
  });
}

/**
 * z + Σ strength · w.
 * @param {Float32Array} flat
 * @param {Attribute[]} attributes
 * @param {Record<string, number>} strengths
 */
export function apply(flat, attributes, strengths) {
  const sum = new Float32Array(flat.length);
  for (const [name, given] of Object.entries(strengths)) {
    const attribute = attributes.find((other) => other.name === name);
    if (!attribute) throw new Error(`this model has no attribute “${name}”`);
    const strength = Math.fround(given);
    for (let i = 0; i < sum.length; i++) sum[i] += Math.fround(strength * attribute.direction[i]);
  }
  return sum.map((value, i) => value + flat[i]);
}

/**
 * Where an image lies along each direction: +½ at the mean of those with the attribute, −½ at the mean of those
 * without.
 * @param {Float32Array} flat
 * @param {Attribute[]} attributes
 * @returns {Record<string, number>}
 */
export function project(flat, attributes) {
  return Object.fromEntries(
    attributes.map(({ name, direction, offset, square }) => [name, (dot(flat, direction) - offset) / square]),
  );
}
