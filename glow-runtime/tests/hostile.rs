//! Bundles that mean harm, at least one for each check: every one is refused with an error of its kind, in whatever way it
//! is loaded. Messages are compared in `bad_input`, attributes in `attributes`.
mod support;

use glow_models::onnx::{attribute, entry, graph, model, node, tensor};
use glow_models::protobuf::{Fields, Value, append};
use glow_models::{Bundle, BundleError, DECODER_FILE, ENCODER_FILE, MANIFEST_FILE, WEIGHTS_FILE};
use glow_runtime::{Cuda, Error, ErrorKind, Glow, GlowBuilder, OnnxRuntimeCode, Provider};
use serde_json::{Value as Json, json};
use std::fs;
use std::path::Path;

/// The error's variant.
fn variant(error: &Error) -> &'static str {
    match error {
        Error::Bundle(BundleError::Missing { .. }) => "missing",
        Error::Bundle(BundleError::Read { .. }) => "read",
        Error::Bundle(BundleError::Manifest { .. }) => "manifest",
        Error::Bundle(BundleError::Architecture { .. }) => "architecture",
        Error::Bundle(BundleError::Size { .. }) => "size",
        Error::Bundle(BundleError::Hash { .. }) => "hash",
        Error::Bundle(BundleError::Graph { .. }) => "distrusted",
        Error::Graph { .. } => "ports",
        Error::Load { .. } => "load",
        Error::Check { .. } => "check",
        Error::Run { .. } => "run",
        Error::NonFinite { .. } => "non-finite",
        Error::Provider { .. } => "provider",
        _ => "another",
    }
}

type Damage = fn(&Path);

/// Loads each damaged bundle in several ways; `ways` are the builders.
fn refused(cases: &[(&str, &str, Damage)], kind: ErrorKind, ways: &[fn() -> GlowBuilder]) {
    for (expected, name, damage) in cases {
        for (way, builder) in ways.iter().enumerate() {
            let folder = support::copy(&support::unconditional());
            damage(folder.path());
            let error = match builder().load(folder.path()) {
                Ok(_) => panic!("{name}: it was loaded, in way {way}"),
                Err(error) => error,
            };
            let text = error.with_causes();
            assert_eq!((variant(&error), error.kind()), (*expected, kind), "{name}, in way {way}: {text}");
            assert!(!text.contains('\0') && text.len() < 2000, "{name}: {text}");
        }
    }
}

fn usual() -> GlowBuilder {
    Glow::builder()
}

/// Each graph with its own weights.
fn unshared() -> GlowBuilder {
    Glow::builder().share_weights(false)
}

/// The hashes are trusted.
fn unverified() -> GlowBuilder {
    Glow::builder().verify(false)
}

fn unmapped() -> GlowBuilder {
    Glow::builder().map_weights(false).share_weights(false)
}

const WAYS: [fn() -> GlowBuilder; 4] = [usual, unshared, unverified, unmapped];

fn replace(folder: &Path, file: &str, content: impl AsRef<[u8]>) {
    fs::write(folder.join(file), content).unwrap();
}

/// Seals the folder again, so that only what is inside of the files is wrong.
fn reseal(folder: &Path) {
    let manifest = Bundle::open(folder).unwrap().manifest().clone();
    Bundle::seal(folder, manifest).unwrap();
}

