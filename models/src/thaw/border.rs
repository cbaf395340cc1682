//! From the map that a convolution made of the border back to a kernel that makes it.
use super::linear::eliminate;

/// Where a tap of a 3×3 kernel meets the border one wide around a map, in one direction: `None` is the
/// middle, for all positions that are alike.
fn outside(position: usize, tap: usize, size: usize) -> bool {
    position + tap == 0 || position + tap > size
}

/// Bias and kernel (row-major, the middle 0) whose response to an input of 1 on the border around the map
/// and 0 inside is `map` [height, width], each element of it equal to bias + Σ of the taps that meet the
/// border there. Of the kernels that do, where the map is too small to tell, the one of least norm.
///
/// `None` if no kernel gives this map to within `tolerance` of its largest element (or of 1).
pub(super) fn kernel(map: &[f64], height: usize, width: usize, tolerance: f64) -> Option<(f64, [f64; 9])> {
    // Positions one off the border are all alike: up to three rows by three columns tell everything.
    let distinct = |size: usize| if size < 3 { (0..size).collect() } else { vec![0, 1, size - 1] };
    let positions: Vec<(usize, usize)> =
        distinct(height).into_iter().flat_map(|y| distinct(width).into_iter().map(move |x| (y, x))).collect();
    // A row for each position: which of the nine taps it sums, and the bias in the place of the middle.
    let row = |y: usize, x: usize| -> [f64; 9] {
        std::array::from_fn(|tap| {
            let met = tap == 4 || outside(y, tap / 3, height) || outside(x, tap % 3, width);
            f64::from(u8::from(met))
        })
    };
    let rows: Vec<[f64; 9]> = positions.iter().map(|&(y, x)| row(y, x)).collect();
    // The solution of least norm of M·k = m is Mᵀ·λ with (M·Mᵀ)·λ = m.
    let n = rows.len();
    let mut system = Vec::with_capacity(n * (n + 1));
    for (a, &(y, x)) in rows.iter().zip(&positions) {
        system.extend(rows.iter().map(|b| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>()));
        system.push(map[y * width + x]);
    }
    eliminate(&mut system, n)?;
    let mut kernel = [0.0; 9];
    for (row, system) in rows.iter().zip(system.chunks(n + 1)) {
        kernel.iter_mut().zip(row).for_each(|(tap, met)| *tap += met * system[n]);
    }
    let largest = map.iter().fold(1.0, |largest: f64, value| largest.max(value.abs()));
    let close = |y: usize, x: usize| {
        let response: f64 = row(y, x).iter().zip(&kernel).map(|(met, tap)| met * tap).sum();
        (response - map[y * width + x]).abs() <= tolerance * largest
    };
    let gives_map = (0..height).all(|y| (0..width).all(|x| close(y, x)));
    let bias = std::mem::replace(&mut kernel[4], 0.0);
    gives_map.then_some((bias, kernel))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The response by the definition, on a padded map.
    fn response(bias: f64, kernel: &[f64; 9], height: usize, width: usize) -> Vec<f64> {
        let padded =
            |y: usize, x: usize| f64::from(u8::from(y == 0 || x == 0 || y == height + 1 || x == width + 1));
        let at = |y: usize, x: usize| -> f64 {
            (0..9).map(|tap| kernel[tap] * padded(y + tap / 3, x + tap % 3)).sum()
        };
        (0..height * width).map(|i| bias + at(i / width, i % width)).collect()
    }

    #[test]
    fn a_kernel_is_found_that_gives_the_map() {
        let taps: [f64; 9] = [0.3, -1.2, 0.7, 2.0, 0.0, -0.4, 0.9, 0.1, -0.6];
        for (height, width) in [(1, 1), (1, 2), (2, 1), (1, 5), (2, 2), (2, 3), (4, 2), (3, 3), (8, 5)] {
            let map = response(0.25, &taps, height, width);
            let (bias, found) = kernel(&map, height, width, 1e-12).expect("a response");
            let again = response(bias, &found, height, width);
            assert!(again.iter().zip(&map).all(|(a, b)| (a - b).abs() < 1e-12), "{height}×{width}");
            if height > 2 && width > 2 {
                assert!(
                    found.iter().zip(taps).all(|(a, b)| (a - b).abs() < 1e-12) && (bias - 0.25).abs() < 1e-12
                );
            }
        }
    }

    #[test]
    fn a_map_that_no_border_gives_is_none() {
        let mut map = response(0.0, &[1.0; 9], 6, 6);
        map[2 * 6 + 3] += 1e-3;
        assert!(kernel(&map, 6, 6, 1e-5).is_none());
    }
}
