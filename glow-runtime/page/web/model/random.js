// The random streams of the project (models/src/random.rs): the same seed gives the same numbers here and in every
// program of it, bit for bit.
import { F, R, X } from './ziggurat.js';

/** The smallest truncation: one draw in 125 is within it. */
export const LEAST_TRUNCATION = 0.01;

const encoder = new TextEncoder();
const TAGS = { latents: encoder.encode('glow latent eps.'), dequantization: encoder.encode('glow dequantize.') };

/**
 * ChaCha with 8 rounds as the crate rand_chacha has it: 64 bits of counter, 64 of stream.
 * D. J. Bernstein, ChaCha, a variant of Salsa20, 2008.
 */
class ChaCha8 {
  /**
   * @param {Uint8Array} key 32 bytes
   * @param {bigint} stream
   */
  constructor(key, stream) {
    this.input = new Uint32Array(16);
    // "expand 32-byte k"
    this.input.set([0x61707865, 0x3320646e, 0x79622d32, 0x6b206574]);
    const view = new DataView(key.buffer, key.byteOffset, 32);
    for (let i = 0; i < 8; i++) this.input[4 + i] = view.getUint32(4 * i, true);
    this.input[14] = Number(stream & 0xffffffffn);
    this.input[15] = Number((stream >> 32n) & 0xffffffffn);
    this.block = new Uint32Array(16);
    this.next = 16;
  }

  refill() {
    const x = this.block;
    x.set(this.input);
    for (let round = 0; round < 8; round += 2) {
      quarter(x, 0, 4, 8, 12);
      quarter(x, 1, 5, 9, 13);
      quarter(x, 2, 6, 10, 14);
      quarter(x, 3, 7, 11, 15);
      quarter(x, 0, 5, 10, 15);
      quarter(x, 1, 6, 11, 12);
      quarter(x, 2, 7, 8, 13);
      quarter(x, 3, 4, 9, 14);
    }
    for (let i = 0; i < 16; i++) x[i] += this.input[i];
    this.input[12]++;
    if (this.input[12] === 0) this.input[13]++;
    this.next = 0;
  }

  /** 32 random bits. */
  word() {
    if (this.next === 16) this.refill();
    return this.block[this.next++];
  }
}

/**
 * @param {Uint32Array} x
 * @param {number} a
 * @param {number} b
 * @param {number} c
 * @param {number} d
 */
function quarter(x, a, b, c, d) {
  x[a] += x[b];
  x[d] = rotate(x[d] ^ x[a], 16);
  x[c] += x[d];
  x[b] = rotate(x[b] ^ x[c], 12);
  x[a] += x[b];
  x[d] = rotate(x[d] ^ x[a], 8);
  x[c] += x[d];
  x[b] = rotate(x[b] ^ x[c], 7);
}

/**
 * @param {number} word
 * @param {number} bits
 */
const rotate = (word, bits) => (word << bits) | (word >>> (32 - bits));

/**
 * The generator of a seed, a purpose and the image's number: none depends on another.
 * @param {bigint} seed 64 bits
 * @param {'latents' | 'dequantization'} purpose
 * @param {bigint} draw
 * @param {bigint} number
 */
function generator(seed, purpose, draw, number) {
  const key = new Uint8Array(32);
  key.set(TAGS[purpose]);
  const view = new DataView(key.buffer);
  view.setBigUint64(16, seed, true);
  view.setBigUint64(24, draw, true);
  return new ChaCha8(key, number);
}

/**
 * N(0, 1), or N(0, 1) given |z| ≤ limit: what lies beyond is drawn again from the same stream.
 * @param {bigint} seed
 * @param {bigint} number of the image
 * @param {number} count
 * @param {number | null} limit
 * @returns {Float32Array}
 */
export function normal(seed, number, count, limit = null) {
  const bits = generator(seed, 'latents', 0n, number);
  const within = limit === null ? Infinity : Math.fround(limit);
  if (!(within >= Math.fround(LEAST_TRUNCATION))) throw new RangeError(`truncation ${limit} is not at least 0.01`);
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    do values[i] = standardNormal(bits);
    while (Math.abs(values[i]) > within);
  }
  return values;
}

/**
 * The ziggurat as in the crate rand_distr, which draws in float64.
 * @param {ChaCha8} bits
 */
function standardNormal(bits) {
  for (;;) {
    const low = bits.word();
    const high = bits.word();
    const box = low & 0xff;
    // 52 bits as a number in [−1, 1).
    const u = (high * 2 ** 20 + (low >>> 12)) * 2 ** -51 - 1;
    const x = u * X[box];
    if (Math.abs(x) < X[box + 1]) return x;
    if (box === 0) return tail(bits, u);
    if (F[box + 1] + (F[box] - F[box + 1]) * halfOpen(bits) < Math.exp((-x * x) / 2)) return x;
  }
}

/**
 * @param {ChaCha8} bits
 * @param {number} u whose sign decides
 */
function tail(bits, u) {
  let x = 1;
  let y = 0;
  while (-2 * y < x * x) {
    x = Math.log(open(bits)) / R;
    y = Math.log(open(bits));
  }
  return u < 0 ? x - R : R - x;
}

/**
 * 53 bits in [0, 1).
 * @param {ChaCha8} bits
 */
function halfOpen(bits) {
  const low = bits.word();
  return (bits.word() * 2 ** 21 + (low >>> 11)) * 2 ** -53;
}

/**
 * 52 bits in (0, 1).
 * @param {ChaCha8} bits
 */
function open(bits) {
  const low = bits.word();
  return (bits.word() * 2 ** 20 + (low >>> 12)) * 2 ** -52 + 2 ** -53;
}

/**
 * Dequantization noise in [0, 1), multiples of 2^−16, which float32 can add to a pixel exactly.
 * @param {bigint} seed
 * @param {bigint} draw
 * @param {bigint} number of the image
 * @param {number} count
 * @returns {Float32Array}
 */
export function uniform(seed, draw, number, count) {
  const bits = generator(seed, 'dequantization', draw, number);
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) values[i] = (bits.word() >>> 16) * 2 ** -16;
  return values;
}
