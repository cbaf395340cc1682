// Where faces come from: draws of the model, photographs.
import { checkSeed, keyOf, RecipeError } from '../model/recipe.js';
import { currentFace, recipeOf, sampleFace, SHOWN } from '../state/recipes.js';
import { h, iconButton } from './dom.js';
import { fail, say } from './notices.js';
import { slider } from './slider.js';
import { faceButton } from './thumbs.js';

/** The slider's end, where nothing is truncated. */
const NO_TRUNCATION = 3;

/**
 * @param {import('../app.js').App} app
 * @returns {import('./tabs.js').Panel}
 */
export function facesPanel(app) {
  const { store, manifest } = app;

  const draws = Array.from({ length: SHOWN }, (_, number) =>
    faceButton(`Face ${number + 1} of this seed`, () => store.set({ mode: 'face', face: { number } })),
  );
  /** @type {Map<string, ReturnType<typeof faceButton>>} */
  const photographs = new Map();
  const photoList = h('div', { className: 'thumbs' });

  const temperature = slider({
    label: 'Temperature',
    min: 0,
    max: 1.2,
    step: 0.01,
    rest: 0.7,
    hint: 'Low: plain and alike. High: varied, and less sure to be a face.',
    onMove: (value) => move({ temperature: value }),
    onDone: () => store.commit(),
  });
  const truncation = slider({
    label: 'Truncation',
    min: 0.25,
    max: NO_TRUNCATION,
    step: 0.05,
    rest: NO_TRUNCATION,
    hint: 'Numbers further out than this are drawn again.',
    text: (value) => (value >= NO_TRUNCATION ? 'none' : value.toFixed(2)),
    onMove: (value) => move({ truncation: value >= NO_TRUNCATION ? null : value }),
    onDone: () => store.commit(),
  });
  /** A slider of the draws shows a draw. @param {Partial<import('../state/store.js').State['draw']>} change */
  const move = (change) => store.move({ draw: { ...store.state.draw, ...change }, ...drawn() });
  const drawn = () => {
    const { mode, face } = store.state;
    return mode === 'face' && 'number' in face ? {} : { mode: /** @type {const} */ ('face'), face: { number: 0 } };
  };

  const seed = h('input', {
    type: 'text',
    inputMode: 'numeric',
    id: 'seed',
    size: 12,
    autocomplete: 'off',
    onchange: () => {
      try {
        store.set({ draw: { ...store.state.draw, seed: checkSeed(seed.value.trim()) }, ...drawn() });
      } catch (error) {
        seed.value = store.state.draw.seed;
        fail(error instanceof RecipeError ? `The seed is not changed: ${error.message}.` : error);
      }
    },
  });
  app.commands.newSeed = () => {
    const value = String(crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000);
    store.set({ draw: { ...store.state.draw, seed: value }, ...drawn() });
    say(`Faces of seed ${value}`);
  };

  const element = h(
    'div',
    {},
    h(
      'div',
      { className: 'group' },
      h(
        'div',
        { className: 'row' },
        iconButton('image', 'Open a photograph', () => app.commands.open(), { className: 'main' }),
        navigator.mediaDevices ? iconButton('photo', 'Take one', () => app.commands.camera()) : null,
      ),
      h('p', { className: 'soft' }, 'Or drop or paste one anywhere. ', app.backend.privacy),
      photoList,
    ),
    h(
      'div',
      { className: 'group' },
      h('h3', {}, 'Draws from the model'),
      h('div', { className: 'thumbs', role: 'group', 'aria-label': 'Draws' }, ...draws.map(({ element: e }) => e)),
      h(
        'div',
        { className: 'row' },
        h('label', { for: 'seed' }, 'Seed'),
        seed,
        iconButton('dice', 'New faces', app.commands.newSeed),
      ),
      h('div', { className: 'sliders' }, temperature.element, truncation.element),
      classChooser(app),
    ),
  );

  const update = (/** @type {import('../state/store.js').State} */ state) => {
    temperature.show(state.draw.temperature);
    truncation.show(state.draw.truncation ?? NO_TRUNCATION);
    if (document.activeElement !== seed) seed.value = state.draw.seed;
    state.photos.forEach((image, i) => {
      if (photographs.has(image)) return;
      const button = faceButton(`Photograph ${i + 1}`, () => store.set({ mode: 'face', face: { image } }));
      photographs.set(image, button);
      photoList.append(button.element);
    });
    const chosen = state.mode === 'face' ? keyOf(currentFace(state)) : '';
    draws.forEach(({ press }, number) => press(keyOf(sampleFace(state, number)) === chosen));
    for (const [image, { press }] of photographs) press(keyOf({ image }) === chosen);
    app.thumbs.show('faces', [
      ...[...photographs].map(([image, { canvas }]) => picture(canvas, { image })),
      ...draws.map(({ canvas }, number) => picture(canvas, sampleFace(state, number))),
    ]);
  };
  /** @returns {[HTMLCanvasElement, import('../model/recipe.js').Recipe]} */
  const picture = (/** @type {HTMLCanvasElement} */ canvas, /** @type {import('../model/recipe.js').Face} */ face) => [
    canvas,
    recipeOf(face, store.state, manifest),
  ];
  return { name: 'faces', title: 'Faces', element, update };
}

/**
 * For models of classes.
 * @param {import('../app.js').App} app
 */
function classChooser({ store, manifest }) {
  const { classes } = manifest.architecture;
  if (classes === 0) return null;
  const select = h(
    'select',
    { id: 'class', onchange: () => store.set({ label: Number(select.value) }) },
    ...Array.from({ length: classes }, (_, label) =>
      h('option', { value: String(label) }, manifest.class_names?.[label] ?? `Class ${label}`),
    ),
  );
  store.subscribe((state) => (select.value = String(state.label)));
  return h('div', { className: 'row' }, h('label', { for: 'class' }, 'Class'), select);
}
