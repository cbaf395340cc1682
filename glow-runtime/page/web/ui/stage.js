// The picture: redrawn at every change with the newest value, then measured when nothing moves.
import { recipeBefore, recipeNow } from '../state/recipes.js';
import { keyOf } from '../model/recipe.js';
import { draw, h } from './dom.js';
import { clear } from './notices.js';

/** Frames over which the time of one is averaged. */
const FRAMES = 30;
/** Draws of the dequantization noise, as `glow score --draws 4`. */
const DRAWS = 4;
/** Milliseconds without a change after which the picture is measured. */
const SETTLED = 250;

/**
 * @param {import('../app.js').App} app
 * @param {HTMLElement} element
 */
export function stage(app, element) {
  const { backend, store, work, manifest } = app;
  const { architecture } = manifest;
  const picture = h('canvas', { className: 'picture', role: 'img', 'aria-label': 'The picture' });
  const halo = h('canvas', { className: 'halo', 'aria-hidden': 'true' });
  const badge = h('span', { className: 'badge', hidden: true }, 'Before');
  const frame = h('div', { className: 'frame' }, halo, picture, badge);
  element.append(h('div', { className: 'pinned' }, frame));

  const times = /** @type {number[]} */ ([]);
  let shown = '';
  let settled = 0;

  /** What is to be seen now. */
  const wanted = () =>
    app.before ? recipeBefore(store.state, manifest) : recipeNow(store.state, manifest);

  const paint = (/** @type {Uint8Array} */ pixels) => {
    draw(picture, pixels, architecture);
    draw(halo, pixels, architecture);
    app.pixels = pixels;
  };

  const render = async () => {
    const recipe = wanted();
    shown = keyOf(recipe);
    const { pixels, ms } = await backend.render(recipe, { live: true });
    await new Promise(requestAnimationFrame);
    paint(pixels);
    clear('picture');
    times.push(ms);
    // The first takes long: the browser compiles while it runs.
    if (times.length > FRAMES || times.length === 2) times.shift();
    app.emit('frame', { ms: times.toSorted((a, b) => a - b)[times.length >> 1], recipe });
    clearTimeout(settled);
    settled = setTimeout(measure, SETTLED);
  };

  const measure = () =>
    work.whenIdle('measure', [
      async () => {
        const recipe = wanted();
        paint((await backend.render(recipe)).pixels);
        // A change during it is on its way.
        if (keyOf(wanted()) === keyOf(recipe)) element.setAttribute('aria-busy', 'false');
      },
      async (signal) => {
        const recipe = wanted();
        app.emit('score', { recipe, score: await backend.score(recipe, DRAWS, signal) });
      },
      async () => {
        if (backend.attributes.length === 0) return;
        app.emit('coordinates', await backend.coordinates(recipeNow(store.state, manifest)));
      },
    ]);

  const update = () => {
    badge.hidden = !app.before;
    frame.classList.toggle('crisp', app.crisp);
    if (keyOf(wanted()) === shown) return;
    element.setAttribute('aria-busy', 'true');
    // Until it is drawn what is asked for may change again: `render` takes the newest.
    work.newest(render);
  };
  store.subscribe(update);
  app.on('view', update);
  update();
}
