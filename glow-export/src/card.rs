//! The model card: `README.md` of a bundle, for whoever finds the folder.
use glow_models::{
    Architecture, Coupling, Int8Layout, LatentShape, Manifest, Numerics, Precision, Quantisation, Weights,
};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// File name of the card.
pub(crate) const CARD_FILE: &str = "README.md";
/// What stands in the last line before the hash of all lines above.
const SEAL: &str = "<!-- written by glow-export; sha256 of the lines above: ";

/// The card of a bundle. `data` is the data set as the training names it, `licence` what the user says.
pub(crate) fn card(manifest: &Manifest, data: &str, licence: Option<&str>) -> String {
    let (a, p) = (&manifest.architecture, &manifest.provenance);
    let mut text = format!("# {}×{} Glow, {}\n\n", a.width, a.height, manifest.precision);
    text += "A Glow: a normalizing flow that draws images, encodes images to latents and back, and gives their exact \
             likelihood (Kingma & Dhariwal, 2018).\n\n";
    text += "| | |\n| --- | --- |\n";
    let mut row = |name: &str, value: String| {
        // A bar would begin another cell.
        let value = value.replace('|', "\\|").replace(['\n', '\r'], " ");
        writeln!(text, "| {name} | {value} |").expect("a string takes all");
    };
    row("images", format!("{} × {} pixels, {} channels, {} bits", a.width, a.height, a.channels, a.n_bits));
    row("architecture", architecture(a));
    if a.classes > 0 {
        let names = manifest.class_names.join(", ");
        row("classes", format!("{}{}{names}", a.classes, if names.is_empty() { "" } else { ": " }));
    }
    row("latents", manifest.latent_shapes.iter().map(shape).collect::<Vec<_>>().join(", "));
    row("training data", if data.is_empty() { "not stated".into() } else { data.into() });
    let weights = match (p.weights, &p.average) {
        (Weights::Averaged, None) => "averaged weights".into(),
        (Weights::Averaged, Some(memory)) => format!("weights averaged over {memory}"),
        (Weights::Raw, _) => "the optimiser's own weights".into(),
    };
    row(
        "training",
        format!("{} steps, {} images seen; {weights} of {}", p.step, p.images_seen, p.checkpoint),
    );
    row("validation", p.bits_per_dim.map_or("not stated".into(), |bits| format!("{bits:.4} bits/dim")));
    row("batch", manifest.batch.map_or("any".into(), |images| format!("{images} images, no other number")));
    row("ONNX operator set", manifest.opset.to_string());
    row("licence", licence.unwrap_or("not stated").into());
    row("written by", p.generator.clone());
    text += "\n## Precision\n\n";
    text += &precision(manifest.precision, manifest.numerics.as_ref());
    text += &manifest.quantisation.as_ref().map(quantisation).unwrap_or_default();
    text += &usage(manifest);
    let hash = hash(&text);
    text + SEAL + &hash + " -->\n"
}

/// Whether a text is a card as this program wrote it, so that nothing is lost with it.
pub(crate) fn is_untouched(text: &str) -> bool {
    text.rfind(SEAL).is_some_and(|at| text[at..] == format!("{SEAL}{} -->\n", hash(&text[..at])))
}