#[test]
fn files() {
    let whole: &[(&str, &str, Damage)] = &[
        ("missing", "no manifest", |f| fs::remove_file(f.join(MANIFEST_FILE)).unwrap()),
        ("missing", "no encoder", |f| fs::remove_file(f.join(ENCODER_FILE)).unwrap()),
        ("missing", "no decoder", |f| fs::remove_file(f.join(DECODER_FILE)).unwrap()),
        ("read", "a folder for a manifest", |f| {
            fs::remove_file(f.join(MANIFEST_FILE)).unwrap();
            fs::create_dir(f.join(MANIFEST_FILE)).unwrap();
        }),
        ("read", "a folder for a graph", |f| {
            fs::remove_file(f.join(DECODER_FILE)).unwrap();
            fs::create_dir(f.join(DECODER_FILE)).unwrap();
        }),
        #[cfg(target_os = "linux")]
        ("read", "a device without an end for a manifest", |f| {
            fs::remove_file(f.join(MANIFEST_FILE)).unwrap();
            std::os::unix::fs::symlink("/dev/zero", f.join(MANIFEST_FILE)).unwrap();
        }),
        #[cfg(target_os = "linux")]
        ("read", "a device without an end for a graph", |f| {
            fs::remove_file(f.join(ENCODER_FILE)).unwrap();
            std::os::unix::fs::symlink("/dev/zero", f.join(ENCODER_FILE)).unwrap();
        }),
        #[cfg(target_os = "linux")]
        ("read", "a pipe that nobody writes to", |f| {
            fs::remove_file(f.join(DECODER_FILE)).unwrap();
            let pipe = f.join(DECODER_FILE);
            assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
        }),
    ];
    refused(whole, ErrorKind::Bundle, &WAYS);
    let verified: &[(&str, &str, Damage)] = &[
        ("missing", "no weights", |f| fs::remove_file(f.join(WEIGHTS_FILE)).unwrap()),
        ("size", "a graph too short", |f| replace(f, DECODER_FILE, "short")),
        ("size", "empty weights", |f| replace(f, WEIGHTS_FILE, "")),
        ("size", "weights too long", |f| replace(f, WEIGHTS_FILE, vec![0; 100_000])),
        ("hash", "another graph", |f| change(f, ENCODER_FILE, |bytes| bytes[200] ^= 1)),
        ("hash", "other weights", |f| change(f, WEIGHTS_FILE, |bytes| *bytes.last_mut().unwrap() ^= 1)),
        ("hash", "a hash of another length", |f| set(f, "/files/decoder.onnx/sha256", json!("ab"))),
        ("size", "a size that cannot be", |f| set(f, "/files/model.safetensors/bytes", json!(u64::MAX))),
    ];
    refused(verified, ErrorKind::Bundle, &[usual, unshared]);
    // Longer than any graph, and read by nobody.
    let huge: &[(&str, &str, Damage)] = &[("distrusted", "a graph of two gigabytes", |f| {
        fs::File::options().write(true).open(f.join(DECODER_FILE)).unwrap().set_len(1 << 31).unwrap();
    })];
    refused(huge, ErrorKind::Bundle, &[unverified]);
}

fn change(folder: &Path, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(folder.join(file)).unwrap();
    change(&mut bytes);
    replace(folder, file, bytes);
}

/// Sets a value of the manifest, by its JSON pointer; a new one where there is none.
fn set(folder: &Path, pointer: &str, value: Json) {
    let mut manifest: Json = serde_json::from_slice(&fs::read(folder.join(MANIFEST_FILE)).unwrap()).unwrap();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    manifest.pointer_mut(parent).unwrap()[key] = value;
    replace(folder, MANIFEST_FILE, manifest.to_string());
}

fn remove(folder: &Path, parent: &str, key: &str) {
    let mut manifest: Json = serde_json::from_slice(&fs::read(folder.join(MANIFEST_FILE)).unwrap()).unwrap();
    manifest.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key).unwrap();
    replace(folder, MANIFEST_FILE, manifest.to_string());
}

