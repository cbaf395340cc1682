//! Checkpoints of random models whose numbers have the sizes that training gives them.
use glow_models::{Architecture, Checkpoint, CheckpointMeta, Config, Coupling, Parameter, write_atomically};
use ndarray::Array2;
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use std::collections::HashMap;
use std::path::Path;

/// A tensor's elements.
#[derive(Debug, Clone)]
pub enum Tensor {
    Floats(Vec<f32>),
    Integers(Vec<i64>),
}

/// The tensors of a model by parameter name.
pub type Tensors = HashMap<String, Tensor>;

/// A model's tensors from a seed.
pub fn random_tensors(architecture: &Architecture, seed: u64) -> Tensors {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut tensors = Tensors::new();
    for parameter in architecture.parameters() {
        if !tensors.contains_key(&parameter.name) {
            add(&mut tensors, &mut random, &parameter, architecture);
        }
    }
    tensors
}

fn add(tensors: &mut Tensors, random: &mut ChaCha8Rng, parameter: &Parameter, architecture: &Architecture) {
    let (name, shape) = (parameter.name.as_str(), &parameter.shape);
    let length: usize = shape.iter().product();
    if let Some(layer) = name.strip_suffix(".permutation.lower") {
        return add_lu(tensors, random, &format!("{layer}.permutation"), shape[0]);
    }
    if name.ends_with(".permutation.indices") {
        let mut indices: Vec<i64> = (0..length as i64).collect();
        indices.shuffle(random);
        tensors.insert(name.into(), Tensor::Integers(indices));
        return;
    }
    if name.ends_with(".permutation.weight") {
        let rotation = rotation(random, shape[0]);
        tensors.insert(name.into(), Tensor::Floats(rotation.iter().map(|&x| x as f32).collect()));
        return;
    }
    // Weights keep the size of what passes through them; what one step changes is less in a deep model.
    let change = (3.0 / architecture.depth as f64).sqrt();
    let fan_in = shape[1..].iter().product::<usize>() as f64;
    let size = match name.rsplit_once('.').map_or("", |(_, last)| last) {
        "weight" if name.contains("label") => 0.3,
        "weight" if name.contains("conv3") || name.contains("split") => 0.5 * change / fan_in.sqrt(),
        "weight" => 1.0 / fan_in.sqrt(),
        "edge" => 0.1,
        "logs" => 0.1 * change,
        _ => 0.2 * change,
    };
    // An affine coupling shrinks half of the channels by sigmoid(2); actnorm keeps their size.
    let flow_logs = name.ends_with(".actnorm.logs") && !name.contains("coupling");
    let centre = if flow_logs && architecture.coupling == Coupling::Affine { 0.02 } else { 0.0 };
    let mut values: Vec<f32> = (0..length).map(|_| (centre + size * normal(random)) as f32).collect();
    // The border's weights, the last input's, start at the others' size but grow: they meet few pixels.
    if shape.len() == 4 && shape[2] == 3 && shape[1] > 1 {
        for filter in values.chunks_mut(9 * shape[1]) {
            filter[9 * (shape[1] - 1)..]
                .iter_mut()
                .for_each(|value| *value += (0.1 * change * normal(random)) as f32);
        }
    }
    tensors.insert(name.into(), Tensor::Floats(values));
}

/// P, L and U of a random rotation, slightly moved, as training does.
fn add_lu(tensors: &mut Tensors, random: &mut ChaCha8Rng, layer: &str, n: usize) {
    let mut m = rotation(random, n);
    let mut origin: Vec<usize> = (0..n).collect();
    for k in 0..n {
        let pivot = (k..n).max_by(|&a, &b| m[[a, k]].abs().total_cmp(&m[[b, k]].abs())).unwrap();
        origin.swap(k, pivot);
        (0..n).for_each(|j| m.swap([k, j], [pivot, j]));
        for i in k + 1..n {
            m[[i, k]] /= m[[k, k]];
            for j in k + 1..n {
                m[[i, j]] -= m[[i, k]] * m[[k, j]];
            }
        }
    }
    let mut rows = vec![0; n];
    origin.iter().enumerate().for_each(|(i, &from)| rows[from] = i as i64);
    let sign = m.diag().mapv(|d| d.signum() as f32).to_vec();
    let log_s = m.diag().mapv(|d| (d.abs().ln() + 0.02 * normal(random)) as f32).to_vec();
    // The parts that do not count hold nonsense, which must indeed not count.
    let lower = Array2::from_shape_fn((n, n), |(i, j)| if j < i { m[[i, j]] as f32 } else { 9.0 });
    let upper = Array2::from_shape_fn((n, n), |(i, j)| if i < j { m[[i, j]] as f32 } else { 9.0 });
    for (part, values) in [
        ("lower", lower.into_raw_vec_and_offset().0),
        ("upper", upper.into_raw_vec_and_offset().0),
        ("log_s", log_s),
        ("sign_s", sign),
    ] {
        tensors.insert(format!("{layer}.{part}"), Tensor::Floats(values));
    }
    tensors.insert(format!("{layer}.rows"), Tensor::Integers(rows));
}

/// Gram-Schmidt on a Gaussian matrix.
fn rotation(random: &mut ChaCha8Rng, n: usize) -> Array2<f64> {
    let mut m = Array2::from_shape_simple_fn((n, n), || normal(random));
    for i in 0..n {
        for k in 0..i {
            let along = m.row(i).dot(&m.row(k));
            let other = m.row(k).to_owned();
            m.row_mut(i).scaled_add(-along, &other);
        }
        let norm = m.row(i).dot(&m.row(i)).sqrt();
        m.row_mut(i).mapv_inplace(|x| x / norm);
    }
    if random.random() { m } else { -m }
}

fn normal(random: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(random)
}

/// What a checkpoint of a trained model says.
pub fn meta(architecture: &Architecture) -> CheckpointMeta {
    CheckpointMeta {
        config: Config { model: architecture.clone(), ..Default::default() },
        step: 1000,
        images_seen: 64_000,
        train_images: 50_000,
        actnorm_initialised: true,
        bits_per_dim: Some(3.5),
        best_bits_per_dim: Some(3.4),
    }
}

/// Writes the checkpoint file.
pub fn write(path: &Path, meta: &CheckpointMeta, tensors: &Tensors) {
    write_atomically(path, |out| {
        Checkpoint::write(out, meta, |_, parameter| match &tensors[&parameter.name] {
            Tensor::Floats(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Tensor::Integers(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        })
    })
    .unwrap();
}

/// Writes a random model's checkpoint file.
pub fn write_random(path: &Path, architecture: &Architecture, seed: u64) {
    write(path, &meta(architecture), &random_tensors(architecture, seed));
}