fn hash(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn architecture(a: &Architecture) -> String {
    let coupling = match a.coupling {
        Coupling::Additive => "additive",
        Coupling::Affine => "affine",
    };
    format!(
        "{} levels of {} steps, {coupling} coupling, {} hidden channels, permutation {:?}",
        a.levels, a.depth, a.hidden, a.permutation
    )
}

fn shape(shape: &LatentShape) -> String {
    format!("{}×{}×{}", shape.channels, shape.height, shape.width)
}

/// How the networks became 8-bit integers.
fn quantisation(made: &Quantisation) -> String {
    let mut text = format!(
        "The 8-bit steps were calibrated on {} images of {}, in the layout for {}.",
        made.calibration_images,
        made.calibration,
        match made.layout {
            Int8Layout::Cpu => "CPUs and OpenVINO",
            Int8Layout::TensorRt => "TensorRT",
        }
    );
    if !made.kept.is_empty() {
        text += &format!(" The networks of these steps of flow are in fp32: {}.", made.kept.join(", "));
    }
    text + "\n\n"
}

fn precision(precision: Precision, numerics: Option<&Numerics>) -> String {
    let Some(n) = numerics else { return "Not measured: exported with `--no-verify`.\n\n".into() };
    let images = if n.real { "images held out" } else { "samples of the model" };
    let mut text = format!(
        "On {} {images}, with the same noise:\n\n| format of the coupling networks | bits/dim |\n| --- | --- |\n",
        n.images
    );
    if precision != Precision::Fp32 {
        text += &format!("| fp32 | {:.4} |\n", n.fp32_bits_per_dim);
    }
    text += &format!("| {precision}, this bundle | {:.4} |\n\n", n.bits_per_dim);
    if let Some(largest) = &n.largest_activation {
        text += &format!("The largest activation is {:.1}, in {}.\n\n", largest.value, largest.layer);
    }
    if let Some(most) = n.reliable_bits_per_dim {
        text += &format!("Scores above {most:.2} bits/dim are not to be relied upon.\n\n");
    }
    text
}

fn usage(manifest: &Manifest) -> String {
    let a = &manifest.architecture;
    let images = manifest.batch.unwrap_or(4);
    let label = if a.classes > 0 {
        format!("feed[\"label\"] = np.zeros({images}, np.int64)  # 0 … {}\n", a.classes - 1)
    } else {
        String::new()
    };
    let labels = if a.classes > 0 { ".labels(Some(vec![0; 4]))" } else { "" };
    format!(
        r#"## Use

In Rust, with the crate `glow-runtime`:

```rust
let glow = glow_runtime::Glow::load("this-folder")?;
let images = glow.sample(4, &glow_runtime::SampleOptions::new(){labels})?; // uint8 [4, {height}, {width}, {channels}]
```

In Python, with the packages `onnxruntime` and `numpy`:

```python
import numpy as np, onnxruntime

decoder = onnxruntime.InferenceSession("decoder.onnx")
feed = {{
    i.name: 0.7 * np.random.randn({images}, *i.shape[1:]).astype(np.float32)  # 0.7 is the temperature
    for i in decoder.get_inputs()
    if i.name.startswith("eps_")
}}
{label}images = decoder.run(["image"], feed)[0]  # uint8 [{images}, {height}, {width}, {channels}]
```

`encoder.onnx` takes `image` (uint8) and `noise` (float32 in [0, 1)) of the same shape, and gives the latents `eps_0` …
and `log_prob` in nats. bits/dim = −log_prob / ({dims} · ln 2).

In a browser: `glow page this-folder --out site` makes a page that runs the model there.

"#,
        height = a.height,
        width = a.width,
        channels = a.channels,
        dims = a.dims(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use glow_models::Provenance;

    fn manifest(classes: usize) -> Manifest {
        let provenance = Provenance {
            generator: "glow-export".into(),
            checkpoint: "best|x.safetensors".into(),
            weights: Weights::Averaged,
            average: None,
            step: 7,
            images_seen: 448,
            bits_per_dim: Some(3.5),
        };
        Manifest::new(Architecture { classes, ..Default::default() }, Precision::Int8, 13, provenance)
    }

    #[test]
    fn a_card_says_what_the_manifest_does() {
        let mut manifest = manifest(2);
        manifest.class_names = vec!["cats".into(), "dogs".into()];
        let mut numerics = Numerics::default();
        (numerics.bits_per_dim, numerics.fp32_bits_per_dim) = (3.51, 3.49);
        manifest.numerics = Some(numerics);
        let mut made = Quantisation::default();
        (made.calibration, made.calibration_images) = ("images:photos".into(), 32);
        made.kept = vec!["level0.step05".into()];
        manifest.quantisation = Some(made);
        let card = card(&manifest, "images:photos", Some("CC BY 4.0"));
        for part in [
            "| classes | 2: cats, dogs |",
            "| training data | images:photos |",
            "| validation | 3.5000 bits/dim |",
            "| licence | CC BY 4.0 |",
            "| fp32 | 3.4900 |",
            "| int8, this bundle | 3.5100 |",
            "calibrated on 32 images of images:photos",
            "in fp32: level0.step05.",
            "of best\\|x.safetensors",
            "feed[\"label\"]",
        ] {
            assert!(card.contains(part), "{part}: {card}");
        }
        let plain = super::card(&self::manifest(0), "", None);
        assert!(
            plain.contains("| licence | not stated |") && plain.contains("| training data | not stated |")
        );
        assert!(!plain.contains("label"), "{plain}");
    }

    #[test]
    fn a_card_that_somebody_changed_is_noticed() {
        let card = card(&manifest(0), "", None);
        assert!(is_untouched(&card));
        assert!(!is_untouched(&card.replace("not stated", "MIT")));
        assert!(!is_untouched(&format!("{card}My notes.\n")));
        assert!(!is_untouched("# My model\n") && !is_untouched(""));
    }
}