#[test]
fn manifests() {
    let cases: &[(&str, &str, Damage)] = &[
        ("manifest", "not JSON", |f| replace(f, MANIFEST_FILE, "{")),
        ("manifest", "not UTF-8", |f| replace(f, MANIFEST_FILE, [0xff; 9])),
        ("manifest", "a megabyte of spaces", |f| replace(f, MANIFEST_FILE, vec![b' '; 2 << 20])),
        ("manifest", "deeper than a stack", |f| replace(f, MANIFEST_FILE, "[".repeat(900_000))),
        ("manifest", "another format", |f| set(f, "/format", json!("glow-bungle"))),
        ("manifest", "a later version", |f| set(f, "/version", json!(2))),
        ("manifest", "a version that is text", |f| set(f, "/version", json!("1"))),
        ("manifest", "no architecture", |f| remove(f, "", "architecture")),
        ("manifest", "an unknown precision", |f| set(f, "/precision", json!("int4"))),
        ("manifest", "an unknown coupling", |f| set(f, "/architecture/coupling", json!("spline"))),
        ("manifest", "an unknown permutation", |f| set(f, "/architecture/permutation", json!("none"))),
        ("manifest", "a negative size", |f| set(f, "/architecture/height", json!(-8))),
        ("manifest", "a size of 2^64", |f| set(f, "/architecture/depth", json!(1.8446744073709552e19))),
        ("manifest", "other latents", |f| set(f, "/latent_shapes/0/channels", json!(12))),
        ("manifest", "no latents", |f| set(f, "/latent_shapes", json!([]))),
        ("manifest", "a batch of nothing", |f| set(f, "/batch", json!(0))),
        ("manifest", "a batch beyond any memory", |f| set(f, "/batch", json!(1u64 << 40))),
        ("manifest", "a batch that overflows", |f| set(f, "/batch", json!(u64::MAX))),
        ("manifest", "an unknown layout", |f| {
            set(
                f,
                "/quantisation",
                json!({ "layout": "abacus", "calibration": "", "calibration_images": 0 }),
            );
        }),
        ("manifest", "numbers that are text", |f| set(f, "/numerics", json!({ "bits_per_dim": "low" }))),
        ("manifest", "a crop that is none", |f| set(f, "/preprocessing", json!({ "crop": "everything" }))),
        ("manifest", "too few names of classes", |f| {
            for file in [ENCODER_FILE, DECODER_FILE, WEIGHTS_FILE, MANIFEST_FILE] {
                fs::copy(support::conditional().join(file), f.join(file)).unwrap();
            }
            set(f, "/class_names", json!(["cat", "dog"]));
        }),
        ("manifest", "a file elsewhere", |f| {
            set(f, "/files", json!({ "../encoder.onnx": { "bytes": 1, "sha256": "" } }));
        }),
        ("manifest", "an absolute file", |f| {
            set(f, "/files", json!({ "/etc/passwd": { "bytes": 1, "sha256": "" } }));
        }),
        ("manifest", "a file of a negative size", |f| set(f, "/files/decoder.onnx/bytes", json!(-1))),
        ("architecture", "no rows", |f| set(f, "/architecture/height", json!(0))),
        ("architecture", "too many columns", |f| set(f, "/architecture/width", json!(1 << 20))),
        ("architecture", "two channels", |f| set(f, "/architecture/channels", json!(2))),
        ("architecture", "no bits", |f| set(f, "/architecture/n_bits", json!(0))),
        ("architecture", "nine bits", |f| set(f, "/architecture/n_bits", json!(9))),
        ("architecture", "no levels", |f| set(f, "/architecture/levels", json!(0))),
        ("architecture", "60 levels", |f| set(f, "/architecture/levels", json!(60))),
        ("architecture", "no steps", |f| set(f, "/architecture/depth", json!(0))),
        ("architecture", "too many steps", |f| set(f, "/architecture/depth", json!(u64::MAX))),
        ("architecture", "no hidden channels", |f| set(f, "/architecture/hidden", json!(0))),
        ("architecture", "too many hidden channels", |f| set(f, "/architecture/hidden", json!(1u64 << 40))),
        ("architecture", "too many classes", |f| set(f, "/architecture/classes", json!(1 << 30))),
        ("architecture", "a size that cannot be halved", |f| set(f, "/architecture/height", json!(10))),
        ("architecture", "too many parameters", |f| {
            for (field, value) in [("depth", 4096), ("hidden", 65536)] {
                set(f, &format!("/architecture/{field}"), json!(value));
            }
        }),
    ];
    refused(cases, ErrorKind::Bundle, &WAYS);
    let unlisted: &[(&str, &str, Damage)] =
        &[("manifest", "a graph that is not listed", |f| remove(f, "/files", DECODER_FILE))];
    refused(unlisted, ErrorKind::Bundle, &[usual, unshared]);
}

