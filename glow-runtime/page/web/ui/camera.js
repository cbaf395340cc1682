// Taking a photograph with the machine's camera.
import { h } from './dom.js';

/**
 * @returns {Promise<Blob | null>} null if none was taken
 */
export async function cameraDialog() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'user', width: { ideal: 1280 } } });
  } catch (error) {
    throw new Error(`The camera cannot be used: ${/** @type {Error} */ (error).message}.`);
  }
  const video = h('video', { autoplay: true, muted: true, playsInline: true, 'aria-label': 'What the camera sees' });
  video.srcObject = stream;
  return new Promise((resolve, reject) => {
    /** @type {Blob | null} */
    let taken = null;
    const take = async () => {
      try {
        const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
        canvas.getContext('2d')?.drawImage(video, 0, 0);
        taken = await canvas.convertToBlob({ type: 'image/png' });
      } catch (error) {
        reject(error);
      }
      dialog.close();
    };
    const dialog = h(
      'dialog',
      {
        'aria-labelledby': 'camera-title',
        onclose: () => {
          stream.getTracks().forEach((track) => track.stop());
          dialog.remove();
          resolve(taken);
        },
      },
      h(
        'div',
        { className: 'body' },
        h('h2', { id: 'camera-title' }, 'Take a photograph'),
        video,
        h(
          'div',
          { className: 'row' },
          h('button', { type: 'button', className: 'main', onclick: take }, 'Take it'),
          h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel'),
        ),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}
