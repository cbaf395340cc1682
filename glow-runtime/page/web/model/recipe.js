// Recipes: how a picture comes about, as plain JSON. Both back ends take them, permalinks carry them, undo keeps them.

/**
 * A face to begin with: a draw from the model, or an image that the back end was given, by the SHA-256 of its pixels.
 * @typedef {{seed: string, number: number, temperature: number, truncation: number | null}} Sample
 * @typedef {{sample: Sample} | {image: string}} Face
 */

/**
 * Two faces and a way between them, or four and a place in the square that they span.
 * @typedef {{of: Face[], x: number, y: number, spherical: boolean}} Blend
 */

/**
 * Levels, 0 being the finest, that are drawn anew.
 * @typedef {{levels: number[], seed: string, number: number, temperature: number}} Redraw
 */

/**
 * @typedef {object} Recipe
 * @property {Face | {blend: Blend}} base
 * @property {Redraw} [redraw]
 * @property {Record<string, number>} [strengths] of attributes; those of 0 are left out
 * @property {number} [label] the class, for a class-conditional model
 */

/** The model's side of a recipe's check: @typedef {{levels: number, classes: number, attributes: string[]}} Limits */

export const MAX_TEMPERATURE = 10;
export const MAX_STRENGTH = 100;

/**
 * Two of one recipe have the same text.
 * @param {unknown} value
 */
export const keyOf = (value) => JSON.stringify(value);

/**
 * Takes apart what came from a link or a file; what it gives has just the fields above.
 * @param {any} given
 * @param {Limits} limits
 * @returns {Recipe}
 */
export function checkRecipe(given, limits) {
  const object = asObject(given, 'recipe');
  /** @type {Recipe} */
  const recipe = { base: checkBase(object.base) };
  if (object.redraw !== undefined) recipe.redraw = checkRedraw(object.redraw, limits.levels);
  if (object.strengths !== undefined) {
    const strengths = Object.entries(asObject(object.strengths, 'strengths'));
    for (const [name] of strengths) {
      if (!limits.attributes.includes(name)) throw new RecipeError(`this model has no attribute “${name}”`);
    }
    recipe.strengths = Object.fromEntries(
      strengths.map(([name, value]) => [name, number(value, name, -MAX_STRENGTH, MAX_STRENGTH)]),
    );
  }
  if (limits.classes > 0) recipe.label = integer(object.label, 'label', 0, limits.classes - 1);
  else if (object.label !== undefined) throw new RecipeError('this model has no classes');
  return recipe;
}

/** A recipe that cannot be followed. */
export class RecipeError extends Error {}

/** @param {any} given @returns {Recipe['base']} */
function checkBase(given) {
  const base = asObject(given, 'base');
  if (base.blend === undefined) return checkFace(base);
  const { of, x, y, spherical } = asObject(base.blend, 'blend');
  if (!Array.isArray(of) || (of.length !== 2 && of.length !== 4)) {
    throw new RecipeError('a blend has two faces or four');
  }
  return {
    blend: {
      of: of.map(checkFace),
      x: number(x, 'x', 0, 1),
      y: number(y, 'y', 0, 1),
      spherical: spherical === true,
    },
  };
}

/** @param {any} given @returns {Face} */
function checkFace(given) {
  const face = asObject(given, 'face');
  if (typeof face.image === 'string') {
    if (!/^[0-9a-f]{64}$/.test(face.image)) throw new RecipeError('an image is named by 64 hexadecimal digits');
    return { image: face.image };
  }
  const { seed, number: index, temperature, truncation } = asObject(face.sample, 'sample');
  return {
    sample: {
      seed: checkSeed(seed),
      number: integer(index, 'number', 0, Number.MAX_SAFE_INTEGER),
      temperature: number(temperature, 'temperature', 0, MAX_TEMPERATURE),
      truncation: truncation === null ? null : number(truncation, 'truncation', 0.01, 1e6),
    },
  };
}

/** @param {any} given @param {number} count @returns {Redraw} */
function checkRedraw(given, count) {
  const { levels, seed, number: index, temperature } = asObject(given, 'redraw');
  if (!Array.isArray(levels)) throw new RecipeError('levels must be a list');
  return {
    levels: levels.map((level) => integer(level, 'level', 0, count - 1)),
    seed: checkSeed(seed),
    number: integer(index, 'number', 0, Number.MAX_SAFE_INTEGER),
    temperature: number(temperature, 'temperature', 0, MAX_TEMPERATURE),
  };
}

/**
 * A seed is an integer of 64 bits, as text since JSON's numbers end at 53.
 * @param {unknown} given
 */
export function checkSeed(given) {
  if (typeof given === 'string' && /^\d{1,20}$/.test(given) && BigInt(given) < 1n << 64n) return given;
  throw new RecipeError('a seed is a whole number from 0 to 18446744073709551615');
}

/** @param {any} given @param {string} name @returns {Record<string, any>} */
function asObject(given, name) {
  if (typeof given === 'object' && given !== null && !Array.isArray(given)) return given;
  throw new RecipeError(`${name} is missing`);
}

/** @param {unknown} given @param {string} name @param {number} least @param {number} most */
function number(given, name, least, most) {
  if (typeof given === 'number' && given >= least && given <= most) return given;
  throw new RecipeError(`${name} must be a number from ${least} to ${most}`);
}

/** @param {unknown} given @param {string} name @param {number} least @param {number} most */
function integer(given, name, least, most) {
  if (Number.isInteger(given)) return number(given, name, least, most);
  throw new RecipeError(`${name} must be a whole number from ${least} to ${most}`);
}

/**
 * The images that a recipe needs, by their hash.
 * @param {Recipe} recipe
 * @returns {string[]}
 */
export function imagesOf({ base }) {
  const faces = 'blend' in base ? base.blend.of : [base];
  return [...new Set(faces.flatMap((face) => ('image' in face ? [face.image] : [])))];
}
