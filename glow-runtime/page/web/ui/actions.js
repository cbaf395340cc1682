// What can be done with the picture: undo, compare, share, keep.
import { modelSha256 } from '../engine/bundle.js';
import { recipeNow } from '../state/recipes.js';
import { imagesOf } from '../model/recipe.js';
import { writeLink } from '../state/permalink.js';
import { writePng } from '../images/png.js';
import { h, iconButton } from './dom.js';
import { fail, say } from './notices.js';

/**
 * @param {import('../app.js').App} app
 * @param {HTMLElement} element
 */
export function actions(app, element) {
  const { store, backend, manifest } = app;
  const undo = iconButton('undo', 'Undo', () => store.undo());
  const redo = iconButton('redo', 'Redo', () => store.redo());
  const before = iconButton('compare', 'Before', () => app.view({ before: !app.before }));
  const crisp = iconButton('grid', 'Pixels', () => app.view({ crisp: !app.crisp }));
  const reset = iconButton('reset', 'Reset', () =>
    store.set({ strengths: {}, redraw: { ...store.state.redraw, levels: [] } }),
    { title: 'Take all changes back' },
  );

  const share = async () => {
    const recipe = recipeNow(store.state, manifest);
    const link = new URL(location.href);
    link.hash = await writeLink(recipe, manifest, app.photos);
    const contains = imagesOf(recipe).length > 0;
    try {
      await navigator.clipboard.writeText(link.href);
      say(contains ? 'The link is copied. It contains the photograph.' : 'The link is copied.');
      app.emit('shared', { href: link.href, contains, copied: true });
    } catch {
      app.emit('shared', { href: link.href, contains, copied: false });
    }
  };
  const name = () => `glow-${modelSha256(manifest).slice(0, 6)}-${Date.now()}`;
  const picture = async () => {
    if (!app.pixels) return;
    // The exact one, whatever was drawn while a slider moved.
    const { pixels } = await backend.render(recipeNow(store.state, manifest));
    save(await writePng(pixels, manifest.architecture), 'image/png', `${name()}.png`);
    say('The picture is saved.');
  };
  const latents = async () => {
    const bytes = await backend.latents(recipeNow(store.state, manifest));
    save(bytes, 'application/octet-stream', `${name()}.safetensors`);
    say('The latents are saved.');
  };
  Object.assign(app.commands, {
    share: () => share().catch((error) => fail(error)),
    picture: () => picture().catch((error) => fail(error)),
    latents: () => latents().catch((error) => fail(error)),
  });
  element.append(
    h(
      'div',
      { className: 'actions', role: 'group', 'aria-label': 'The picture' },
      undo,
      redo,
      before,
      crisp,
      reset,
      iconButton('link', 'Link', app.commands.share, { title: 'Copy a link that gives this picture' }),
      iconButton('download', 'Picture', app.commands.picture, { title: 'Save the picture as PNG' }),
      iconButton('download', 'Latents', app.commands.latents, {
        title: 'Save the latents: glow decode makes the picture of them',
      }),
    ),
    shared(app),
  );

  const update = () => {
    const { state } = store;
    undo.disabled = !store.canUndo;
    redo.disabled = !store.canRedo;
    const changed = Object.values(state.strengths).some(Boolean) || state.redraw.levels.length > 0;
    reset.disabled = !changed;
    before.setAttribute('aria-pressed', String(app.before));
    crisp.setAttribute('aria-pressed', String(app.crisp));
  };
  store.subscribe(update);
  app.on('view', update);
  update();
}

/**
 * The link that was made last, where it can be seen and copied by hand.
 * @param {import('../app.js').App} app
 */
function shared(app) {
  const text = h('p', { className: 'soft' });
  const field = h('input', { type: 'text', readOnly: true, 'aria-label': 'The link', onfocus: () => field.select() });
  const box = h('div', { className: 'group', hidden: true, id: 'shared' }, text, field);
  app.on('shared', (/** @type {{href: string, contains: boolean, copied: boolean}} */ { href, contains, copied }) => {
    box.hidden = false;
    field.value = href;
    text.textContent = [
      copied ? 'Copied: this link gives the very same picture.' : 'This link gives the very same picture.',
      contains ? 'It contains the photograph: whoever has the link has the face.' : '',
    ].join(' ');
  });
  app.store.subscribe(() => (box.hidden = true));
  return box;
}

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {string} type
 * @param {string} name
 */
function save(bytes, type, name) {
  const url = URL.createObjectURL(new Blob([bytes], { type }));
  const link = h('a', { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
