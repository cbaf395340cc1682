// Photographs: from a file, a drop, the clipboard or the camera; then the part of it that the model takes.
import { sha256 } from '../model/sha256.js';
import { decodePhoto, fitPhoto } from '../images/photo.js';
import { cropDialog } from './crop.js';
import { cameraDialog } from './camera.js';
import { h } from './dom.js';
import { fail, say } from './notices.js';

/** @param {import('../app.js').App} app */
export function photographs(app) {
  const { manifest } = app;

  const take = async (/** @type {Blob} */ file, /** @type {string} */ name) => {
    const photo = await decodePhoto(file, name, manifest);
    const crop = await cropDialog(photo, manifest);
    if (crop) show(fitPhoto(photo, crop, manifest));
    photo.close();
  };
  const open = (/** @type {Blob | undefined | null} */ file, name = 'The photograph') => {
    if (file) take(file, name).catch((error) => fail(error));
  };

  const chooser = h('input', {
    type: 'file',
    accept: 'image/*',
    hidden: true,
    id: 'file',
    onchange: () => {
      const file = chooser.files?.[0];
      open(file, file?.name);
      // The same file may be chosen again.
      chooser.value = '';
    },
  });
  document.body.append(chooser);
  app.commands.open = () => chooser.click();
  app.commands.camera = () =>
    cameraDialog()
      .then((blob) => open(blob))
      .catch((error) => fail(error));

  document.addEventListener('dragover', (event) => {
    if (!event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault();
    document.body.classList.add('dropping');
  });
  document.addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) document.body.classList.remove('dropping');
  });
  document.addEventListener('drop', (event) => {
    event.preventDefault();
    document.body.classList.remove('dropping');
    const file = event.dataTransfer?.files[0];
    open(file, file?.name);
  });
  document.addEventListener('paste', (event) => {
    const file = Array.from(event.clipboardData?.files ?? []).find(({ type }) => type.startsWith('image/'));
    if (!file) return;
    event.preventDefault();
    open(file, 'The pasted image');
  });

  const show = (/** @type {Uint8Array} */ pixels) => {
    const image = sha256(pixels);
    app.keepPhoto(image, pixels);
    const { photos } = app.store.state;
    app.store.set({
      photos: photos.includes(image) ? photos : [...photos, image],
      mode: 'face',
      face: { image },
      strengths: {},
      redraw: { ...app.store.state.redraw, levels: [] },
    });
    say('The photograph is there.');
  };
}
