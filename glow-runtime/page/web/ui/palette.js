// Choosing the faces that a blend or a walk is made of: places to fill, and faces to fill them with.
import { keyOf } from '../model/recipe.js';
import { recipeOf, sampleFace } from '../state/recipes.js';
import { h } from './dom.js';
import { faceButton } from './thumbs.js';

/**
 * @typedef {import('../model/recipe.js').Face} Face
 * @typedef {import('../state/store.js').State} State
 */

/** Draws that are offered. */
const OFFERED = 8;

/**
 * @param {import('../app.js').App} app
 * @param {string} owner
 * @param {string[]} names of the places
 * @param {(place: number, face: Face) => void} onPick
 */
export function palette(app, owner, names, onPick) {
  const { store, manifest } = app;
  let chosen = 0;
  const places = names.map((name, place) =>
    faceButton(name, () => {
      chosen = place;
      press();
    }),
  );
  const press = () => places.forEach((place, i) => place.press(i === chosen));
  press();
  const offered = h('div', { className: 'thumbs', role: 'group', 'aria-label': 'Faces to choose from' });
  const pick = (/** @type {Face} */ face) => {
    const place = chosen;
    chosen = (chosen + 1) % names.length;
    press();
    onPick(place, face);
  };
  /** By what they show. @type {Map<string, ReturnType<typeof faceButton>>} */
  const buttons = new Map();
  let listed = '';

  return {
    places,
    element: h(
      'div',
      { className: 'group' },
      h('p', { className: 'soft' }, 'Choose a place, then the face for it.'),
      offered,
    ),
    /**
     * @param {State} state
     * @param {Face[]} of what is in the places
     */
    update(state, of) {
      /** @type {[string, Face][]} */
      const faces = [
        ...state.photos.map((image, i) => /** @type {[string, Face]} */ ([`Photograph ${i + 1}`, { image }])),
        ...Array.from({ length: OFFERED }, (_, number) =>
          /** @type {[string, Face]} */ ([`Face ${number + 1} of seed ${state.draw.seed}`, sampleFace(state, number)]),
        ),
      ];
      const key = keyOf(faces);
      if (key !== listed) {
        listed = key;
        buttons.clear();
        for (const [label, face] of faces) buttons.set(keyOf(face), faceButton(`Take: ${label}`, () => pick(face)));
        offered.replaceChildren(...Array.from(buttons.values(), ({ element }) => element));
      }
      const all = [
        ...of.slice(0, places.length).map((face, i) => /** @type {const} */ ([places[i].canvas, face])),
        ...faces.map(([, face]) => /** @type {const} */ ([buttons.get(keyOf(face))?.canvas, face])),
      ];
      app.thumbs.show(
        owner,
        all.flatMap(([canvas, face]) => (canvas ? [[canvas, recipeOf(face, state, manifest)]] : [])),
      );
    },
  };
}

/**
 * Straight on, or along the great circle that keeps the latent's length.
 * @param {(spherical: boolean) => void} onChange
 */
export function wayChooser(onChange) {
  const input = h('input', { type: 'checkbox', onchange: () => onChange(input.checked) });
  const element = h('label', {}, input, 'Along the sphere, which keeps faces as lively as the ends');
  return { element, input };
}
