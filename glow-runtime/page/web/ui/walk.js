// Walking from one face to another.
import { recipeOf } from '../state/recipes.js';
import { h, icon } from './dom.js';
import { palette, wayChooser } from './palette.js';
import { slider } from './slider.js';
import { faceButton } from './thumbs.js';

/** @typedef {import('../state/store.js').State} State */

/** Steps that are shown. */
const STEPS = 7;
/** Milliseconds from one face to the other. */
const WAY = 3000;

/**
 * @param {import('../app.js').App} app
 * @returns {import('./tabs.js').Panel}
 */
export function walkPanel(app) {
  const { store, manifest } = app;
  const change = (/** @type {Partial<State['walk']>} */ changes) => ({
    mode: /** @type {const} */ ('walk'),
    walk: { ...store.state.walk, ...changes },
  });
  const faces = palette(app, 'walk', ['From', 'To'], (place, face) => {
    const of = store.state.walk.of.slice();
    of[place] = face;
    store.set(change({ of }));
  });
  const along = slider({
    label: 'Along the way',
    min: 0,
    max: 1,
    step: 0.01,
    text: (value) => `${Math.round(100 * value)} %`,
    onMove: (value) => {
      pause();
      store.move(change({ at: value }));
    },
    onDone: () => store.commit(),
  });
  const steps = Array.from({ length: STEPS }, (_, step) =>
    faceButton(`Step ${step + 1} of ${STEPS}`, () => {
      pause();
      store.set(change({ at: step / (STEPS - 1) }));
    }),
  );
  const way = wayChooser((spherical) => store.set(change({ spherical })));

  /** The frame that is asked for; 0 while nothing plays. */
  let playing = 0;
  const play = h('button', { type: 'button', onclick: () => (playing ? pause() : start()) });
  const label = () => play.replaceChildren(icon(playing ? 'pause' : 'play'), playing ? 'Pause' : 'Play');
  const start = () => {
    const begun = performance.now() - WAY * store.state.walk.at;
    const frame = (/** @type {number} */ now) => {
      const phase = Math.max(0, (now - begun) / WAY) % 2;
      store.move(change({ at: phase < 1 ? phase : 2 - phase }));
      playing = requestAnimationFrame(frame);
    };
    playing = requestAnimationFrame(frame);
    label();
  };
  const pause = () => {
    if (!playing) return;
    cancelAnimationFrame(playing);
    playing = 0;
    label();
    store.commit();
  };
  label();
  // Another tab ends it.
  store.subscribe((state) => state.tab !== 'walk' && playing && setTimeout(pause));

  const ends = h('div', { className: 'row' }, ...faces.places.map(({ element }) => element));
  ends.classList.add('ends');
  const element = h(
    'div',
    {},
    ends,
    h('div', { className: 'group' }, along.element, h('div', { className: 'row' }, play, way.element)),
    h('div', { className: 'strip', role: 'group', 'aria-label': 'Steps' }, ...steps.map(({ element: e }) => e)),
    faces.element,
  );
  return {
    name: 'walk',
    title: 'Walk',
    element,
    update: (state) => {
      const { of, at, spherical } = state.walk;
      along.show(at);
      way.input.checked = spherical;
      steps.forEach(({ press }, step) => press(Math.abs(at - step / (STEPS - 1)) < 0.005));
      faces.update(state, of);
      app.thumbs.show(
        'steps',
        steps.map(({ canvas }, step) => {
          const blend = { of, x: step / (STEPS - 1), y: 0, spherical };
          return [canvas, recipeOf({ blend }, state, manifest)];
        }),
      );
    },
  };
}
