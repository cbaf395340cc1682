//! Fits are compared with latents that were made so that the answer is known, and with the conditions that
//! the least loss has to meet.
use super::*;
use crate::{Architecture, fixtures};
use glow_models::random::{self, Purpose};

fn manifest() -> Manifest {
    fixtures::manifest(Architecture { height: 8, width: 8, levels: 2, ..Default::default() })
}

const DIMS: usize = 192;

/// n latents, standard normal but for what `change` does to them; every third image has the attribute.
fn latents(n: usize, change: impl Fn(bool, &mut [f32])) -> (Array2<f32>, Vec<bool>) {
    let labels: Vec<bool> = (0..n).map(|i| i % 3 == 0).collect();
    let mut flat = Array2::zeros((n, DIMS));
    for (i, mut row) in flat.outer_iter_mut().enumerate() {
        let z = random::normal(9, Purpose::Latents, i as u64, None);
        row.iter_mut().zip(z).for_each(|(to, z)| *to = z);
        change(labels[i], row.as_slice_mut().unwrap());
    }
    (flat, labels)
}

/// Apart by 3 along the first number; the second goes along with the first in all images.
fn correlated(n: usize) -> (Array2<f32>, Vec<bool>) {
    latents(n, |label, row| {
        row[0] += if label { 3.0 } else { 0.0 };
        row[1] = 0.9 * row[0] + 0.3 * row[1];
    })
}

fn fitted(method: Method, (flat, labels): &(Array2<f32>, Vec<bool>)) -> Attributes {
    let mut attributes = Attributes::new(&manifest());
    let options = FitOptions { method, ..Default::default() };
    attributes.fit("A", flat.view(), labels, &options).unwrap();
    attributes
}

const METHODS: [Method; 3] = [Method::MeanDifference, Method::RIDGE, Method::LOGISTIC];

fn cosine(a: &Array1<f32>, b: &Array1<f32>) -> f64 {
    let (a, b) = (a.mapv(f64::from), b.mapv(f64::from));
    a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt()
}

#[test]
fn strength_one_goes_from_one_mean_to_the_other() {
    let data = correlated(300);
    let latents = Latents::from_flat(data.0.view(), &manifest().latent_shapes).unwrap();
    for method in METHODS {
        let attributes = fitted(method, &data);
        let coordinates = attributes.project(&latents).unwrap();
        let mean = |of: bool| {
            let chosen: Vec<f64> =
                (0..300).filter(|&i| data.1[i] == of).map(|i| coordinates[[i, 0]]).collect();
            chosen.iter().sum::<f64>() / chosen.len() as f64
        };
        assert!((mean(true) - 0.5).abs() < 1e-5 && (mean(false) + 0.5).abs() < 1e-5, "{method:?}");
        let moved = attributes.project(&attributes.apply(&latents, &[("A", -0.7)]).unwrap()).unwrap();
        for (moved, before) in moved.iter().zip(&coordinates) {
            assert!((moved - before + 0.7).abs() < 1e-4, "{method:?}: {before} {moved}");
        }
        let statistics = attributes.get("A").unwrap().statistics();
        assert_eq!((statistics.positives, statistics.negatives), (100, 200));
        let accuracy = statistics.held_out_accuracy.unwrap();
        assert!(accuracy > 0.75, "{method:?}: {accuracy}");
    }
}

#[test]
fn the_mean_difference_is_one() {
    let (flat, labels) = correlated(30);
    let attributes = fitted(Method::MeanDifference, &(flat.clone(), labels.clone()));
    let mean = |of: bool| {
        let chosen: Vec<usize> = (0..30).filter(|&i| labels[i] == of).collect();
        flat.select(Axis(0), &chosen).mean_axis(Axis(0)).unwrap()
    };
    for (w, expected) in attributes.get("A").unwrap().direction().iter().zip(&(mean(true) - mean(false))) {
        assert!((w - expected).abs() < 1e-5, "{w} {expected}");
    }
}

