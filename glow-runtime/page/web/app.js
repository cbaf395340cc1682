// The page: opens the back end, then puts its parts together.
import { openBackend } from './backend/backend.js';
import { checkRecipe, imagesOf } from './model/recipe.js';
import { readLink } from './state/permalink.js';
import { initialState, stateOf, withTab } from './state/recipes.js';
import { Store } from './state/store.js';
import { Work } from './state/work.js';
import { actions } from './ui/actions.js';
import { blendPanel } from './ui/blend.js';
import { byId } from './ui/dom.js';
import { editPanel } from './ui/edit.js';
import { facesPanel } from './ui/faces.js';
import { facts } from './ui/facts.js';
import { keys } from './ui/keys.js';
import { levelsPanel } from './ui/levels.js';
import { loading } from './ui/loading.js';
import { measures } from './ui/measures.js';
import { fail } from './ui/notices.js';
import { photographs } from './ui/photo.js';
import { stage } from './ui/stage.js';
import { tabs } from './ui/tabs.js';
import { Thumbs } from './ui/thumbs.js';
import { walkPanel } from './ui/walk.js';

/** What the parts of the page share. */
export class App {
  /** @param {import('./backend/backend.js').Backend} backend */
  constructor(backend) {
    this.backend = backend;
    this.manifest = backend.manifest;
    this.store = new Store(initialState(1n));
    this.work = new Work((error) => fail(error, 'picture'));
    this.thumbs = new Thumbs(this);
    /** Photographs' pixels [H, W, C] by their hash. @type {Map<string, Uint8Array>} */
    this.photos = new Map();
    /** What is to be seen. @type {Uint8Array | null} */
    this.pixels = null;
    /** Whether the picture is shown without its changes. */
    this.before = false;
    /** Whether its pixels are shown as squares. */
    this.crisp = false;
    /** What buttons and keys do. @type {Record<string, () => void>} */
    this.commands = {};
    /** @type {Record<string, ((event: any) => void)[]>} */
    this.listeners = {};
  }

  /** @param {string} name @param {(event: any) => void} listener */
  on(name, listener) {
    (this.listeners[name] ??= []).push(listener);
  }

  /** @param {string} name @param {any} [event] */
  emit(name, event) {
    for (const listener of this.listeners[name] ?? []) listener(event);
  }

  /** Changes how the picture is shown. @param {{before?: boolean, crisp?: boolean}} change */
  view(change) {
    Object.assign(this, change);
    this.emit('view');
  }

  /** @param {string} tab */
  openTab(tab) {
    const opened = withTab(this.store.state, tab);
    // A step where the picture changes with it.
    if (opened.mode === this.store.state.mode) this.store.look(opened);
    else this.store.set(opened);
  }

  /** What is asked of the back end from now on may need it. @param {string} image its hash @param {Uint8Array} pixels */
  keepPhoto(image, pixels) {
    this.photos.set(image, pixels);
    this.backend.addImage(image, pixels).catch((error) => fail(error));
  }

  /** Shows what the address asks for. */
  async followLink() {
    const link = await readLink(location.hash, this.manifest);
    if (!link) return;
    const { levels, classes } = this.manifest.architecture;
    const recipe = checkRecipe(link.recipe, { levels, classes, attributes: this.backend.attributes });
    for (const [image, pixels] of link.images) this.keepPhoto(image, pixels);
    if (imagesOf(recipe).some((image) => !this.photos.has(image))) {
      throw new Error('This link is not whole: its photograph was lost on the way.');
    }
    this.store.look(stateOf(recipe, this.store.state));
  }
}

async function main() {
  const progress = loading();
  /** @type {App} */
  let app;
  try {
    app = new App(await openBackend((part) => progress.show(part)));
  } catch (error) {
    progress.fail(`The model cannot be loaded. ${/** @type {Error} */ (error).message}`);
    byId('status').textContent = 'Not loaded';
    return;
  }
  await app.followLink().catch((error) => fail(error));
  progress.done();
  facts(app);
  stage(app, byId('stage'));
  measures(app, byId('stage'));
  actions(app, byId('stage'));
  photographs(app);
  tabs(app, [facesPanel(app), editPanel(app), blendPanel(app), walkPanel(app), levelsPanel(app)]);
  keys(app);
  window.addEventListener('hashchange', () => app.followLink().catch((error) => fail(error)));
  document.documentElement.dataset.ready = 'true';
}

main().catch((error) => fail(error));
