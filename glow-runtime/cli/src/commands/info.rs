//! `glow info`
use super::loading::{self, Loading};
use crate::failure::chain;
use crate::model::BundleArgument;
use crate::outputs::print;
use crate::runtime::Runtime;
use anyhow::Result;
use clap::Args;
use glow_models::{Bundle, MANIFEST_FILE};
use glow_runtime::OnnxRuntime;
use serde_json::{Value, json};

#[derive(Args)]
#[command(after_help = "Example:\n  glow info\n  glow info my-model.glow --json")]
pub struct Arguments {
    #[command(flatten)]
    bundle: BundleArgument,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Load the bundle, draw a sample, and tell where the time went and what memory it takes
    #[arg(long)]
    timings: bool,
    /// Load the bundle, and tell which provider runs which node
    #[arg(long)]
    nodes: bool,
}

pub fn run(runtime: &Runtime, arguments: &Arguments) -> Result<()> {
    let model = arguments.bundle.model()?;
    // First, since its times are to be told.
    let loaded = match arguments.timings || arguments.nodes {
        true => Some(model.load(runtime.builder())?),
        false => None,
    };
    let nodes = loaded.as_ref().filter(|_| arguments.nodes).map(loading::nodes).transpose()?;
    let loading = loaded.filter(|_| arguments.timings).map(Loading::new).transpose()?;
    let bundle = model.bundle()?;
    let files: Vec<File> = bundle
        .manifest()
        .files
        .iter()
        .map(|(name, entry)| File {
            name: name.clone(),
            bytes: entry.bytes,
            problem: bundle.verify(name).err().map(|error| error.to_string()),
        })
        .collect();
    // A bundle can be looked at without ONNX Runtime too.
    let onnxruntime =
        OnnxRuntime::open(runtime.onnxruntime.as_deref()).map_err(|error| chain(&anyhow::Error::from(error)));
    let asked = || runtime.provider.iter().map(ToString::to_string).collect();
    let providers = loading.as_ref().map_or_else(asked, Loading::providers);
    if arguments.json {
        let mut value = to_json(&bundle, &files, &onnxruntime, &providers)?;
        value["loading"] = json!(loading.map(|loading| loading.to_json()));
        value["nodes"] = json!(nodes.map(|nodes| loading::nodes_to_json(&nodes)));
        print(&serde_json::to_string_pretty(&value)?)
    } else {
        let mut lines = lines(&bundle, &files, &onnxruntime, &providers)?;
        let more = loading.iter().flat_map(Loading::lines);
        let more = more.chain(nodes.iter().flat_map(|nodes| loading::nodes_lines(nodes)));
        lines.extend(more.map(|(name, text)| line(&name, text)));
        lines.iter().try_for_each(|line| print(line))
    }
}

fn line(name: &str, text: String) -> String {
    format!("{name:<14}{text}")
}

struct File {
    name: String,
    bytes: u64,
    /// Why it cannot be used.
    problem: Option<String>,
}

fn to_json(
    bundle: &Bundle,
    files: &[File],
    onnxruntime: &Result<OnnxRuntime, String>,
    providers: &[String],
) -> Result<Value> {
    let manifest = bundle.manifest();
    let files: serde_json::Map<String, Value> = files
        .iter()
        .map(|file| (file.name.clone(), json!({ "bytes": file.bytes, "problem": file.problem })))
        .collect();
    let onnxruntime = match onnxruntime {
        Ok(found) => json!({ "version": found.version, "path": found.path }),
        Err(problem) => json!({ "problem": problem }),
    };
    Ok(json!({
        "bundle": bundle.folder(),
        "architecture": manifest.architecture,
        "parameters": manifest.architecture.parameter_count(),
        "latent_shapes": manifest.latent_shapes,
        "class_names": manifest.class_names,
        "preprocessing": manifest.preprocessing,
        "precision": manifest.precision,
        "opset": manifest.opset,
        "provenance": manifest.provenance,
        "files": files,
        "onnxruntime": onnxruntime,
        "providers": providers,
    }))
}

fn lines(
    bundle: &Bundle,
    files: &[File],
    onnxruntime: &Result<OnnxRuntime, String>,
    providers: &[String],
) -> Result<Vec<String>> {
    let manifest = bundle.manifest();
    let (a, from) = (&manifest.architecture, &manifest.provenance);
    let word = |value: Value| value.as_str().map(str::to_string).unwrap_or_else(|| value.to_string());
    let mut lines = vec![
        line("bundle", bundle.path(MANIFEST_FILE).display().to_string()),
        line("image", format!("{}×{}, {} channels, {} bits", a.width, a.height, a.channels, a.n_bits)),
        line("flow", format!("{} levels of {} steps, {} hidden channels", a.levels, a.depth, a.hidden)),
        line("coupling", word(serde_json::to_value(a.coupling)?)),
        line("permutation", word(serde_json::to_value(a.permutation)?)),
        line(
            "prior",
            match (a.classes, a.learn_top) {
                (0, true) => "learned".into(),
                (0, false) => "standard normal".into(),
                (classes, _) => format!("conditional on {classes} classes"),
            },
        ),
        line("parameters", a.parameter_count().to_string()),
    ];
    if !manifest.class_names.is_empty() {
        lines.push(line("classes", manifest.class_names.join(", ")));
    }
    if !manifest.preprocessing.crop.is_whole() {
        lines.push(line("crop", manifest.preprocessing.crop.to_string()));
    }
    lines.push(line("background", manifest.preprocessing.background.to_string()));
    for (level, s) in manifest.latent_shapes.iter().enumerate() {
        lines.push(line(&format!("eps_{level}"), format!("[N, {}, {}, {}]", s.channels, s.height, s.width)));
    }
    lines.push(line("precision", word(serde_json::to_value(manifest.precision)?)));
    lines.push(line("opset", manifest.opset.to_string()));
    lines.push(line(
        "source",
        format!("{}, {} weights", from.checkpoint, word(serde_json::to_value(from.weights)?)),
    ));
    lines.push(line("trained", format!("{} steps, {} images seen", from.step, from.images_seen)));
    if let Some(bits) = from.bits_per_dim {
        lines.push(line("validation", format!("{bits:.4} bits/dim at {} bits", a.n_bits)));
    }
    lines.push(line("written by", from.generator.clone()));
    for file in files {
        let state = file.problem.as_deref().unwrap_or("intact");
        lines.push(line("file", format!("{}, {} bytes, {state}", file.name, file.bytes)));
    }
    lines.push(match onnxruntime {
        Ok(found) => line("ONNX Runtime", format!("{}, {}", found.version, found.path.display())),
        Err(problem) => line("ONNX Runtime", problem.clone()),
    });
    lines.push(line("providers", providers.join(", ")));
    Ok(lines)
}