/// Of two numbers that go together the regressions take the one that tells the kinds apart, where the mean
/// difference takes both.
#[test]
fn regressions_discount_what_varies_anyway() {
    let data = latents(3000, |label, row| {
        let common = 2.0 * row[1];
        row[1] = common;
        row[0] = 0.5 * row[0] + common + if label { 3.0 } else { 0.0 };
    });
    let weights = |method| fitted(method, &data).get("A").unwrap().direction().clone();
    let mean = weights(Method::MeanDifference);
    assert!(mean[1].abs() < 0.15 * mean[0], "{} {}", mean[0], mean[1]);
    for method in [Method::Ridge { penalty: 1e-3 }, Method::Logistic { penalty: 1e-3 }] {
        let w = weights(method);
        assert!((w[1] / w[0] + 1.0).abs() < 0.15, "{method:?}: {} {}", w[0], w[1]);
    }
}

/// The gradient of each loss, computed plainly, vanishes at the direction found. Also where there are more
/// dimensions than images.
#[test]
fn the_loss_is_least() {
    for n in [90, 400] {
        let (flat, labels) = correlated(n);
        let x = flat.mapv(f64::from);
        let x = &x - &x.mean_axis(Axis(0)).unwrap();
        let variance = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
        let y: Array1<f64> = labels.iter().map(|&label| f64::from(u8::from(label))).collect();
        for method in [Method::RIDGE, Method::LOGISTIC] {
            // The length of w is normalised: find the factor and the constant of the least loss by search.
            let attributes = fitted(method, &(flat.clone(), labels.clone()));
            let w = attributes.get("A").unwrap().direction().mapv(f64::from);
            let along = x.dot(&w);
            let residual = |factor: f64, constant: f64| match method {
                Method::Ridge { .. } => &along * factor + constant - &y,
                _ => along.mapv(|s| 1.0 / (1.0 + (-s * factor - constant).exp())) - &y,
            };
            let (Method::Ridge { penalty } | Method::Logistic { penalty }) = method else { unreachable!() };
            let (mut factor, mut constant) = (0.0, y.mean().unwrap());
            for _ in 0..10_000 {
                let residual = residual(factor, constant);
                factor -= 0.2 * (residual.dot(&along) / n as f64 / w.dot(&w) + factor * penalty * variance);
                constant -= 0.2 * residual.mean().unwrap();
            }
            let gradient = |factor: f64, constant: f64| {
                x.t().dot(&residual(factor, constant)) / n as f64 + &w * (factor * penalty * variance)
            };
            let norm = |v: &Array1<f64>| v.dot(v).sqrt();
            let (start, end) = (norm(&gradient(0.0, y.mean().unwrap())), norm(&gradient(factor, constant)));
            assert!(end < 1e-3 * start, "{method:?}, {n} images: {start} {end}");
        }
    }
}

#[test]
fn many_numbers_and_the_smallest_penalty_still_converge() {
    let data = correlated(100);
    let cosines: Vec<f64> = [Method::Ridge { penalty: 1e-4 }, Method::Logistic { penalty: 1e-4 }]
        .into_iter()
        .map(|method| {
            let attributes = fitted(method, &data);
            cosine(
                attributes.get("A").unwrap().direction(),
                fitted(Method::MeanDifference, &data).get("A").unwrap().direction(),
            )
        })
        .collect();
    assert!(cosines.iter().all(|cosine| (0.1..0.99).contains(cosine)), "{cosines:?}");
}

