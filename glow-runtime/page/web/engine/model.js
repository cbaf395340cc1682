// A model that is loaded: decodes, encodes and scores single images.
import { ranges } from '../model/latents.js';
import { uniform } from '../model/random.js';
import { Graph } from './graphs.js';

/** @typedef {import('./bundle.js').Manifest} Manifest */

export class Model {
  /**
   * @param {Manifest} manifest
   * @param {Graph} decoder
   * @param {() => Promise<Graph>} loadEncoder called when it is needed
   */
  constructor(manifest, decoder, loadEncoder) {
    this.manifest = manifest;
    this.decoder = decoder;
    this.loadEncoder = loadEncoder;
    /** @type {Promise<Graph> | null} */
    this.encoder = null;
    this.ranges = ranges(manifest.latent_shapes);
    // onnxruntime-web runs one call at a time.
    this.turn = Promise.resolve();
  }

  get dims() {
    return this.ranges[this.ranges.length - 1].to;
  }

  /**
   * An image [H, W, C] of a flat latent.
   * @param {Float32Array} flat
   * @param {number | undefined} label
   * @returns {Promise<Uint8Array>}
   */
  async decode(flat, label) {
    const inputs = this.#labelled(label);
    this.manifest.latent_shapes.forEach(({ channels, height, width }, level) => {
      const { from, to } = this.ranges[level];
      inputs[`eps_${level}`] = { type: 'float32', data: flat.slice(from, to), dims: [1, channels, height, width] };
    });
    const { image, x } = await this.#alone(() => this.decoder.run(inputs));
    if (!x.every(Number.isFinite)) {
      throw new Error('The picture has no finite pixels: its latent lies too far out. Move the sliders back a little.');
    }
    return image;
  }

  /**
   * The flat latent and the log-likelihood, in nats, of an image [H, W, C].
   * @param {Uint8Array} image
   * @param {Float32Array | null} noise dequantization noise in [0, 1); null for the middle of each value
   * @param {number | undefined} label
   */
  async encode(image, noise, label) {
    const { height, width, channels } = this.manifest.architecture;
    const dims = [1, height, width, channels];
    const inputs = this.#labelled(label);
    inputs.image = { type: 'uint8', data: image, dims };
    inputs.noise = { type: 'float32', data: noise ?? new Float32Array(this.dims).fill(0.5), dims };
    const outputs = await this.#alone(async () => {
      this.encoder ??= this.loadEncoder();
      return (await this.encoder).run(inputs);
    });
    const flat = new Float32Array(this.dims);
    this.ranges.forEach(({ from }, level) => flat.set(outputs[`eps_${level}`], from));
    return { flat, logProb: /** @type {number} */ (outputs.log_prob[0]) };
  }

  /**
   * log p in nats under one draw of the noise, of seed 0 and the first image: `glow score` averages over them.
   * @param {Uint8Array} image
   * @param {number} draw
   * @param {number | undefined} label
   */
  async logProb(image, draw, label) {
    return (await this.encode(image, uniform(0n, BigInt(draw), 0n, this.dims), label)).logProb;
  }

  /**
   * The image as the model sees it, with only the upper n_bits of every value.
   * @param {Uint8Array} image
   */
  quantize(image) {
    const dropped = 8 - this.manifest.architecture.n_bits;
    return image.map((value) => (value >> dropped) << dropped);
  }

  /**
   * @param {number | undefined} label
   * @returns {Record<string, {type: string, data: any, dims: number[]}>}
   */
  #labelled(label) {
    if (this.manifest.architecture.classes === 0) return {};
    return { label: { type: 'int64', data: BigInt64Array.of(BigInt(label ?? 0)), dims: [1] } };
  }

  /**
   * @template T
   * @param {() => Promise<T>} run
   * @returns {Promise<T>}
   */
  #alone(run) {
    const result = this.turn.then(run);
    this.turn = result.then(
      () => {},
      () => {},
    );
    return result;
  }
}
