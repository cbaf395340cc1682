// Whether a provider computes what it should. Providers for GPUs have been found to compute some convolutions
// wrongly without a word (microsoft/onnxruntime#29651).
import { normal } from '../model/random.js';

/**
 * Encodes an image and decodes the latent: with the noise in the middle of each value the very same pixels come
 * back unless something is wrong, since half an image step lies between them and their neighbours.
 * @param {import('./model.js').Model} model
 */
export async function selfCheck(model) {
  const { manifest } = model;
  const label = manifest.architecture.classes > 0 ? 0 : undefined;
  const flat = normal(1n, 0n, model.dims).map((z) => 0.7 * z);
  const image = model.quantize(await model.decode(flat, label));
  const back = await model.decode((await model.encode(image, null, label)).flat, label);
  let wrong = 0;
  back.forEach((value, i) => (wrong += Number(value !== image[i])));
  if (wrong > 0) throw new Error(`${wrong} of ${back.length} values of an image did not come back`);
}
