//! What a file does not say of its model: given by name, or read from the settings file that its
//! implementation wrote beside it.
use super::ImportError;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Settings of an import; `None` is what the file, or the implementation's default, has to tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// The file with the settings that the implementation wrote: `*.json` of chaiyujin, `hparams.json` of
    /// y0ast, `train.txt` of openai.
    pub hparams: Option<PathBuf>,
    /// Image height in pixels.
    pub height: Option<usize>,
    /// Image width in pixels.
    pub width: Option<usize>,
    /// Bits a colour channel.
    pub n_bits: Option<u32>,
    /// Mixing of the channels, where it has no parameters: `reverse` (or `shuffle`, which is refused).
    pub permutation: Option<String>,
    /// One class to fold into the priors: the result is then unconditional.
    pub class: Option<usize>,
    /// One fixed vector of attributes to fold into the prior (chaiyujin's `multi-classes`).
    pub attributes: Option<Vec<f64>>,
    /// chaiyujin's `Criterion.y_condition`: `single-class` or `multi-classes`.
    pub condition: Option<String>,
    /// normflows' `split_mode`: `channel` (its default) or `channel_inv`.
    pub split_mode: Option<String>,
    /// normflows' `scale_map`; only `sigmoid` (its default) can be imported.
    pub scale_map: Option<String>,
    /// normflows' `leaky`; only 0 (its default) can be imported.
    pub leaky: Option<f64>,
    /// What stands in front of the model's names, if the file holds several models.
    pub prefix: Option<String>,
}

/// Settings files are about a kilobyte.
const MAX_BYTES: u64 = 1 << 20;

impl Settings {
    /// Takes in what `hparams` says and nobody has given by name.
    pub(super) fn resolve(mut self) -> Result<Self, ImportError> {
        let Some(path) = self.hparams.clone() else { return Ok(self) };
        let json = read(&path)?;
        let at = |path: &[&str]| path.iter().try_fold(&json, |value, key| value.get(key));
        let first = |paths: &[&[&str]]| paths.iter().find_map(|path| at(path)).cloned();
        let number = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
        // chaiyujin: [height, width, channels]; normflows, by hand: [channels, height, width].
        let shape = |path: &[&str], axes: [usize; 2]| {
            let sizes = at(path)?.as_array()?;
            Some(axes.map(|axis| sizes.get(axis).and_then(number)))
        };
        let side = at(&["image_size"]).or_else(|| at(&["img_size"])).and_then(number);
        let [height, width] = shape(&["Glow", "image_shape"], [0, 1])
            .or_else(|| shape(&["input_shape"], [1, 2]))
            .unwrap_or([side, side]);
        self.height = self.height.or(height);
        self.width = self.width.or(width);
        let bits = first(&[&["n_bits_x"], &["n_bits"]]).as_ref().and_then(number);
        self.n_bits = self.n_bits.or(bits.and_then(|bits| u32::try_from(bits).ok()));
        let permutation = first(&[&["Glow", "flow_permutation"], &["flow_permutation"]]);
        self.permutation = self.permutation.or(match permutation {
            Some(Value::String(text)) => Some(text),
            // openai's numbers.
            Some(Value::Number(number)) => match number.as_u64() {
                Some(0) => Some("reverse".into()),
                Some(1) => Some("shuffle".into()),
                _ => Some("invconv".into()),
            },
            _ => None,
        });
        let text = |path: &[&str]| at(path).and_then(Value::as_str).map(str::to_string);
        self.condition = self.condition.or_else(|| text(&["Criterion", "y_condition"]));
        self.split_mode = self.split_mode.or_else(|| text(&["split_mode"]));
        self.scale_map = self.scale_map.or_else(|| text(&["scale_map"]));
        self.leaky = self.leaky.or_else(|| at(&["leaky"]).and_then(Value::as_f64));
        Ok(self)
    }

    /// The image's size, which nothing else tells.
    pub(super) fn size(&self, implementation: &str) -> Result<(usize, usize), ImportError> {
        let why = |side| {
            format!(
                "a {implementation} file does not say the image's {side} (its settings file may: --hparams FILE)"
            )
        };
        let height = self.height.ok_or_else(|| ImportError::ask("--height", why("height")))?;
        let width = self.width.ok_or_else(|| ImportError::ask("--width", why("width")))?;
        Ok((height, width))
    }

    /// The image's size where the file tells it: what is given must be the same.
    pub(super) fn check_size(&self, height: usize, width: usize) -> Result<(), ImportError> {
        for (setting, given, told) in [("--height", self.height, height), ("--width", self.width, width)] {
            if let Some(given) = given.filter(|&given| given != told) {
                let reason = format!("the file's prior is of images of {height}×{width}");
                return Err(ImportError::Setting { setting, value: given.to_string(), reason });
            }
        }
        Ok(())
    }
}

/// A settings file: JSON, or a log whose first line is.
fn read(path: &Path) -> Result<Value, ImportError> {
    let metadata = std::fs::metadata(path).map_err(ImportError::io("read", path))?;
    let damaged = |reason: String| ImportError::Damaged { path: path.into(), form: "settings", reason };
    if !metadata.is_file() {
        return Err(damaged("it is no regular file".into()));
    }
    let file = std::fs::File::open(path).map_err(ImportError::io("read", path))?;
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_BYTES), &mut text)
        .map_err(ImportError::io("read", path))?;
    let text = String::from_utf8_lossy(&text);
    serde_json::from_str(&text)
        .or_else(|error| text.lines().next().map_or(Err(error), serde_json::from_str))
        .map_err(|error| damaged(error.to_string()))
}
