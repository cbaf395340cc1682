// Level by level: keep the coarse, vary the fine.
import { recipeNow } from '../state/recipes.js';
import { h, iconButton } from './dom.js';
import { slider } from './slider.js';
import { faceButton } from './thumbs.js';

/** Variations that are shown. */
const SHOWN = 6;

/**
 * @param {import('../app.js').App} app
 * @returns {import('./tabs.js').Panel}
 */
export function levelsPanel(app) {
  const { store, manifest } = app;
  const shapes = manifest.latent_shapes;
  const levels = shapes.length;
  const change = (/** @type {Partial<import('../state/store.js').State['redraw']>} */ changes) => ({
    redraw: { ...store.state.redraw, ...changes },
  });
  const vary = (/** @type {number[]} */ chosen) => change({ levels: chosen.toSorted((a, b) => a - b) });

  const keep = slider({
    label: 'Keep the coarsest levels',
    min: 0,
    max: levels,
    step: 1,
    rest: levels,
    hint: 'The rest is drawn anew: fewer kept, another face.',
    text: (value) => `${value} of ${levels}`,
    onMove: (value) => store.move(vary(Array.from({ length: levels - value }, (_, level) => level))),
    onDone: () => store.commit(),
  });
  const temperature = slider({
    label: 'Temperature of what is drawn anew',
    min: 0,
    max: 1.2,
    step: 0.01,
    rest: 0.7,
    onMove: (value) => store.move(change({ temperature: value })),
    onDone: () => store.commit(),
  });
  const rows = shapes
    .map((shape, level) => {
      const input = h('input', {
        type: 'checkbox',
        onchange: () => {
          const others = store.state.redraw.levels.filter((other) => other !== level);
          store.set(vary(input.checked ? [...others, level] : others));
        },
      });
      const name = level === levels - 1 ? 'coarsest' : level === 0 ? 'finest' : '';
      const radius = h('span', { className: 'soft number' });
      const element = h(
        'div',
        { className: 'level' },
        h('label', {}, input, `Level ${level + 1}${name ? `, ${name}` : ''}: draw anew`),
        h('span', { className: 'soft number' }, `${shape.height} × ${shape.width} × ${shape.channels}`, radius),
      );
      return { level, input, radius, element };
    })
    .reverse();
  const variations = Array.from({ length: SHOWN }, (_, number) =>
    faceButton(`Variation ${number + 1}`, () => {
      const chosen = store.state.redraw.levels.length > 0 ? {} : { levels: finer() };
      store.set(change({ number, ...chosen }));
    }),
  );
  /** What is varied before anything was chosen: all but the coarsest level. */
  const finer = () => Array.from({ length: Math.max(1, levels - 1) }, (_, level) => level);
  const again = () => {
    const seed = String(crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000);
    const chosen = store.state.redraw.levels.length > 0 ? {} : { levels: finer() };
    store.set(change({ seed, number: 0, ...chosen }));
  };

  app.on('score', (/** @type {{score: import('../backend/backend.js').Score}} */ { score }) => {
    for (const { level, radius } of rows) radius.textContent = ` · radius ${score.radii[level].toFixed(2)}`;
  });

  const element = h(
    'div',
    {},
    keep.element,
    h('div', {}, ...rows.map((row) => row.element)),
    temperature.element,
    h('div', { className: 'row' }, iconButton('dice', 'Vary again', again)),
    h(
      'div',
      { className: 'thumbs', role: 'group', 'aria-label': 'Variations' },
      ...variations.map(({ element: e }) => e),
    ),
  );
  return {
    name: 'levels',
    title: 'Levels',
    element,
    update: (state) => {
      const { levels: chosen, number } = state.redraw;
      // Levels from the finest on that are drawn anew leave the coarsest kept.
      const run = chosen.every((level, i) => level === i);
      keep.show(run ? levels - chosen.length : levels);
      temperature.show(state.redraw.temperature);
      for (const { level, input } of rows) input.checked = chosen.includes(level);
      variations.forEach(({ press }, i) => press(chosen.length > 0 && i === number));
      app.thumbs.show(
        'variations',
        variations.map(({ canvas }, i) => {
          const redraw = { ...state.redraw, number: i, levels: chosen.length > 0 ? chosen : finer() };
          return [canvas, recipeNow({ ...state, redraw }, manifest)];
        }),
      );
    },
  };
}
