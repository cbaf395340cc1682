//! The Open Inference Protocol, by hand and by Triton's own client.
use crate::support::{Answer, Running, builder, bundle, conditional_bundle, source};
use glow_runtime::{EncodeOptions, SampleOptions};
use glow_serve::ServeOptions;
use ndarray::Array4;
use serde_json::{Value, json};
use std::process::Command;

fn server() -> Running {
    let models = vec![source("faces", bundle()), source("classes", conditional_bundle())];
    Running::with(ServeOptions::new().max_images(8), models)
}

fn images(n: usize) -> Array4<u8> {
    Array4::from_shape_fn((n, 8, 8, 3), |(i, y, x, c)| (i * 50 + y * 20 + x * 7 + c * 3) as u8)
}

fn infer(server: &Running, model: &str, body: &Value) -> Answer {
    server.ask("POST", &format!("/v2/models/{model}/infer"), &[], body.to_string().as_bytes())
}

fn numbers(output: &Value) -> Vec<f32> {
    output["data"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
}

#[test]
fn the_server_and_its_models_tell_what_they_are() {
    let server = server();
    let text = server.get("/v2").json();
    assert_eq!(text["name"], "glow-serve");
    assert!(text["extensions"].as_array().unwrap().contains(&json!("binary_tensor_data")));
    let model = server.get("/v2/models/classes_decoder/versions/1").json();
    assert_eq!(model["inputs"][0], json!({ "name": "eps_0", "datatype": "FP32", "shape": [-1, 6, 4, 4] }));
    assert_eq!(model["inputs"][2], json!({ "name": "label", "datatype": "INT64", "shape": [-1] }));
    assert_eq!(model["outputs"][0], json!({ "name": "image", "datatype": "UINT8", "shape": [-1, 8, 8, 3] }));
    let config = server.get("/v2/models/faces_encoder/config").json();
    assert_eq!((&config["max_batch_size"], &config["input"][1]["optional"]), (&json!(8), &json!(true)));
    assert_eq!(
        config["output"][2],
        json!({ "name": "log_prob", "data_type": "TYPE_FP32", "dims": [1], "reshape": { "shape": [] } })
    );
    assert_eq!(server.get("/v2/models/faces_encoder/ready").status, 200);
    for path in ["/v2/models/faces", "/v2/models/faces_encoder/versions/2", "/v2/models/owls_encoder/ready"] {
        let answer = server.get(path);
        assert!(answer.status == 404 && answer.json()["error"].is_string(), "{path}: {}", answer.text());
    }
    let index = server.ask("POST", "/v2/repository/index", &[], b"").json();
    assert_eq!(index.as_array().unwrap().len(), 4);
    assert_eq!(index[0], json!({ "name": "faces_encoder", "version": "1", "state": "READY", "reason": "" }));
}

#[test]
fn numbers_are_those_of_the_library() {
    let server = server();
    let glow = builder().load(conditional_bundle()).unwrap();
    let (images, labels) = (images(3), vec![0i64, 2, 1]);
    let noise = Array4::from_shape_fn((3, 8, 8, 3), |(i, y, x, c)| ((i + y + x + c) % 8) as f32 / 8.0);
    let tensor = |name: &str, datatype: &str, shape: &[usize], data: Value| json!({ "name": name, "datatype": datatype, "shape": shape, "data": data });
    let flat: Vec<u8> = images.iter().copied().collect();
    let given = tensor("noise", "FP32", &[3, 8, 8, 3], noise.iter().copied().collect());
    let label = tensor("label", "INT64", &[3], json!(labels));
    let image = tensor("image", "UINT8", &[3, 8, 8, 3], json!(flat));
    for (inputs, expected) in [
        (json!([image, given, label]), glow.encode_with(&images, noise.view(), Some(&labels)).unwrap()),
        (json!([label, image]), glow.encode(&images, &EncodeOptions::new().labels(labels.clone())).unwrap()),
    ] {
        let answer = infer(&server, "classes_encoder", &json!({ "id": "seven", "inputs": inputs }));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        assert_eq!((&answer["id"], &answer["model_name"]), (&json!("seven"), &json!("classes_encoder")));
        let outputs = answer["outputs"].as_array().unwrap();
        for (output, level) in outputs.iter().zip(expected.latents.levels()) {
            assert_eq!(numbers(output), level.iter().copied().collect::<Vec<f32>>());
        }
        assert_eq!(numbers(&outputs[2]), expected.log_prob);
    }

    // Latents as bytes, and only one of the outputs, as bytes too.
    let glow = builder().load(bundle()).unwrap();
    let latents = glow.sample_latents(2, &SampleOptions::new().seed(3)).unwrap();
    let mut bytes = Vec::new();
    let inputs: Vec<Value> = latents
        .levels()
        .iter()
        .enumerate()
        .map(|(i, level)| {
            let own: Vec<u8> = level.iter().flat_map(|value| value.to_le_bytes()).collect();
            bytes.extend(&own);
            let size = json!({ "binary_data_size": own.len() });
            json!({ "name": format!("eps_{i}"), "datatype": "FP32", "shape": level.shape(), "parameters": size })
        })
        .collect();
    let outputs = json!([{ "name": "image", "parameters": { "binary_data": true } }]);
    let text = json!({ "inputs": inputs, "outputs": outputs }).to_string();
    let length = [("Inference-Header-Content-Length", text.len().to_string())];
    let headers: Vec<(&str, &str)> = length.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let body = [text.as_bytes(), &bytes].concat();
    let answer = server.ask("POST", "/v2/models/faces_decoder/versions/1/infer", &headers, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let length: usize = answer.header("inference-header-content-length").unwrap().parse().unwrap();
    let (text, pixels) = answer.body.split_at(length);
    let text: Value = serde_json::from_slice(text).unwrap();
    assert_eq!(text["outputs"][0]["parameters"]["binary_data_size"], 2 * 192);
    let expected = glow.decode(&latents, None).unwrap().images;
    assert_eq!(pixels, expected.iter().copied().collect::<Vec<u8>>());
}

#[test]
fn what_does_not_suit_the_model_is_named() {
    let server = server();
    let image =
        || json!({ "name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": vec![1; 192] });
    let with = |field: &str, value: Value| {
        let mut image = image();
        image[field] = value;
        image
    };
    let huge = json!([1_000_000_000_000u64, 8, 8, 3]);
    for (inputs, part) in [
        (json!([]), "there are no inputs|image is missing"),
        (json!([with("name", json!("images"))]), "there is no input \"images\"; there are image, noise"),
        (json!([with("datatype", json!("FP32"))]), "datatype must be UINT8"),
        (json!([with("shape", json!([1, 8, 8]))]), "must be [N, 8, 8, 3]"),
        (json!([with("shape", json!([9, 8, 8, 3]))]), "a request has 1 to 8"),
        (json!([with("shape", huge)]), "a request has 1 to 8"),
        (json!([with("data", json!([1, 2]))]), "it has 2 numbers, its shape 192"),
        (json!([with("data", json!(vec![256; 192]))]), "256 is not of type UINT8"),
        (json!([with("parameters", json!({ "binary_data_size": 192 }))]), "both"),
        (json!([with("parameters", json!({ "shared_memory_region": "a" }))]), "shared_memory_region"),
        (json!([image(), image()]), "given twice"),
        (
            json!([image(), { "name": "noise", "datatype": "FP32", "shape": [2, 8, 8, 3], "data": vec![0; 384] }]),
            "of 2 images",
        ),
        (
            json!([image(), { "name": "noise", "datatype": "FP32", "shape": [1, 8, 8, 3], "data": vec![1; 192] }]),
            "noise = 1",
        ),
    ] {
        let answer = infer(&server, "faces_encoder", &json!({ "inputs": inputs }));
        let message = answer.json()["error"].as_str().unwrap().to_owned();
        assert_eq!(answer.status, 422, "{message}");
        assert!(part.split('|').any(|part| message.contains(part)), "{part}: {message}");
    }
    for (rest, part) in [
        (json!({ "outputs": [{ "name": "z" }] }), "there is no output"),
        (json!({ "outputs": [{ "name": "eps_0" }, { "name": "eps_0" }] }), "asked for twice"),
        (
            json!({ "outputs": [{ "name": "eps_0", "parameters": { "classification": 1 } }] }),
            "classification",
        ),
        (json!({ "parameters": { "timeout": "soon" } }), "timeout"),
        (json!({ "parameters": { "binary_data_output": 1 } }), "true or false"),
    ] {
        let mut body = json!({ "inputs": [image()] });
        body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let answer = infer(&server, "faces_encoder", &body);
        assert!(answer.status == 422 && answer.text().contains(part), "{part}: {}", answer.text());
    }
    let late = json!({ "inputs": [image()], "parameters": { "timeout": 1 } });
    assert_eq!(infer(&server, "faces_encoder", &late).status, 504);
    let outlying = json!({ "inputs": [
        { "name": "eps_0", "datatype": "FP32", "shape": [1, 6, 4, 4], "data": vec![1e38; 96] },
        { "name": "eps_1", "datatype": "FP32", "shape": [1, 24, 2, 2], "data": vec![1e38; 96] },
    ] });
    let answer = infer(&server, "faces_decoder", &outlying);
    assert_eq!((answer.status, answer.json()["kind"].as_str()), (422, Some("too_far_out")));
}

/// Runs where Python has `tritonclient[http]`; `GLOW_TRITON_PYTHON` names a Python that has it.
#[test]
fn tritons_own_client_works() {
    let python = std::env::var("GLOW_TRITON_PYTHON").unwrap_or_else(|_| "python3".into());
    let there = Command::new(&python).args(["-c", "import tritonclient.http"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        println!("not run: {python} has no tritonclient[http]");
        return;
    }
    let options = ServeOptions::new().reload_by_request(true);
    let server =
        Running::with(options, vec![source("faces", bundle()), source("classes", conditional_bundle())]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/triton_client.py");
    let output = Command::new(&python).args([script, &server.address.to_string()]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("all of it works"), "{text}");
}
