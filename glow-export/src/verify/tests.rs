//! The proof of the lower precisions has to fail where a bundle is wrong: faults of one layer among many, as a
//! bug in freezing or a damaged tensor would make them.
#[path = "../../tests/support/mod.rs"]
mod support;

use super::{Images, Lowered, Quality, Verification, prove};
use crate::frozen::{Frozen, Tensor};
use crate::parameters::Parameters;
use crate::precision::{CouplingInputs, Emulation, half, int8};
use crate::{Draft, ExportError, Precision, Reference, Weights, fold, graphs, provenance};
use glow_models::{Architecture, Checkpoint, Coupling, Int8Layout, Manifest, Quantisation};
use half::f16;
use safetensors::Dtype;

/// The presets' depth on small images, in narrow networks.
fn deep(coupling: Coupling) -> Architecture {
    Architecture {
        height: 16,
        width: 16,
        levels: 1,
        depth: 32,
        hidden: 16,
        coupling,
        ..Architecture::default()
    }
}

/// What is proven.
#[derive(Debug, Clone, Copy)]
enum Format {
    Fp16,
    Int8(Int8Layout),
}

impl Format {
    fn precision(self) -> Precision {
        match self {
            Self::Fp16 => Precision::Fp16,
            Self::Int8(_) => Precision::Int8,
        }
    }

    fn quantisation(self) -> Option<Quantisation> {
        let Self::Int8(layout) = self else { return None };
        let mut made = Quantisation::default();
        made.layout = layout;
        Some(made)
    }
}

/// A deep model and what its proof needs.
struct Setup {
    checkpoint: Checkpoint,
    reference: Reference,
    fp32: Frozen,
    images: Images,
    folder: tempfile::TempDir,
}

impl Setup {
    fn new(coupling: Coupling) -> Self {
        // Gains near 1, as trained models have them: random ones would multiply over 32 steps.
        let (folder, path) = support::changed_checkpoint(
            &deep(coupling),
            |_| {},
            |_, name, values| {
                let gain =
                    [".actnorm.logs", ".log_s", ".lower", ".upper"].iter().any(|end| name.ends_with(end));
                if gain && !name.contains(".conv") {
                    values.iter_mut().for_each(|value| *value *= 0.05);
                }
                if name.ends_with("conv3.bias") && coupling == Coupling::Affine {
                    // Raw scales of which sigmoid(raw + 2) is about 1.
                    values.iter_mut().skip(1).step_by(2).for_each(|value| *value += 5.0);
                }
            },
        );
        let checkpoint = Checkpoint::open(&path).unwrap();
        let parameters = || Parameters::load(&checkpoint, Weights::Averaged.into()).unwrap();
        let reference = Reference::from_parameters(parameters()).unwrap();
        let (fp32, images) =
            (fold::fold(&parameters(), Precision::Fp32).unwrap(), Images::smooth(&deep(coupling)));
        Self { reference, fp32, images, checkpoint, folder }
    }

    fn frozen(&self, format: Format) -> Frozen {
        match format {
            Format::Int8(layout) => {
                let inputs = CouplingInputs::collect(&self.reference, &self.images).unwrap();
                int8(&self.fp32, &inputs, layout, &[]).unwrap()
            }
            Format::Fp16 => half(self.fp32.clone()).unwrap(),
        }
    }

    /// Proves a bundle of `written` tensors, of which `meant` is what they should be.
    fn prove(
        &self,
        format: Format,
        written: Frozen,
        meant: &Frozen,
    ) -> Result<(Verification, Quality), ExportError> {
        let architecture = self.reference.architecture();
        let emulation = Emulation::of(meant, &self.fp32, architecture, format.precision()).unwrap();
        let bundle = |name: &str, frozen, precision| {
            let folder = self.folder.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            let provenance = provenance(&self.checkpoint, Weights::Averaged.into());
            let mut manifest = Manifest::new(architecture.clone(), precision, graphs::OPSET, provenance);
            manifest.quantisation = format.quantisation();
            Draft::write(&folder, frozen, manifest, false).unwrap();
            folder
        };
        let lowered = bundle("lowered", written, format.precision());
        let fp32 = bundle("fp32", self.fp32.clone(), Precision::Fp32);
        let beside = Lowered { fp32: &fp32, emulation: &emulation };
        prove(&lowered, Some(beside), &self.reference, Some(&self.images), false)
    }
}

/// What goes wrong between freezing and writing.
type Fault = fn(Frozen) -> Frozen;

/// Doubles the scale of one convolution's weights.
fn wrong_scale(frozen: Frozen) -> Frozen {
    frozen
        .try_map(|tensor| {
            let layer = "level0.step16.coupling.conv2.weight";
            let double = |bytes: Vec<u8>| Ok(vec![Tensor { bytes: bytes.into(), ..tensor.clone() }]);
            match tensor.dtype {
                Dtype::F32 if tensor.name == format!("{layer}_scale") => {
                    double(tensor.array().iter().flat_map(|v| (2.0 * v).to_le_bytes()).collect())
                }
                Dtype::F16 if tensor.name == layer => {
                    let halves = tensor.bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32());
                    double(halves.flat_map(|v| f16::from_f32(2.0 * v).to_le_bytes()).collect())
                }
                _ => Ok(vec![tensor]),
            }
        })
        .unwrap()
}

/// Exchanges the second convolutions of two neighbouring networks.
fn swapped(frozen: Frozen) -> Frozen {
    let swap = |name: &str| {
        let [a, b] = ["level0.step09.coupling.conv2.", "level0.step10.coupling.conv2."];
        match name.strip_prefix(a) {
            Some(part) => Some(format!("{b}{part}")),
            None => name.strip_prefix(b).map(|part| format!("{a}{part}")),
        }
    };
    frozen
        .try_map(|tensor| {
            Ok(vec![Tensor { name: swap(&tensor.name).unwrap_or(tensor.name.clone()), ..tensor }])
        })
        .unwrap()
}

#[test]
fn one_wrong_layer_among_32_is_refused_and_named() {
    for coupling in [Coupling::Additive, Coupling::Affine] {
        let setup = Setup::new(coupling);
        for format in [Format::Fp16, Format::Int8(Int8Layout::Cpu), Format::Int8(Int8Layout::TensorRt)] {
            let right = setup.frozen(format);
            let (sound, _) = setup
                .prove(format, right.clone(), &right)
                .unwrap_or_else(|error| panic!("{coupling:?} {format:?}: {}", support::chain(&error)));
            assert!(sound.holds());
            let faults: [(&str, Fault); 2] = [("level0.step16", wrong_scale), ("level0.step", swapped)];
            for (place, fault) in faults {
                let wrong = fault(right.clone());
                // The number format was computed wrongly: its emulation shows it.
                match setup.prove(format, wrong.clone(), &wrong) {
                    Err(ExportError::Inexact(table) | ExportError::Verification(table)) => {
                        let worst = table.checks.iter().find_map(|check| check.place.as_deref()).unwrap();
                        assert!(worst.starts_with(place), "{coupling:?} {format:?} {worst}\n{table}");
                    }
                    Ok((table, _)) => panic!("{coupling:?} {format:?} {place} passed\n{table}"),
                    Err(other) => panic!("{}", support::chain(&other)),
                }
                // It was computed rightly and written wrongly: the bundle differs from the emulation.
                match setup.prove(format, wrong, &right) {
                    Err(ExportError::Verification(_)) => {}
                    Ok((table, _)) => panic!("{coupling:?} {format:?} {place}, written, passed\n{table}"),
                    Err(other) => panic!("{}", support::chain(&other)),
                }
            }
        }
    }
}
