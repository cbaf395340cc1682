// The page's state, its history, and who wants to hear of changes.

/**
 * @typedef {import('../model/recipe.js').Face} Face
 * @typedef {'face' | 'blend' | 'walk'} Mode
 */

/**
 * @typedef {object} State
 * @property {string} tab
 * @property {Mode} mode what the picture begins from
 * @property {{number: number} | {image: string}} face a draw of `draw`, or a photograph
 * @property {{seed: string, temperature: number, truncation: number | null}} draw
 * @property {string[]} photos by hash, in the order in which they came
 * @property {{of: Face[], count: 2 | 4, x: number, y: number, spherical: boolean}} blend
 * @property {{of: Face[], at: number, spherical: boolean}} walk
 * @property {{levels: number[], seed: string, number: number, temperature: number}} redraw
 * @property {Record<string, number>} strengths
 * @property {number} label
 */

/** Steps that can be undone. */
const MOST_STEPS = 200;

/** Holds the state; every change makes a new one, so that old ones can be kept. */
export class Store {
  /** @param {State} state */
  constructor(state) {
    this.state = state;
    /** @type {State[]} */
    this.past = [];
    /** @type {State[]} */
    this.future = [];
    /** The state that the running gesture began from. @type {State | null} */
    this.before = null;
    /** @type {((state: State) => void)[]} */
    this.listeners = [];
  }

  /** @param {(state: State) => void} listener */
  subscribe(listener) {
    this.listeners.push(listener);
  }

  /**
   * Changes the state as part of a gesture, such as the dragging of a slider: `commit` ends it.
   * @param {Partial<State>} changes
   */
  move(changes) {
    this.before ??= this.state;
    this.#become({ ...this.state, ...changes });
  }

  /** Makes what moved since the last commit one step of the history. */
  commit() {
    if (this.before && JSON.stringify(this.before) !== JSON.stringify(this.state)) {
      this.past.push(this.before);
      if (this.past.length > MOST_STEPS) this.past.shift();
      this.future = [];
    }
    this.before = null;
    this.#become(this.state);
  }

  /**
   * A change that is a step of its own.
   * @param {Partial<State>} changes
   */
  set(changes) {
    this.commit();
    this.move(changes);
    this.commit();
  }

  /**
   * A change that is no step, such as another tab.
   * @param {Partial<State>} changes
   */
  look(changes) {
    this.#become({ ...this.state, ...changes });
  }

  get canUndo() {
    return this.past.length > 0;
  }

  get canRedo() {
    return this.future.length > 0;
  }

  undo() {
    this.commit();
    this.#travel(this.past, this.future);
  }

  redo() {
    this.commit();
    this.#travel(this.future, this.past);
  }

  /**
   * @param {State[]} from
   * @param {State[]} to
   */
  #travel(from, to) {
    const state = from.pop();
    if (!state) return;
    to.push(this.state);
    // Photographs that came since stay within reach.
    this.#become({ ...state, photos: this.state.photos });
  }

  /** @param {State} state */
  #become(state) {
    this.state = state;
    for (const listener of this.listeners) listener(state);
  }
}