/// A field, or all of them in one message.
fn bytes(number: u32, content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut field = Vec::new();
    append(&mut field, number, Value::Bytes(content.as_ref()));
    field
}

fn number(field: u32, value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    append(&mut bytes, field, Value::Number(value));
    bytes
}

/// Rewrites the first field of a message that has the number and that `wanted` takes.
fn rewrite(
    message: &[u8],
    field: u32,
    wanted: &dyn Fn(&[u8]) -> bool,
    new: &dyn Fn(&[u8]) -> Vec<u8>,
) -> Vec<u8> {
    let (mut out, mut done) = (Vec::new(), false);
    for part in Fields::new(message) {
        match part.unwrap() {
            (found, Value::Bytes(content)) if found == field && !done && wanted(content) => {
                append(&mut out, field, Value::Bytes(&new(content)));
                done = true;
            }
            (found, value) => append(&mut out, found, value),
        }
    }
    assert!(done, "no field {field}");
    out
}

fn any(_: &[u8]) -> bool {
    true
}

/// Changes the decoder's graph, and seals the bundle again.
fn regraph(folder: &Path, new: impl Fn(&[u8]) -> Vec<u8>) {
    change(folder, DECODER_FILE, |file| *file = rewrite(file, model::GRAPH, &any, &new));
    reseal(folder);
}

/// Appends to the decoder's file, and seals the bundle again.
fn extend(folder: &Path, fields: Vec<u8>) {
    change(folder, DECODER_FILE, |file| file.extend(fields));
    reseal(folder);
}

fn is_external(tensor: &[u8]) -> bool {
    Fields::new(tensor).any(|field| field.unwrap().0 == tensor::EXTERNAL_DATA)
}

/// Changes the decoder's first constant in the weights.
fn retensor(folder: &Path, new: impl Fn(&[u8]) -> Vec<u8>) {
    regraph(folder, |graph| rewrite(graph, graph::INITIALIZER, &is_external, &new));
}

fn pair(key: &str, value: &str) -> Vec<u8> {
    [bytes(entry::KEY, key), bytes(entry::VALUE, value)].concat()
}

/// Sets where that constant lies, or one more entry of the place.
fn place(folder: &Path, key: &str, value: &str) {
    retensor(folder, |tensor| {
        let is_key = |entry: &[u8]| {
            Fields::new(entry).any(|field| field.unwrap() == (entry::KEY, Value::Bytes(key.as_bytes())))
        };
        let known = Fields::new(tensor).any(|field| match field.unwrap() {
            (tensor::EXTERNAL_DATA, Value::Bytes(entry)) => is_key(entry),
            _ => false,
        });
        match known {
            true => rewrite(tensor, tensor::EXTERNAL_DATA, &is_key, &|_| pair(key, value)),
            false => [tensor, &bytes(tensor::EXTERNAL_DATA, pair(key, value))].concat(),
        }
    });
}

