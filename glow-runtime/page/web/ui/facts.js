// What runs: model, precision, where, and how long a frame takes.
import { modelSha256 } from '../engine/bundle.js';
import { byId, h } from './dom.js';

/** @param {import('../app.js').App} app */
export function facts(app) {
  const { backend, manifest } = app;
  const { architecture: a, provenance, files } = manifest;
  const bytes = Object.values(files).reduce((sum, file) => sum + file.bytes, 0);
  const pixels = `${a.height} × ${a.width} × ${a.channels}`;
  const time = h('dd', { className: 'number' }, '–');
  const place = h('dd', {}, backend.where);
  const rows = /** @type {[string, HTMLElement | string][]} */ ([
    ['Model', `Glow, ${pixels} pixels of ${a.n_bits} bits, ${a.levels} levels; trained for ${provenance.step} steps`],
    ['Bundle', `${(bytes / 1e6).toFixed(1)} MB, weights of SHA-256 ${modelSha256(manifest).slice(0, 16)}…`],
    ['Precision', manifest.precision],
    ['Where', place],
    ['A frame', time],
  ]);
  byId('facts').append(
    ...rows.flatMap(([name, value]) => [h('dt', {}, name), typeof value === 'string' ? h('dd', {}, value) : value]),
  );
  byId('privacy').textContent = backend.privacy;
  const status = byId('status');
  app.on('frame', (/** @type {{ms: number}} */ { ms }) => {
    place.textContent = backend.where;
    time.textContent = `${ms.toFixed(0)} ms, the median of the last ones`;
    status.textContent = `${a.height} × ${a.width}, ${manifest.precision} · ${backend.where} · ${ms.toFixed(0)} ms a frame`;
  });
}
