//! An ONNX file: the scanner ends, and what it passes names no file but the weights.
#![no_main]

use glow_models::check_graph;
use libfuzzer_sys::fuzz_target;

/// An entry {key: "location", value: …} in protobuf's form.
const LOCATION: &[u8] = b"\x0a\x08location\x12";
const WEIGHTS: &[u8] = b"model.safetensors";

fuzz_target!(|bytes: &[u8]| {
    // What passes a small file passes a large one.
    let (small, large) = (check_graph(bytes, 1 << 10), check_graph(bytes, u64::MAX));
    assert!(small.is_err() || large.is_ok());
    // A location by itself, as the exporter would write it, in a tensor of the graph: it decides.
    let mut entry = LOCATION.to_vec();
    entry.push(bytes.len().min(127) as u8);
    entry.extend(&bytes[..bytes.len().min(127)]);
    let mut file = entry;
    // TensorProto.external_data, GraphProto.initializer, ModelProto.graph.
    for field in [13u32, 5, 7] {
        if field == 5 {
            // TensorProto.dims and data_type: no floats, which lie anywhere.
            file.splice(0..0, [1 << 3, 0, 2 << 3, 1]);
        }
        let mut outer = vec![(field << 3 | 2) as u8];
        let mut length = file.len();
        while length >= 128 {
            outer.push(length as u8 | 128);
            length >>= 7;
        }
        outer.push(length as u8);
        outer.append(&mut file);
        file = outer;
    }
    assert_eq!(check_graph(&file, 0).is_ok(), bytes == WEIGHTS);
});