#[test]
fn graphs_that_are_not_trusted() {
    const NODE: u32 = graph::NODE;
    let cases: &[(&str, &str, Damage)] = &[
        ("distrusted", "not protobuf", |f| {
            replace(f, DECODER_FILE, "not a graph");
            reseal(f);
        }),
        ("distrusted", "half a graph", |f| {
            change(f, DECODER_FILE, |bytes| bytes.truncate(bytes.len() / 2));
            reseal(f);
        }),
        ("distrusted", "no graph", |f| {
            replace(f, DECODER_FILE, "");
            reseal(f);
        }),
        ("distrusted", "two graphs", |f| extend(f, bytes(model::GRAPH, []))),
        ("distrusted", "the format of ONNX Runtime", |f| {
            replace(f, DECODER_FILE, b"\x0a\x10\0\0ORTM\0\0\0\0\0\0\0\0\0\0");
            reseal(f);
        }),
        ("distrusted", "training", |f| extend(f, bytes(model::TRAINING_INFO, []))),
        ("distrusted", "functions", |f| extend(f, bytes(model::FUNCTIONS, []))),
        ("distrusted", "another's operator", |f| {
            regraph(f, |graph| {
                rewrite(graph, NODE, &any, &|node| [node, &bytes(node::DOMAIN, "com.example")].concat())
            });
        }),
        ("distrusted", "a graph within a node", |f| {
            let inner = bytes(node::ATTRIBUTE, bytes(attribute::GRAPH, []));
            regraph(f, |graph| rewrite(graph, NODE, &any, &|node| [node, &inner].concat()));
        }),
        ("distrusted", "graphs within a node", |f| {
            let inner = bytes(node::ATTRIBUTE, bytes(attribute::GRAPHS, []));
            regraph(f, |graph| rewrite(graph, NODE, &any, &|node| [node, &inner].concat()));
        }),
        ("distrusted", "a sparse tensor", |f| {
            regraph(f, |g| [g, &bytes(graph::SPARSE_INITIALIZER, [])].concat())
        }),
        ("distrusted", "a sparse tensor in a node", |f| {
            let inner = bytes(node::ATTRIBUTE, bytes(attribute::SPARSE_TENSOR, []));
            regraph(f, |graph| rewrite(graph, NODE, &any, &|node| [node, &inner].concat()));
        }),
        ("distrusted", "another file in a node's tensor", |f| {
            let elsewhere = bytes(tensor::EXTERNAL_DATA, pair("location", "/etc/passwd"));
            let inner = bytes(node::ATTRIBUTE, bytes(attribute::TENSOR, elsewhere));
            regraph(f, |graph| rewrite(graph, NODE, &any, &|node| [node, &inner].concat()));
        }),
        ("distrusted", "another file", |f| place(f, "location", "/etc/passwd")),
        ("distrusted", "a file above", |f| place(f, "location", "../model.safetensors")),
        ("distrusted", "an address in memory", |f| place(f, "location", "*/_ORT_MEM_ADDR_/*")),
        ("distrusted", "behind the end", |f| place(f, "offset", "57788")),
        ("distrusted", "an offset that overflows", |f| place(f, "offset", &u64::MAX.to_string())),
        ("distrusted", "a negative offset", |f| place(f, "offset", "-4")),
        ("distrusted", "an offset that is none", |f| place(f, "offset", "first")),
        ("distrusted", "between two numbers", |f| place(f, "offset", "1")),
        ("distrusted", "too short for its shape", |f| place(f, "length", "4")),
        ("distrusted", "too long for its shape", |f| place(f, "length", "40000")),
        ("distrusted", "no length", |f| place(f, "length", "0")),
        ("distrusted", "an unknown part of a place", |f| place(f, "basepath", "/")),
        ("distrusted", "a place said twice", |f| {
            let twice = [pair("location", WEIGHTS_FILE), bytes(entry::VALUE, "/etc/passwd")].concat();
            retensor(f, |tensor| [tensor, &bytes(tensor::EXTERNAL_DATA, &twice)].concat());
        }),
        ("distrusted", "a name that is no text", |f| {
            retensor(f, |tensor| [tensor, &bytes(tensor::NAME, [0xff])].concat());
        }),
        ("distrusted", "numbers of a type that no bundle has", |f| {
            retensor(f, |tensor| [tensor, &number(tensor::DATA_TYPE, 8)].concat());
        }),
        ("distrusted", "numbers of a larger type", |f| {
            retensor(f, |tensor| [tensor, &number(tensor::DATA_TYPE, 7)].concat());
        }),
        ("distrusted", "a shape that overflows", |f| {
            let more = [number(tensor::DIMS, 1 << 40), number(tensor::DIMS, 1 << 40)].concat();
            retensor(f, |tensor| [tensor, &more].concat());
        }),
        ("distrusted", "a negative shape", |f| {
            retensor(f, |tensor| [tensor, &number(tensor::DIMS, u64::MAX)].concat());
        }),
        ("distrusted", "weights that end before", |f| {
            change(f, WEIGHTS_FILE, |bytes| bytes.truncate(bytes.len() / 2));
            reseal(f);
        }),
        ("distrusted", "empty weights", |f| {
            replace(f, WEIGHTS_FILE, "");
            reseal(f);
        }),
    ];
    refused(cases, ErrorKind::Bundle, &WAYS);
}

