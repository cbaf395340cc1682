//! Gauss-Jordan elimination, for the small systems of thawing.

/// Solves A·X = B: `system` is \[A | B\] row by row, A of `n` rows and columns; A becomes the unit matrix
/// and B the solution X. Gives log|det A|, or `None` if A is singular or not finite.
pub(super) fn eliminate(system: &mut [f64], n: usize) -> Option<f64> {
    let width = system.len().checked_div(n)?;
    let mut log_det = 0.0;
    for k in 0..n {
        let pivot = (k..n)
            .max_by(|&a, &b| system[a * width + k].abs().total_cmp(&system[b * width + k].abs()))
            .unwrap_or(k);
        let value = system[pivot * width + k];
        if value == 0.0 || !value.is_finite() {
            return None;
        }
        log_det += value.abs().ln();
        for column in 0..width {
            system.swap(k * width + column, pivot * width + column);
        }
        system[k * width..(k + 1) * width].iter_mut().for_each(|entry| *entry /= value);
        let row = system[k * width..(k + 1) * width].to_vec();
        for (i, other) in system.chunks_mut(width).enumerate() {
            let factor = other[k];
            if i != k && factor != 0.0 {
                other[k..].iter_mut().zip(&row[k..]).for_each(|(entry, row)| *entry -= factor * row);
            }
        }
    }
    Some(log_det)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solution_and_determinant_by_hand() {
        // 2x + y = 5, x + 3y = 10; the rows swapped, as the first pivot is 0 in one of them.
        let mut system = [0.0, 2.0, 1.0, 6.0, 1.0, 1.0, 0.0, 3.0, 3.0, 0.0, 1.0, 6.0];
        let log_det = eliminate(&mut system, 3).unwrap();
        let solution: Vec<f64> = system.chunks(4).map(|row| row[3]).collect();
        let check =
            [2.0 * solution[1] + solution[2], solution[0] + solution[1], 3.0 * solution[0] + solution[2]];
        assert!(check.iter().zip([6.0, 3.0, 6.0]).all(|(a, b)| (a - b).abs() < 1e-14), "{solution:?}");
        // 0·1 − 2·(1·1 − 0·3) + 1·(1·0 − 1·3) = −5
        assert!((log_det - 5f64.ln()).abs() < 1e-14);
        assert!(eliminate(&mut [1.0, 2.0, 2.0, 4.0], 2).is_none());
        assert!(eliminate(&mut [f64::NAN], 1).is_none());
    }
}