#[test]
fn an_orthogonal_direction_leaves_the_others_alone() {
    let (flat, first) = correlated(300);
    let second: Vec<bool> = flat.outer_iter().map(|row| row[1] > 1.0).collect();
    let latents = Latents::from_flat(flat.view(), &manifest().latent_shapes).unwrap();
    let fit = |orthogonalise| {
        let mut attributes = fitted(Method::MeanDifference, &(flat.clone(), first.clone()));
        let options = FitOptions { orthogonalise, ..Default::default() };
        attributes.fit("B", flat.view(), &second, &options).unwrap();
        let moved = attributes.project(&attributes.apply(&latents, &[("B", 1.0)]).unwrap()).unwrap();
        (moved - attributes.project(&latents).unwrap(), attributes)
    };
    let (moved, _) = fit(false);
    assert!(moved[[0, 0]] > 0.3 && (moved[[0, 1]] - 1.0).abs() < 1e-4, "{moved}");
    let (moved, attributes) = fit(true);
    assert!(moved[[0, 0]].abs() < 1e-5 && (moved[[0, 1]] - 1.0).abs() < 1e-4, "{moved}");
    assert!(attributes.get("B").unwrap().statistics().orthogonalised);
    // Several at once add up, in any order.
    let both = attributes.apply(&latents, &[("A", 0.5), ("B", -1.0)]).unwrap();
    let one_by_one = attributes.apply(&attributes.apply(&latents, &[("B", -1.0)]).unwrap(), &[("A", 0.5)]);
    let difference = both.sub(&one_by_one.unwrap()).unwrap().flat();
    assert!(difference.iter().all(|v| v.abs() < 1e-5));
    // The same labels again leave nothing.
    let mut attributes = attributes;
    let options = FitOptions { orthogonalise: true, ..Default::default() };
    let error = attributes.fit("C", flat.view(), &first, &options).unwrap_err().to_string();
    assert!(error.contains("a mixture of those of the other"), "{error}");
    // To fit one again replaces it, and it is not made orthogonal to itself.
    attributes.fit("A", flat.view(), &first, &options).unwrap();
    assert_eq!(attributes.iter().map(Attribute::name).collect::<Vec<_>>(), ["A", "B"]);
}

#[test]
fn misuse_is_named() {
    let (flat, labels) = correlated(6);
    let fit = |name: &str, flat: &Array2<f32>, labels: &[bool], method| {
        let options = FitOptions { method, ..Default::default() };
        Attributes::new(&manifest()).fit(name, flat.view(), labels, &options).map(drop)
    };
    let ok = Method::MeanDifference;
    let mut nan = flat.clone();
    nan[[3, 7]] = f32::NAN;
    let same = Array2::ones((6, DIMS));
    let attributes = fitted(ok, &(flat.clone(), labels.clone()));
    let (one, other) =
        (Latents::zeros(1, &manifest().latent_shapes), Latents::zeros(1, &manifest().latent_shapes[..1]));
    let cases: Vec<(Result<(), Error>, &str)> = vec![
        (fit("", &flat, &labels, ok), "name = \"\" is out of range: 1 to 100 characters"),
        (fit("a=b", &flat, &labels, ok), "name = \"a=b\""),
        (fit("a\n", &flat, &labels, ok), "name = \"a\\n\""),
        (fit("__metadata__", &flat, &labels, ok), "name = "),
        (fit("A", &flat, &labels[1..], ok), "there are 5 labels for 6 images"),
        (fit("A", &flat, &[true; 6], ok), "there is no image without it"),
        (fit("A", &flat, &[false; 6], ok), "there is no image with it"),
        (fit("A", &Array2::zeros((0, DIMS)), &[], ok), "there is no image with it"),
        (fit("A", &Array2::zeros((6, 5)), &labels, ok), "latents has shape [6, 5], expected [N, 192]"),
        (fit("A", &nan, &labels, ok), "the given latent of image 3 is NaN"),
        (fit("A", &same, &labels, ok), "do not differ"),
        (fit("A", &same, &labels, Method::RIDGE), "do not differ"),
        (fit("A", &same, &labels, Method::LOGISTIC), "do not differ"),
        (fit("A", &flat, &labels, Method::Ridge { penalty: 0.0 }), "penalty = 0 is out of range"),
        (fit("A", &flat, &labels, Method::Logistic { penalty: f64::NAN }), "penalty = NaN"),
        (attributes.apply(&one, &[("B", 1.0)]).map(drop), "there is no attribute \"B\": there are A"),
        (attributes.apply(&one, &[("A", f32::NAN)]).map(drop), "strength = NaN"),
        (attributes.apply(&other, &[]).map(drop), "expected 2 levels"),
        (attributes.project(&other).map(drop), "expected 2 levels"),
        (Attributes::new(&manifest()).remove("A").map(drop), "the model has none, fit some"),
    ];
    for (result, expected) in cases {
        let error = result.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    }
    // Few images are enough, but not for an accuracy.
    assert_eq!(attributes.get("A").unwrap().statistics().held_out_accuracy, None);
}