/// A graph's input or output: its name, ONNX's number of its type, its shape with an open axis for 0.
fn port(name: &str, data_type: u64, shape: &[u64]) -> Vec<u8> {
    let dim = |&n: &u64| if n == 0 { bytes(1, bytes(2, "N")) } else { bytes(1, number(1, n)) };
    let shape: Vec<u8> = shape.iter().flat_map(dim).collect();
    let tensor = [number(1, data_type), bytes(2, shape)].concat();
    [bytes(1, name), bytes(2, bytes(1, tensor))].concat()
}

fn operator(name: &str, input: &str, output: &str) -> Vec<u8> {
    [bytes(1, input), bytes(2, output), bytes(node::OP_TYPE, name)].concat()
}

/// An encoder of one operator, sound to ONNX Runtime.
fn encoder(folder: &Path, inputs: &[Vec<u8>], node: Vec<u8>, output: Vec<u8>) {
    let inputs: Vec<u8> = inputs.iter().flat_map(|input| bytes(11, input)).collect();
    let graph = [bytes(graph::NODE, node), bytes(2, "g"), inputs, bytes(12, output)].concat();
    let opset = bytes(8, [bytes(1, ""), number(2, 13)].concat());
    replace(folder, ENCODER_FILE, [number(1, 7), opset, bytes(model::GRAPH, graph)].concat());
    reseal(folder);
}

const U8: u64 = 2;
const F32: u64 = 1;
const I64: u64 = 7;
const IMAGE: [u64; 4] = [0, 8, 8, 3];

