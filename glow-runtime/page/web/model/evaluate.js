// From recipes to latents.
import { apply } from './attributes.js';
import { lerp, ranges, slerp } from './latents.js';
import { normal } from './random.js';
import { keyOf } from './recipe.js';

/**
 * @typedef {import('./recipe.js').Recipe} Recipe
 * @typedef {import('./recipe.js').Face} Face
 * @typedef {import('./recipe.js').Sample} Sample
 */

/** Latents that are kept, so that a drag computes only what it changes. */
const KEPT = 64;

/** Follows recipes for one model. */
export class Evaluator {
  /**
   * @param {import('./latents.js').LatentShape[]} shapes
   * @param {import('./attributes.js').Attribute[]} attributes
   * @param {(image: string, label: number | undefined) => Promise<Float32Array>} encode
   */
  constructor(shapes, attributes, encode) {
    this.attributes = attributes;
    this.encode = encode;
    this.ranges = ranges(shapes);
    this.dims = this.ranges[shapes.length - 1].to;
    /** @type {Map<string, Promise<Float32Array>>} */
    this.kept = new Map();
  }

  /**
   * The flat latent of a recipe.
   * @param {Recipe} recipe
   * @returns {Promise<Float32Array>}
   */
  async latent({ base, redraw, strengths = {}, label }) {
    let flat = 'blend' in base ? await this.#blend(base.blend, label) : await this.#face(base, label);
    if (redraw && redraw.levels.length > 0) {
      const fresh = await this.#face({ sample: { ...redraw, truncation: null } }, label);
      flat = flat.slice();
      for (const level of redraw.levels) {
        const { from, to } = this.ranges[level];
        flat.set(fresh.subarray(from, to), from);
      }
    }
    return Object.keys(strengths).length > 0 ? apply(flat, this.attributes, strengths) : flat;
  }

  /**
   * @param {import('./recipe.js').Blend} blend
   * @param {number | undefined} label
   */
  async #blend({ of, x, y, spherical }, label) {
    const way = spherical ? slerp : lerp;
    const [a, b, c, d] = await Promise.all(of.map((face) => this.#face(face, label)));
    return of.length === 2 ? way(a, b, x) : way(way(a, b, x), way(c, d, x), y);
  }

  /**
   * @param {Face} face
   * @param {number | undefined} label
   * @returns {Promise<Float32Array>}
   */
  #face(face, label) {
    // Draws do not depend on the class.
    const key = 'image' in face ? `${face.image} ${label}` : keyOf(face.sample);
    let latent = this.kept.get(key);
    if (!latent) {
      latent = 'image' in face ? this.encode(face.image, label) : this.#sample(face.sample);
      this.kept.set(key, latent);
      latent.catch(() => this.kept.delete(key));
      if (this.kept.size > KEPT) this.kept.delete(/** @type {string} */ (this.kept.keys().next().value));
    }
    return latent;
  }

  /** @param {Sample} sample */
  async #sample({ seed, number, temperature, truncation }) {
    const scale = Math.fround(temperature);
    return normal(BigInt(seed), BigInt(number), this.dims, truncation).map((z) => scale * z);
  }
}
