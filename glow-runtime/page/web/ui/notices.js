// What went wrong, in sight until dismissed; and what was done, for screen readers too.
import { byId, h } from './dom.js';

/**
 * @param {unknown} problem
 * @param {string} [about] what `clear` may take it down by
 */
export function fail(problem, about = '') {
  const text = problem instanceof Error ? problem.message : String(problem);
  // The same once: a slider that keeps failing must not fill the page.
  const shown = Array.from(byId('notices').querySelectorAll('span'), (span) => span.textContent);
  if (shown.includes(text)) return;
  const notice = h(
    'div',
    { className: 'notice', 'data-about': about },
    h('span', {}, text),
    h('button', { type: 'button', className: 'quiet', onclick: () => notice.remove() }, 'Dismiss'),
  );
  byId('notices').append(notice);
}

/**
 * Takes down what failed and works again.
 * @param {string} about
 */
export function clear(about) {
  for (const notice of byId('notices').querySelectorAll(`[data-about="${about}"]`)) notice.remove();
}

/** @param {string} text */
export function say(text) {
  byId('said').textContent = text;
}
