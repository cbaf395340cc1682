// The progress of loading, where the picture will be.
import { byId, h } from './dom.js';

/** What stands over the picture until it is there. */
export function loading() {
  const bar = h('progress', { 'aria-labelledby': 'loading-text' });
  const text = h('p', { id: 'loading-text' }, 'Loading the page');
  const element = h('div', { className: 'loading' }, bar, text);
  const frame = h('div', { className: 'frame' }, element);
  byId('stage').append(frame);
  /** @type {Map<string, {loaded: number, total: number}>} */
  const parts = new Map();
  let failed = false;
  return {
    /** @param {import('../backend/backend.js').Progress} progress */
    show({ name, loaded, total, preparing }) {
      // Other files go on loading, which must not hide what failed.
      if (failed) return;
      if (preparing) {
        bar.removeAttribute('value');
        text.textContent = 'Preparing the model';
        return;
      }
      parts.set(name, { loaded, total });
      const sum = (/** @type {'loaded' | 'total'} */ key) => [...parts.values()].reduce((all, part) => all + part[key], 0);
      bar.max = sum('total');
      bar.value = sum('loaded');
      const mega = (/** @type {number} */ bytes) => (bytes / 1e6).toFixed(0);
      text.textContent = `Loading the model: ${mega(sum('loaded'))} of ${mega(sum('total'))} MB`;
    },
    /** @param {string} why */
    fail(why) {
      failed = true;
      bar.remove();
      text.textContent = why;
      element.append(h('button', { type: 'button', onclick: () => location.reload() }, 'Try again'));
    },
    done: () => frame.remove(),
  };
}
