// Between the page's state and recipes.
import { keyOf } from '../model/recipe.js';

/**
 * @typedef {import('./store.js').State} State
 * @typedef {import('../model/recipe.js').Recipe} Recipe
 * @typedef {import('../model/recipe.js').Face} Face
 * @typedef {import('../engine/bundle.js').Manifest} Manifest
 */

/** Draws that are shown at once. */
export const SHOWN = 12;

/**
 * @param {bigint | string} seed
 * @returns {State}
 */
export function initialState(seed) {
  const draw = { seed: String(seed), temperature: 0.7, truncation: null };
  const faces = [0, 1, 2, 3].map((number) => ({ sample: { ...draw, number } }));
  return {
    tab: 'faces',
    mode: 'face',
    face: { number: 0 },
    draw,
    photos: [],
    blend: { of: faces, count: 4, x: 0.5, y: 0.5, spherical: false },
    walk: { of: faces.slice(0, 2), at: 0.5, spherical: false },
    redraw: { levels: [], seed: '1', number: 0, temperature: 0.7 },
    strengths: {},
    label: 0,
  };
}

/**
 * A draw with the state's settings.
 * @param {State} state
 * @param {number} number
 * @returns {Face}
 */
export const sampleFace = ({ draw }, number) => ({ sample: { ...draw, number } });

/**
 * The face that the picture begins from.
 * @param {State} state
 * @returns {Face}
 */
export const currentFace = (state) => ('image' in state.face ? state.face : sampleFace(state, state.face.number));

/**
 * Another tab: those of blends and walks show one, which begins from the face that is there.
 * @param {State} state
 * @param {string} tab
 * @returns {State}
 */
export function withTab(state, tab) {
  const face = currentFace(state);
  const from = (/** @type {Face[]} */ of) => {
    const others = of.slice(1);
    return state.mode !== 'face' || others.some((other) => keyOf(other) === keyOf(face)) ? of : [face, ...others];
  };
  if (tab === 'blend') return { ...state, tab, mode: 'blend', blend: { ...state.blend, of: from(state.blend.of) } };
  if (tab === 'walk') return { ...state, tab, mode: 'walk', walk: { ...state.walk, of: from(state.walk.of) } };
  return { ...state, tab };
}

/**
 * @param {State} state
 * @returns {Recipe['base']}
 */
function base(state) {
  if (state.mode === 'blend') {
    const { of, count, x, y, spherical } = state.blend;
    return { blend: { of: of.slice(0, count), x, y: count === 4 ? y : 0, spherical } };
  }
  if (state.mode === 'walk') {
    const { of, at, spherical } = state.walk;
    return { blend: { of, x: at, y: 0, spherical } };
  }
  return currentFace(state);
}

/**
 * Another beginning, with the model's class.
 * @param {Recipe['base']} from
 * @param {State} state
 * @param {Manifest} manifest
 * @returns {Recipe}
 */
export function recipeOf(from, state, manifest) {
  return manifest.architecture.classes > 0 ? { base: from, label: state.label } : { base: from };
}

/**
 * The picture without its changes.
 * @param {State} state
 * @param {Manifest} manifest
 */
export const recipeBefore = (state, manifest) => recipeOf(base(state), state, manifest);

/**
 * The picture.
 * @param {State} state
 * @param {Manifest} manifest
 * @returns {Recipe}
 */
export function recipeNow(state, manifest) {
  const recipe = recipeBefore(state, manifest);
  if (state.redraw.levels.length > 0) recipe.redraw = state.redraw;
  const strengths = Object.entries(state.strengths).filter(([, strength]) => strength !== 0);
  if (strengths.length > 0) recipe.strengths = Object.fromEntries(strengths);
  return recipe;
}

/**
 * The state that shows a recipe.
 * @param {Recipe} recipe
 * @param {State} state for all that the recipe does not say
 * @returns {State}
 */
export function stateOf(recipe, state) {
  const faces = 'blend' in recipe.base ? recipe.base.blend.of : [recipe.base];
  const images = faces.flatMap((face) => ('image' in face ? [face.image] : []));
  const photos = [...new Set([...state.photos, ...images])];
  const common = {
    ...state,
    photos,
    redraw: recipe.redraw ?? { ...state.redraw, levels: [] },
    strengths: recipe.strengths ?? {},
    label: recipe.label ?? state.label,
  };
  if ('blend' in recipe.base) {
    const { of, x, y, spherical } = recipe.base.blend;
    if (of.length === 2) return { ...common, tab: 'walk', mode: 'walk', walk: { of, at: x, spherical } };
    return { ...common, tab: 'blend', mode: 'blend', blend: { of, count: 4, x, y, spherical } };
  }
  const tab = recipe.redraw ? 'levels' : recipe.strengths ? 'edit' : 'faces';
  if ('image' in recipe.base) return { ...common, tab, mode: 'face', face: recipe.base };
  const { number, ...draw } = recipe.base.sample;
  return { ...common, tab, mode: 'face', face: { number }, draw };
}
