// A slider for each attribute.
import { h } from './dom.js';
import { slider } from './slider.js';

/** With more attributes than this there is a search field. */
const MANY = 10;

/** "Mouth_Slightly_Open" in words. @param {string} name */
const inWords = (name) => {
  const words = name.replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1).toLowerCase();
};

/** @param {number} value */
const signed = (value) => (value > 0 ? '+' : '') + value.toFixed(2);

/**
 * @param {import('../app.js').App} app
 * @returns {import('./tabs.js').Panel}
 */
export function editPanel(app) {
  const { store, backend } = app;
  const sliders = backend.attributes.map((name) => ({
    name,
    ...slider({
      label: inWords(name),
      min: -2,
      max: 2,
      step: 0.05,
      rest: 0,
      text: signed,
      onMove: (value) => store.move({ strengths: { ...store.state.strengths, [name]: value } }),
      onDone: () => store.commit(),
    }),
  }));
  const none = h(
    'p',
    {},
    'This bundle has no attributes. Fit some with ',
    h('code', {}, 'glow attributes fit'),
    ' and load the page again.',
  );
  const search = h('input', {
    type: 'search',
    'aria-label': 'Find an attribute',
    placeholder: 'Find an attribute',
    oninput: () => {
      const wanted = search.value.trim().toLowerCase();
      for (const { name, element } of sliders) element.hidden = !inWords(name).toLowerCase().includes(wanted);
    },
  });
  const element = h(
    'div',
    {},
    sliders.length === 0
      ? none
      : h(
          'p',
          { className: 'soft' },
          'One unit goes as far as faces with the attribute are from those without, on average. ',
          'A double click on a slider takes its change back.',
        ),
    sliders.length > MANY ? search : null,
    h('div', { className: 'sliders' }, ...sliders.map((each) => each.element)),
  );
  // Where the picture lies along each direction.
  app.on('coordinates', (/** @type {Record<string, number>} */ coordinates) => {
    for (const { name, input } of sliders) {
      input.title = `The picture lies at ${signed(coordinates[name])}: +0.50 is the mean with it, −0.50 without`;
    }
  });
  return {
    name: 'edit',
    title: 'Edit',
    element,
    update: (state) => {
      for (const { name, show } of sliders) show(state.strengths[name] ?? 0);
    },
  };
}
