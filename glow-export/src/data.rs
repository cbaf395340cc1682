//! Real images, of which some calibrate a quantised model and others measure how good it is.
use crate::ExportError;
use crate::verify::Images;
use glow_data::{DataError, DataKind, DataSpec, ImageShape, OpenOptions};
use glow_models::{CheckpointMeta, Data};
use ndarray::{Array3, Axis, stack};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// An image [H, W, C] and its class.
type Example = (Array3<u8>, Option<i64>);

/// Two sets of images that share none, of these sizes; where there are too few images, the first gets
/// half of them at most. They are drawn at random, always the same: from the test images of a data set
/// that has some, as no model was trained on those, and from all images otherwise.
pub(crate) fn draw(
    spec: &DataSpec,
    meta: &CheckpointMeta,
    first: usize,
    second: usize,
) -> Result<(Images, Images), ExportError> {
    let failed = |reason: String| ExportError::Calibration { data: spec.to_string(), reason };
    let mut examples = examples(spec, meta, first + second)?;
    if examples.len() < 2 {
        return Err(failed(format!("{} of its images can be read; at least 2 are needed", examples.len())));
    }
    let all = examples.len();
    let second = examples.split_off(first.min(all / 2));
    Ok((collect(examples), collect(second)))
}

fn collect(examples: Vec<Example>) -> Images {
    let views: Vec<_> = examples.iter().map(|(pixels, _)| pixels.view()).collect();
    let pixels = stack(Axis(0), &views).expect("all have the model's shape");
    Images { pixels, labels: examples.iter().map(|(_, label)| *label).collect() }
}

/// `most` of the images, or as many as can be read.
fn examples(spec: &DataSpec, meta: &CheckpointMeta, most: usize) -> Result<Vec<Example>, ExportError> {
    let failed = |source: DataError| ExportError::Data { data: spec.to_string(), source };
    let config = &meta.config;
    let model = &config.model;
    let shape = ImageShape { height: model.height, width: model.width, channels: model.channels };
    let is_celeba = spec.kind == DataKind::Celeba;
    let data = Data {
        // A few images are needed, not the whole set in memory; but npz files may be compressed.
        cache_bytes: if spec.kind == DataKind::Imagenet { Data::default().cache_bytes } else { 0 },
        attribute: if is_celeba { config.data.attribute.clone() } else { String::new() },
        validation: String::new(),
        random_crop: 0,
        ..config.data.clone()
    };
    let class_names = meta.class_names.clone();
    let options = OpenOptions { data, seed: config.training.seed, classes: model.classes, class_names };
    let splits = glow_data::open(spec, shape, &options).map_err(failed)?;
    let classes = splits.train.classes();
    if model.classes > 0 && meta.class_names.is_empty() && classes.len() != model.classes {
        return Err(ExportError::Calibration {
            data: spec.to_string(),
            reason: format!("the model has {} classes, and the data set {}", model.classes, classes.len()),
        });
    }
    let parts = if splits.official { vec![splits.validation] } else { vec![splits.validation, splits.train] };
    let mut places: Vec<_> =
        parts.iter().flat_map(|part| (0..part.len()).map(move |index| (part, index))).collect();
    places.shuffle(&mut ChaCha8Rng::seed_from_u64(0));
    let mut examples = Vec::new();
    for (part, index) in places {
        if examples.len() == most {
            break;
        }
        if let Some(example) = part.get(index).map_err(failed)? {
            let pixels = Array3::from_shape_vec((shape.height, shape.width, shape.channels), example.pixels)
                .expect("the model's shape");
            examples.push((pixels, (model.classes > 0).then_some(example.label.into())));
        }
    }
    Ok(examples)
}
