// Blending two or four faces: a place between them.
import { h } from './dom.js';
import { palette, wayChooser } from './palette.js';
import { slider } from './slider.js';

/** @typedef {import('../state/store.js').State} State */

const CORNERS = ['Top left', 'Top right', 'Bottom left', 'Bottom right'];
/** How near the pad's border the faces' own places are, as a share of it. */
const BORDER = 0.13;

/**
 * @param {import('../app.js').App} app
 * @returns {import('./tabs.js').Panel}
 */
export function blendPanel(app) {
  const { store } = app;
  const change = (/** @type {Partial<State['blend']>} */ changes) => ({
    mode: /** @type {const} */ ('blend'),
    blend: { ...store.state.blend, ...changes },
  });
  const faces = palette(app, 'blend', CORNERS, (place, face) => {
    const of = store.state.blend.of.slice();
    of[place] = face;
    store.set(change({ of }));
  });
  const axis = (/** @type {'x' | 'y'} */ name, /** @type {string} */ label) =>
    slider({
      label,
      min: 0,
      max: 1,
      step: 0.01,
      text: (value) => `${Math.round(100 * value)} %`,
      onMove: (value) => store.move(change({ [name]: value })),
      onDone: () => store.commit(),
    });
  const across = axis('x', 'From left to right');
  const down = axis('y', 'From top to bottom');
  const dot = h('span', { className: 'dot', 'aria-hidden': 'true' });
  const pad = h('div', { className: 'pad' }, ...faces.places.map(({ element }) => element), dot);
  draggable(pad, (x, y) => store.move(change({ x, y })), () => store.commit());
  const way = wayChooser((spherical) => store.set(change({ spherical })));
  const counts = /** @type {(2 | 4)[]} */ ([2, 4]).map((count) =>
    h('input', { type: 'radio', name: 'count', onchange: () => store.set(change({ count })) }),
  );
  const element = h(
    'div',
    {},
    h(
      'fieldset',
      {},
      h('legend', { className: 'hidden' }, 'How many faces'),
      h('label', {}, counts[0], 'Two faces'),
      h('label', {}, counts[1], 'Four faces'),
    ),
    pad,
    h('div', { className: 'sliders' }, across.element, down.element),
    h('div', {}, way.element),
    faces.element,
  );
  return {
    name: 'blend',
    title: 'Blend',
    element,
    update: (state) => {
      const { of, count, x, y, spherical } = state.blend;
      pad.classList.toggle('two', count === 2);
      faces.places.forEach((place, i) => (place.element.hidden = i >= count));
      down.element.hidden = count === 2;
      counts[0].checked = count === 2;
      counts[1].checked = count === 4;
      across.show(x);
      down.show(y);
      way.input.checked = spherical;
      dot.style.left = `${100 * (BORDER + (1 - 2 * BORDER) * x)}%`;
      dot.style.top = count === 2 ? '50%' : `${100 * (BORDER + (1 - 2 * BORDER) * y)}%`;
      faces.update(state, of.slice(0, count));
    },
  };
}

/**
 * Follows a pointer over a square, from face to face.
 * @param {HTMLElement} pad
 * @param {(x: number, y: number) => void} onMove
 * @param {() => void} onDone
 */
function draggable(pad, onMove, onDone) {
  const at = (/** @type {number} */ part) => Math.min(1, Math.max(0, (part - BORDER) / (1 - 2 * BORDER)));
  const move = (/** @type {PointerEvent} */ event) => {
    const { left, top, width, height } = pad.getBoundingClientRect();
    onMove(at((event.clientX - left) / width), at((event.clientY - top) / height));
  };
  let dragging = false;
  pad.addEventListener('pointerdown', (event) => {
    if (event.target instanceof Element && event.target.closest('button')) return;
    dragging = true;
    pad.setPointerCapture(event.pointerId);
    move(event);
  });
  pad.addEventListener('pointermove', (event) => dragging && move(event));
  for (const end of ['pointerup', 'pointercancel']) {
    pad.addEventListener(end, () => {
      if (dragging) onDone();
      dragging = false;
    });
  }
}