#[test]
fn graphs_of_another_model() {
    fn noise() -> Vec<u8> {
        port("noise", F32, &IMAGE)
    }
    fn of_image(folder: &Path, data_type: u64, shape: &[u64]) {
        let image = port("image", data_type, shape);
        encoder(
            folder,
            &[image, noise()],
            operator("Identity", "image", "eps_0"),
            port("eps_0", data_type, shape),
        );
    }
    let cases: &[(&str, &str, Damage)] = &[
        ("ports", "no image", |f| {
            encoder(f, &[noise()], operator("Identity", "noise", "eps_0"), port("eps_0", F32, &IMAGE));
        }),
        ("ports", "a sequence for an image", |f| {
            // TypeProto.sequence_type, of tensors of bytes.
            let sequence = bytes(4, bytes(1, bytes(1, number(1, U8))));
            let image = [bytes(1, "image"), bytes(2, sequence)].concat();
            encoder(
                f,
                &[image, noise()],
                operator("SequenceLength", "image", "eps_0"),
                port("eps_0", I64, &[]),
            );
        }),
        ("ports", "an image of floats", |f| of_image(f, F32, &IMAGE)),
        ("ports", "an image of four channels", |f| of_image(f, U8, &[0, 8, 8, 4])),
        ("ports", "an image of another height", |f| of_image(f, U8, &[0, 16, 8, 3])),
        ("ports", "a flat image", |f| of_image(f, U8, &[0, 192])),
        ("ports", "an image alone", |f| of_image(f, U8, &[8, 8, 3])),
        ("ports", "a fixed batch that the manifest does not say", |f| of_image(f, U8, &[5, 8, 8, 3])),
        ("ports", "an open batch where the manifest says one", |f| set(f, "/batch", json!(2))),
        ("ports", "one input more", |f| {
            let inputs = [port("image", U8, &IMAGE), noise(), port("extra", F32, &[0])];
            encoder(f, &inputs, operator("Identity", "noise", "eps_0"), port("eps_0", F32, &IMAGE));
        }),
        ("ports", "no latents", |f| {
            let inputs = [port("image", U8, &IMAGE), noise()];
            encoder(f, &inputs, operator("Identity", "noise", "z"), port("z", F32, &IMAGE));
        }),
        ("ports", "latents of another shape", |f| {
            let inputs = [port("image", U8, &IMAGE), noise()];
            encoder(f, &inputs, operator("Identity", "noise", "eps_0"), port("eps_0", F32, &IMAGE));
        }),
        ("ports", "latents of bytes", |f| {
            let inputs = [port("image", U8, &IMAGE), noise()];
            encoder(f, &inputs, operator("Identity", "image", "eps_0"), port("eps_0", U8, &IMAGE));
        }),
        ("ports", "one output more", |f| {
            let node = bytes(graph::NODE, operator("Identity", "eps_0", "extra"));
            let output = bytes(12, port("extra", F32, &[0, 6, 4, 4]));
            regraph(f, |graph| [&node[..], graph, &output].concat());
        }),
        ("ports", "the decoder for the encoder", |f| {
            fs::copy(f.join(DECODER_FILE), f.join(ENCODER_FILE)).unwrap();
            reseal(f);
        }),
    ];
    refused(cases, ErrorKind::Bundle, &WAYS);
}

#[test]
fn graphs_that_onnx_runtime_refuses() {
    let cases: &[(&str, &str, Damage)] = &[
        ("load", "an empty graph", |f| {
            replace(f, DECODER_FILE, bytes(model::GRAPH, []));
            reseal(f);
        }),
        ("load", "an unknown operator", |f| {
            regraph(f, |graph| {
                rewrite(graph, graph::NODE, &any, &|node| [node, &bytes(node::OP_TYPE, "Vnoc")].concat())
            });
        }),
        ("load", "an input of a node that is nowhere", |f| {
            regraph(f, |graph| {
                rewrite(graph, graph::NODE, &any, &|node| [node, &bytes(1, "nowhere")].concat())
            });
        }),
        ("load", "an operator set of the future", |f| {
            extend(f, bytes(8, [bytes(1, ""), number(2, 9999)].concat()));
        }),
        ("load", "a circle", |f| {
            let circle = [operator("Identity", "a", "b"), operator("Identity", "b", "a")];
            let circle: Vec<u8> = circle.iter().flat_map(|node| bytes(graph::NODE, node)).collect();
            regraph(f, |graph| [graph, &circle].concat());
        }),
        ("load", "a constant without its numbers", |f| {
            let constant =
                [number(tensor::DIMS, 1 << 20), number(tensor::DATA_TYPE, F32), bytes(tensor::NAME, "c")];
            let node = bytes(graph::NODE, operator("Identity", "c", "d"));
            regraph(f, |graph| [graph, &bytes(graph::INITIALIZER, constant.concat()), &node].concat());
        }),
    ];
    refused(cases, ErrorKind::Bundle, &WAYS);
    let folder = support::copy(&support::unconditional());
    cases[1].2(folder.path());
    let code = Glow::load(folder.path()).err().unwrap().onnxruntime_code();
    assert!(matches!(code, Some(OnnxRuntimeCode::Fail | OnnxRuntimeCode::InvalidGraph)), "{code:?}");
}

