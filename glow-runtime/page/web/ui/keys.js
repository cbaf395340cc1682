// Keys for everything, and the dialog that names them.
import { byId, h } from './dom.js';

const STORED = 'glow-single-keys';

/** @param {import('../app.js').App} app */
export function keys(app) {
  const { store } = app;
  const panels = ['faces', 'edit', 'blend', 'walk', 'levels'];
  /** @type {[string, string, () => void][]} */
  const single = [
    ['n', 'New faces', () => app.commands.newSeed()],
    ['o', 'Open a photograph', () => app.commands.open()],
    ['b', 'Before and after', () => app.view({ before: !app.before })],
    ['l', 'Copy the link', () => app.commands.share()],
    ['s', 'Save the picture', () => app.commands.picture()],
    ...panels.map(
      (tab, i) => /** @type {[string, string, () => void]} */ ([
        String(i + 1),
        `The tab ${tab}`,
        () => {
          app.openTab(tab);
          byId(`tab-${tab}`).focus();
        },
      ]),
    ),
    ['?', 'This list', () => dialog.showModal()],
  ];

  const enabled = h('input', {
    type: 'checkbox',
    checked: stored() !== 'off',
    onchange: () => remember(enabled.checked ? 'on' : 'off'),
  });
  const row = (/** @type {string} */ key, /** @type {string} */ text) => [
    h('dt', {}, h('kbd', {}, key)),
    h('dd', {}, text),
  ];
  const dialog = h(
    'dialog',
    { 'aria-labelledby': 'help-title' },
    h(
      'form',
      { method: 'dialog', className: 'body' },
      h('h2', { id: 'help-title' }, 'Keys and about'),
      h(
        'p',
        {},
        'The model turns a face into numbers and those numbers back into the very same face. What you move are the numbers.',
      ),
      h('p', {}, app.backend.privacy),
      h(
        'dl',
        { className: 'keys' },
        ...row('Ctrl + Z', 'Undo'),
        ...row('Ctrl + Shift + Z', 'Redo'),
        ...row('Tab, arrows', 'From control to control, and along sliders and tabs'),
        ...single.flatMap(([key, text]) => row(key.toUpperCase(), text)),
      ),
      h('label', {}, enabled, 'Single keys are on'),
      h('div', {}, h('button', { className: 'main' }, 'Close')),
    ),
  );
  document.body.append(dialog);
  byId('help').addEventListener('click', () => dialog.showModal());

  document.addEventListener('keydown', (event) => {
    if (document.querySelector('dialog[open]')) return;
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey) {
      if (isText(event.target) || (key !== 'z' && key !== 'y')) return;
      event.preventDefault();
      if (key === 'y' || event.shiftKey) store.redo();
      else store.undo();
      return;
    }
    if (event.altKey || !enabled.checked || isText(event.target)) return;
    const command = single.find(([name]) => name === key);
    if (!command) return;
    event.preventDefault();
    command[2]();
  });
}

/** Where letters are typed. @param {EventTarget | null} target */
const isText = (target) =>
  target instanceof HTMLSelectElement ||
  (target instanceof HTMLInputElement && ['text', 'search', 'number'].includes(target.type));

/** Browsers may refuse to keep anything. */
function stored() {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return null;
  }
}

/** @param {string} value */
function remember(value) {
  try {
    localStorage.setItem(STORED, value);
  } catch {
    // Then it lasts as long as the page.
  }
}
