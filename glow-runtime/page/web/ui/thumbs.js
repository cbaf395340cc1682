// Small pictures of faces, drawn when there is nothing else to do.
import { keyOf } from '../model/recipe.js';
import { draw, h } from './dom.js';

/** @typedef {import('../model/recipe.js').Recipe} Recipe */

/** Pictures that are kept. */
const KEPT = 400;
/** Milliseconds without a change after which they are drawn. */
const PAUSE = 120;

/**
 * A button that shows a face.
 * @param {string} label
 * @param {() => void} onclick
 */
export function faceButton(label, onclick) {
  const canvas = h('canvas', { 'aria-hidden': 'true' });
  const element = h(
    'button',
    { type: 'button', className: 'thumb', 'aria-label': label, 'aria-pressed': 'false', onclick },
    canvas,
  );
  return {
    element,
    canvas,
    /** @param {boolean} pressed */
    press(pressed) {
      element.setAttribute('aria-pressed', String(pressed));
    },
  };
}

/** Draws small pictures and keeps what it drew. */
export class Thumbs {
  /** @param {import('../app.js').App} app */
  constructor(app) {
    this.app = app;
    /** @type {Map<string, Uint8Array>} */
    this.kept = new Map();
    /** @type {Map<string, number>} */
    this.timers = new Map();
  }

  /**
   * Draws recipes on canvases; a new call of the same owner takes the place of the last.
   * @param {string} owner
   * @param {[HTMLCanvasElement, Recipe][]} pictures
   */
  show(owner, pictures) {
    const { architecture } = this.app.manifest;
    const missing = pictures.filter(([canvas, recipe]) => {
      const pixels = this.kept.get(keyOf(recipe));
      if (pixels) draw(canvas, pixels, architecture);
      return !pixels;
    });
    clearTimeout(this.timers.get(owner));
    const start = () =>
      this.app.work.whenIdle(
        owner,
        missing.map(([canvas, recipe]) => async () => {
          const { pixels } = await this.app.backend.render(recipe);
          this.kept.set(keyOf(recipe), pixels);
          if (this.kept.size > KEPT) this.kept.delete(/** @type {string} */ (this.kept.keys().next().value));
          draw(canvas, pixels, architecture);
        }),
      );
    this.timers.set(owner, setTimeout(start, PAUSE));
  }
}