/// The weights' bytes of the tensors that the decoder has and the encoder has not.
fn of_the_decoder(folder: &Path) -> Vec<std::ops::Range<usize>> {
    let [encoder, decoder] = [ENCODER_FILE, DECODER_FILE].map(|file| fs::read(folder.join(file)).unwrap());
    let weights = fs::read(folder.join(WEIGHTS_FILE)).unwrap();
    let holds = |graph: &[u8], name: &str| graph.windows(name.len()).any(|part| part == name.as_bytes());
    let tensors = safetensors::SafeTensors::deserialize(&weights).unwrap();
    let tensors =
        tensors.tensors().into_iter().filter(|(name, _)| holds(&decoder, name) && !holds(&encoder, name));
    let place = |data: &[u8]| data.as_ptr().addr() - weights.as_ptr().addr();
    tensors.map(|(_, view)| place(view.data())..place(view.data()) + view.data().len()).collect()
}

#[test]
fn models_that_do_not_compute() {
    fn fill(folder: &Path, value: f32) {
        let places = of_the_decoder(folder);
        assert!(!places.is_empty());
        change(folder, WEIGHTS_FILE, |weights| {
            for place in places {
                weights[place]
                    .chunks_exact_mut(4)
                    .for_each(|number| number.copy_from_slice(&value.to_le_bytes()));
            }
        });
        reseal(folder);
    }
    let ways: [fn() -> GlowBuilder; 2] = [|| usual().check(true), || unshared().check(true)];
    let another: &[(&str, &str, Damage)] = &[("check", "an inverse that is none", |f| fill(f, 0.0))];
    refused(another, ErrorKind::Provider, &ways);
    let none: &[(&str, &str, Damage)] = &[("non-finite", "weights that are NaN", |f| fill(f, f32::NAN))];
    refused(none, ErrorKind::NonFinite, &ways);
}

#[test]
fn formats_that_a_provider_cannot_run() {
    let cases: &[(&str, &str, Damage)] =
        &[("provider", "8 bits on CUDA", |f| set(f, "/precision", json!("int8")))];
    refused(cases, ErrorKind::Provider, &[|| usual().providers([Provider::Cuda(Cuda::default())])]);
}

/// Graphs with a few bytes changed, all the way through ONNX Runtime: each is refused or runs, and the process goes on.
/// `GLOW_CASES=20000 GLOW_SEED=1 cargo test -p glow-runtime --test hostile mutated -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes"]
fn mutated_graphs() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let folder = support::copy(&support::unconditional());
    let graph = fs::read(folder.path().join(DECODER_FILE)).unwrap();
    let mut state = number("GLOW_SEED", 1);
    let mut random = move |most: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % most
    };
    let mut ends = std::collections::BTreeMap::<&str, usize>::new();
    for case in 0..number("GLOW_CASES", 20_000) {
        let mut mutated = graph.clone();
        for _ in 0..1 + random(3) {
            let place = random(mutated.len());
            // Mostly without moving what follows, so that more of them get past the first check.
            match random(16) {
                0..8 => mutated[place] ^= 1 << random(8),
                8..14 => mutated[place] = [0, 1, 0x7f, 0x80, 0xff][random(5)],
                14 => drop(mutated.remove(place)),
                _ => mutated.insert(place, mutated[random(graph.len() / 2)]),
            }
        }
        // To be found if the process does not come back.
        replace(folder.path(), DECODER_FILE, &mutated);
        if std::env::var_os("GLOW_KEEP").is_some() {
            fs::write(std::env::temp_dir().join("glow-mutated.onnx"), &mutated).unwrap();
        }
        let builder = Glow::builder().decoder_only().verify(false).share_weights(case % 2 == 0);
        let end = builder.load(folder.path()).and_then(|glow| glow.sample(1, &Default::default()));
        *ends.entry(end.map_or_else(|error| variant(&error), |_| "done")).or_default() += 1;
    }
    println!("{ends:?}");
    assert!(ends.contains_key("done") && ends.contains_key("load") && ends.contains_key("distrusted"));
}
