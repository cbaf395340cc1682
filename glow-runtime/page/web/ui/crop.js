// Choosing the part of a photograph: a box to move and to size, by pointer, touch or keys.
import { defaultCrop, fitPhoto } from '../images/photo.js';
import { draw, h } from './dom.js';
import { slider } from './slider.js';

/**
 * @typedef {import('../images/area.js').Rectangle} Rectangle
 * @typedef {import('../engine/bundle.js').Manifest} Manifest
 */

/** Sides of the picture that is shown of a large photograph. */
const SHOWN = 900;

/**
 * @param {ImageBitmap} photo
 * @param {Manifest} manifest
 * @returns {Promise<Rectangle | null>} null if nothing was chosen
 */
export function cropDialog(photo, manifest) {
  const { architecture } = manifest;
  const ratio = architecture.width / architecture.height;
  const largest = Math.min(photo.width, Math.floor(photo.height * ratio));
  const least = Math.min(largest, Math.max(architecture.width, Math.ceil(architecture.height * ratio)));
  let crop = defaultCrop(photo, manifest);

  const scale = Math.min(1, SHOWN / Math.max(photo.width, photo.height));
  const shown = h('canvas', { width: Math.round(photo.width * scale), height: Math.round(photo.height * scale) });
  shown.getContext('2d')?.drawImage(photo, 0, 0, shown.width, shown.height);
  const box = h('div', {
    className: 'box',
    tabIndex: 0,
    role: 'application',
    'aria-roledescription': 'movable box',
    'aria-label': 'The part that is taken. Arrow keys move it, plus and minus size it.',
  });
  const corner = h('div', { className: 'corner', 'aria-hidden': 'true' });
  box.append(corner);
  const area = h('div', { className: 'crop' }, shown, box);
  const preview = h('canvas', { className: 'preview', role: 'img', 'aria-label': 'What the model will see' });

  const size = slider({
    label: 'Size of the box',
    min: least,
    max: largest,
    step: 1,
    text: (value) => `${value} pixels`,
    onMove: (value) => resize(value),
    onDone: () => {},
  });

  /** @param {number} left @param {number} top */
  const place = (left, top) => {
    crop = {
      ...crop,
      left: Math.round(Math.min(photo.width - crop.width, Math.max(0, left))),
      top: Math.round(Math.min(photo.height - crop.height, Math.max(0, top))),
    };
    update();
  };
  /** Around its middle, or from its corner. @param {number} width @param {boolean} [fromCorner] */
  const resize = (width, fromCorner = false) => {
    const room = fromCorner ? Math.min(photo.width - crop.left, (photo.height - crop.top) * ratio) : largest;
    const newWidth = Math.round(Math.min(room, largest, Math.max(least, width)));
    const newHeight = Math.min(photo.height, Math.max(architecture.height, Math.round(newWidth / ratio)));
    const { left, top } = crop;
    const middle = fromCorner ? 0 : 0.5;
    const [dx, dy] = [(crop.width - newWidth) * middle, (crop.height - newHeight) * middle];
    crop = { ...crop, width: newWidth, height: newHeight };
    place(left + dx, top + dy);
  };

  let waiting = 0;
  const update = () => {
    box.style.left = `${(100 * crop.left) / photo.width}%`;
    box.style.top = `${(100 * crop.top) / photo.height}%`;
    box.style.width = `${(100 * crop.width) / photo.width}%`;
    box.style.height = `${(100 * crop.height) / photo.height}%`;
    size.show(crop.width);
    waiting ||= requestAnimationFrame(() => {
      waiting = 0;
      draw(preview, fitPhoto(photo, crop, manifest), architecture);
    });
  };

  dragging(box, (dx, dy, start) => {
    const pixel = photo.width / area.clientWidth;
    if (start.corner) resize(start.crop.width + Math.max(dx, dy * ratio) * pixel, true);
    else place(start.crop.left + dx * pixel, start.crop.top + dy * pixel);
  }, (target) => ({ crop, corner: target === corner }));
  area.addEventListener('wheel', (event) => {
    event.preventDefault();
    resize(crop.width * (event.deltaY < 0 ? 0.96 : 1.04));
  });
  box.addEventListener('keydown', (event) => {
    const step = Math.max(1, Math.round(crop.width / (event.shiftKey ? 10 : 50)));
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (dx || dy) place(crop.left + dx * step, crop.top + dy * step);
    else if (event.key === '+' || event.key === '=') resize(crop.width + 2 * step);
    else if (event.key === '-') resize(crop.width - 2 * step);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  return new Promise((resolve) => {
    const dialog = h(
      'dialog',
      { 'aria-labelledby': 'crop-title', onclose: () => (dialog.remove(), resolve(dialog.returnValue ? crop : null)) },
      h(
        'form',
        { method: 'dialog', className: 'body' },
        h('h2', { id: 'crop-title' }, 'Which part is the face?'),
        h('p', { className: 'soft' }, 'Move the box so that eyes and mouth lie as in the draws of the model.'),
        area,
        h('div', { className: 'row' }, preview, h('div', { className: 'grow' }, size.element)),
        h(
          'div',
          { className: 'row' },
          h('button', { value: 'use', className: 'main' }, 'Use this part'),
          h('button', { type: 'button', onclick: () => ((crop = defaultCrop(photo, manifest)), update()) }, 'The middle'),
          h('button', { value: '' }, 'Cancel'),
        ),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
    box.focus();
    update();
  });
}

/**
 * @template Start
 * @param {HTMLElement} element
 * @param {(dx: number, dy: number, start: Start) => void} onMove
 * @param {(target: EventTarget | null) => Start} onStart
 */
function dragging(element, onMove, onStart) {
  /** @type {{x: number, y: number, start: Start} | null} */
  let drag = null;
  element.addEventListener('pointerdown', (event) => {
    drag = { x: event.clientX, y: event.clientY, start: onStart(event.target) };
    element.setPointerCapture(event.pointerId);
  });
  element.addEventListener('pointermove', (event) => {
    if (drag) onMove(event.clientX - drag.x, event.clientY - drag.y, drag.start);
  });
  for (const end of ['pointerup', 'pointercancel']) element.addEventListener(end, () => (drag = null));
}
