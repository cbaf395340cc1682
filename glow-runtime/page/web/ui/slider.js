// A slider with its name and value.
import { h } from './dom.js';

let count = 0;

/**
 * @param {object} options
 * @param {string} options.label
 * @param {number} options.min
 * @param {number} options.max
 * @param {number} options.step
 * @param {number} [options.rest] the value that a double click brings back
 * @param {string} [options.hint]
 * @param {(value: number) => string} [options.text] the value in words
 * @param {(value: number) => void} options.onMove at every change
 * @param {() => void} options.onDone at the end of a drag, or at once from the keyboard
 */
export function slider({ label, min, max, step, rest, hint, text = (value) => value.toFixed(2), onMove, onDone }) {
  const id = `slider-${++count}`;
  const output = h('output', { for: id });
  const input = h('input', {
    type: 'range',
    id,
    min: String(min),
    max: String(max),
    step: String(step),
    oninput: () => onMove(Number(input.value)),
    onchange: onDone,
    ondblclick: () => {
      if (rest === undefined) return;
      onMove(rest);
      onDone();
    },
  });
  if (hint) input.setAttribute('aria-describedby', `${id}-hint`);
  const element = h(
    'div',
    { className: 'slider' },
    h('label', { for: id }, label),
    output,
    input,
    hint ? h('p', { className: 'soft', id: `${id}-hint` }, hint) : null,
  );
  return {
    element,
    input,
    /** @param {number} value */
    show(value) {
      input.value = String(value);
      output.value = text(value);
      input.setAttribute('aria-valuetext', text(value));
      element.classList.toggle('changed', rest !== undefined && value !== rest);
    },
  };
}
