// How typical an image is: glow-runtime's `ReferenceScores`, where the bundle brings scores of a reference set.

/**
 * @typedef {object} Comparison
 * @property {number} deviations signed distance from the reference set's mean, in its standard deviations
 * @property {number} pValue how probable a distance at least as large is in the reference set
 */

/**
 * @param {number[]} scores of the reference set
 * @param {number} score
 * @returns {Comparison}
 */
export function compare(scores, score) {
  const n = scores.length;
  const mean = scores.reduce((sum, value) => sum + value, 0) / n;
  const variance = scores.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
  const distance = Math.abs(score - mean);
  const farther = scores.filter((value) => Math.abs(value - mean) >= distance).length;
  return { deviations: (score - mean) / Math.sqrt(variance), pValue: (1 + farther) / (1 + n) };
}

/**
 * Scores of a reference set that can be compared with bits/dim of this model.
 * @param {any} file what reference.json holds
 * @param {string} modelSha256
 * @returns {number[] | null}
 */
export function readReference(file, modelSha256) {
  if (file === null) return null;
  if (file.format !== 'glow-reference-scores' || file.model_sha256 !== modelSha256) {
    throw new Error('reference.json belongs to another model: make it again with glow score --save-reference');
  }
  return file.kind === 'bits-per-dim' && file.scores.length > 1 ? file.scores : null;
}
