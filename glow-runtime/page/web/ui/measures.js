// bits/dim, and how typical the picture is.
import { compare } from '../model/typicality.js';
import { h } from './dom.js';

/**
 * @param {import('../app.js').App} app
 * @param {HTMLElement} element
 */
export function measures(app, element) {
  const { reference, manifest } = app.backend;
  const value = h('span', { className: 'value' }, '–');
  const error = h('span', { className: 'soft number' }, ' bits/dim');
  const needle = h('i', { hidden: true });
  const words = h('p', { className: 'soft' }, 'Measured when nothing moves');
  element.append(
    h(
      'div',
      { className: 'measures', id: 'measures' },
      h('p', {}, value, error),
      h('div', { className: 'meter', 'aria-hidden': 'true' }, needle),
      words,
    ),
  );

  app.on('frame', () => {
    value.dataset.state = 'old';
    needle.hidden = true;
  });
  app.on('score', (/** @type {{score: import('../backend/backend.js').Score}} */ { score }) => {
    value.dataset.state = 'new';
    value.textContent = score.bitsPerDim.toFixed(3);
    const dims = manifest.latent_shapes.reduce((sum, { channels, height, width }) => sum + channels * height * width, 0);
    const spread = (score.standardError ?? 0) / (Math.LN2 * dims);
    error.textContent = ` ± ${spread.toFixed(3)} bits/dim`;
    const { place, text } = reference ? byReference(reference, score.bitsPerDim) : byRadius(score.radii, manifest);
    needle.hidden = false;
    needle.style.left = `${100 * Math.min(1, Math.max(0, place))}%`;
    words.textContent = text;
  });
}

/**
 * @param {number[]} reference
 * @param {number} bits
 */
function byReference(reference, bits) {
  const { deviations, pValue } = compare(reference, bits);
  const far = Math.abs(deviations).toFixed(1);
  const share = `${Math.round(100 * pValue)} % of real ones lie as far out`;
  const kind =
    Math.abs(deviations) < 1 ? 'Typical' : deviations < 0 ? 'Plainer than most' : 'More unusual than most';
  return { place: 0.5 + deviations / 8, text: `${kind}: ${far} standard deviations from real images; ${share}` };
}

/**
 * Without a reference set: by the latent's root mean square, 1 for what the model draws at temperature 1.
 * @param {number[]} radii
 * @param {import('../engine/bundle.js').Manifest} manifest
 */
function byRadius(radii, { latent_shapes: shapes, provenance }) {
  const sizes = shapes.map(({ channels, height, width }) => channels * height * width);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const radius = Math.sqrt(radii.reduce((sum, r, level) => sum + r * r * sizes[level], 0) / total);
  const kind =
    radius < 0.85
      ? 'Plainer than the model’s own draws'
      : radius < 1.15
        ? 'As typical as the model’s own draws'
        : 'Further out than the model’s own draws';
  const held = provenance.bits_per_dim;
  const mean = held === null ? '' : `; images it has not seen have ${held.toFixed(3)} bits/dim on average`;
  return { place: 0.5 + Math.log2(radius) / 2, text: `${kind} (radius ${radius.toFixed(2)})${mean}` };
}
