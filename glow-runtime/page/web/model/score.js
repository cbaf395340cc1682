// From the likelihoods of several draws to a score, as glow-runtime's `Score`.

/**
 * Mean, standard error of the mean (null for one draw), and the mean in bits/dim: −log p / (ln 2 · H·W·C).
 * @param {number[]} logProbs in nats
 * @param {number} dims H·W·C
 */
export function meanOf(logProbs, dims) {
  const n = logProbs.length;
  const mean = logProbs.reduce((sum, value) => sum + value, 0) / n;
  const squares = logProbs.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return {
    logProb: mean,
    standardError: n > 1 ? Math.sqrt(squares / (n - 1) / n) : null,
    bitsPerDim: -mean / (Math.LN2 * dims),
  };
}
