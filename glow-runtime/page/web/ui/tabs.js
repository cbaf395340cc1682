// Tabs, as the ARIA authoring practices have them: arrows move between them, one is in the tab order.
import { byId, h } from './dom.js';

/**
 * @typedef {{name: string, title: string, element: HTMLElement, update: (state: import('../state/store.js').State) => void}} Panel
 */

/**
 * @param {import('../app.js').App} app
 * @param {Panel[]} panels
 */
export function tabs(app, panels) {
  const { store } = app;
  const list = byId('tabs');
  const buttons = panels.map(({ name, title, element }) => {
    const button = h(
      'button',
      {
        type: 'button',
        id: `tab-${name}`,
        role: 'tab',
        'aria-controls': `panel-${name}`,
        onclick: () => app.openTab(name),
      },
      title,
    );
    element.id = `panel-${name}`;
    element.setAttribute('role', 'tabpanel');
    element.setAttribute('aria-labelledby', button.id);
    byId('panel').append(element);
    return button;
  });
  list.append(...buttons);
  list.addEventListener('keydown', (event) => {
    const at = panels.findIndex(({ name }) => name === store.state.tab);
    const last = panels.length - 1;
    const to = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    app.openTab(panels[to].name);
    buttons[to].focus();
  });
  const update = (/** @type {import('../state/store.js').State} */ state) => {
    panels.forEach(({ name, element, update: show }, i) => {
      const chosen = name === state.tab;
      buttons[i].setAttribute('aria-selected', String(chosen));
      buttons[i].tabIndex = chosen ? 0 : -1;
      element.hidden = !chosen;
      if (chosen) show(state);
    });
  };
  store.subscribe(update);
  update(store.state);
}
