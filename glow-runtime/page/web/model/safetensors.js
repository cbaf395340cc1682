// The safetensors format: 8 bytes of length, a JSON header, the tensors' bytes.

/**
 * @typedef {{dtype: string, shape: number[], data_offsets: [number, number]}} Entry
 */

/**
 * Reads a file's tensors of float32; the others are left out.
 * @param {Uint8Array} bytes
 * @param {string} name of the file, for messages
 * @returns {{metadata: Record<string, string>, tensors: Map<string, {shape: number[], values: Float32Array}>}}
 */
export function readTensors(bytes, name) {
  const broken = (/** @type {string} */ why) => new Error(`${name} is not a safetensors file: ${why}`);
  if (bytes.length < 8) throw broken('it ends in its header');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = Number(view.getBigUint64(0, true));
  if (length > bytes.length - 8) throw broken('it ends in its header');
  /** @type {Record<string, any>} */
  let header;
  try {
    header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  } catch {
    throw broken('its header is not JSON');
  }
  const { __metadata__: metadata = {}, ...entries } = header;
  const tensors = new Map();
  for (const [key, { dtype, shape, data_offsets: [from, to] }] of Object.entries(entries)) {
    if (dtype !== 'F32') continue;
    const count = shape.reduce((/** @type {number} */ product, /** @type {number} */ size) => product * size, 1);
    const start = 8 + length + from;
    if (to - from !== 4 * count || start + 4 * count > bytes.length) throw broken(`${key} does not lie in it`);
    // Copied, since a view needs a multiple of four to start from.
    const values = new Float32Array(bytes.slice(start, start + 4 * count).buffer);
    tensors.set(key, { shape, values });
  }
  return { metadata, tensors };
}

/**
 * Writes tensors of float32.
 * @param {Record<string, string>} metadata
 * @param {{name: string, shape: number[], values: Float32Array}[]} tensors
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function writeTensors(metadata, tensors) {
  /** @type {Record<string, unknown>} */
  const header = { __metadata__: metadata };
  let end = 0;
  for (const { name, shape, values } of tensors) {
    header[name] = { dtype: 'F32', shape, data_offsets: [end, end + values.byteLength] };
    end += values.byteLength;
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const padded = Math.ceil(text.length / 8) * 8;
  const bytes = new Uint8Array(8 + padded + end);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
  bytes.fill(0x20, 8, 8 + padded);
  bytes.set(text, 8);
  let at = 8 + padded;
  for (const { values } of tensors) {
    bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), at);
    at += values.byteLength;
  }
  return bytes;
}
