//! What the API answers to requests of every kind, good and bad.
use crate::support::{JSON, Running, block_on, bundle, conditional_bundle, source};
use glow_serve::{ModelSource, ServeError, ServeOptions, Server};
use image::{DynamicImage, ImageFormat, RgbImage};
use serde_json::{Value, json};
use std::io::Cursor;

/// Method, path, headers, body; status and kind of the answer.
type Case<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, Vec<u8>, u16, &'a str);

fn server() -> Running {
    let options = ServeOptions::new().max_body(4096).max_images(8).max_pixels(1000);
    Running::with(options, vec![source("faces", bundle()), source("classes", conditional_bundle())])
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let image = DynamicImage::from(RgbImage::from_pixel(width, height, image::Rgb([9, 120, 200])));
    let mut png = Cursor::new(Vec::new());
    image.write_to(&mut png, ImageFormat::Png).unwrap();
    png.into_inner()
}

#[test]
fn problems_have_a_status_and_a_kind() {
    let server = server();
    let (small, large, short) = (png(4, 30), png(40, 40), png(20, 20)[..60].to_vec());
    let sample = r#"{"sample": {"seed": 1}}"#;
    let recipe = |rest: &str| format!(r#"{{"recipe": {{"base": {sample}{rest}}}}}"#).into_bytes();
    let nobody = format!(r#"{{"recipe": {{"base": {{"image": "{}"}}}}}}"#, "0".repeat(64)).into_bytes();
    let walk = |rest: &str| format!(r#"{{"from": {sample}, "to": {sample}{rest}}}"#).into_bytes();
    let (octets, picture) = (("Content-Type", "application/octet-stream"), ("Content-Type", "image/png"));
    let cases: Vec<Case<'_>> = vec![
        ("GET", "/nothing", vec![], vec![], 404, "not_found"),
        ("GET", "/../Cargo.toml", vec![], vec![], 404, "not_found"),
        ("GET", "/%2e%2e/Cargo.toml", vec![], vec![], 404, "not_found"),
        ("GET", "/v1/sample/", vec![], vec![], 404, "not_found"),
        ("POST", "/", vec![], vec![], 405, "method_not_allowed"),
        ("DELETE", "/v1/render", vec![], vec![], 405, "method_not_allowed"),
        ("GET", "/v1/model?model=owls", vec![], vec![], 404, "unknown_model"),
        ("GET", "/v1/model?modell=faces", vec![], vec![], 422, "invalid"),
        ("GET", "/v1/sample?count=0", vec![], vec![], 422, "invalid"),
        ("GET", "/v1/sample?count=9", vec![], vec![], 422, "invalid"),
        ("GET", "/v1/sample?count=1&count=2", vec![], vec![], 422, "invalid"),
        ("GET", "/v1/sample?seed=-1", vec![], vec![], 422, "invalid"),
        ("GET", "/v1/sample?temperature=NaN", vec![], vec![], 422, "invalid"),
        ("GET", "/v1/sample?temperature=11", vec![], vec![], 422, "invalid"),
        ("GET", "/v1/sample?truncation=0", vec![], vec![], 422, "invalid"),
        ("GET", "/v1/sample?label=0", vec![], vec![], 422, "label"),
        ("GET", "/v1/sample?model=classes", vec![], vec![], 422, "label"),
        ("GET", "/v1/sample?model=classes&label=3", vec![], vec![], 422, "label"),
        ("GET", "/v1/sample?format=gif", vec![], vec![], 422, "invalid"),
        ("GET", "/v1/sample?scale=17", vec![], vec![], 422, "invalid"),
        ("GET", "/v1/sample", vec![("Accept", "text/html")], vec![], 406, "not_acceptable"),
        ("GET", "/v1/sample", vec![("Glow-Timeout-Ms", "soon")], vec![], 400, "malformed"),
        ("GET", "/v1/sample", vec![("Glow-Timeout-Ms", "0")], vec![], 400, "malformed"),
        ("POST", "/v1/render", vec![], recipe(""), 415, "media_type"),
        ("POST", "/v1/render", vec![JSON, ("Content-Encoding", "gzip")], recipe(""), 415, "encoding"),
        ("POST", "/v1/render", vec![JSON], vec![], 400, "malformed"),
        ("POST", "/v1/render", vec![JSON], b"{\"recipe\":".to_vec(), 400, "malformed"),
        ("POST", "/v1/render", vec![JSON], vec![b'['; 4000], 422, "invalid"),
        ("POST", "/v1/render", vec![JSON], vec![b' '; 4097], 413, "body_too_large"),
        ("POST", "/v1/render", vec![JSON], b"{}".to_vec(), 422, "invalid"),
        (
            "POST",
            "/v1/render",
            vec![JSON],
            recipe(r#", "strengths": {"Smiling": 1}"#),
            422,
            "unknown_attribute",
        ),
        ("POST", "/v1/render", vec![JSON], recipe(r#", "label": 0"#), 422, "label"),
        (
            "POST",
            "/v1/render",
            vec![JSON],
            recipe(r#", "redraw": {"levels": [2], "seed": 1}"#),
            422,
            "invalid",
        ),
        ("POST", "/v1/render", vec![JSON], nobody, 404, "unknown_image"),
        ("POST", "/v1/render?model=classes", vec![JSON], recipe(""), 422, "label"),
        ("POST", "/v1/interpolate", vec![JSON], walk(r#", "steps": 1"#), 422, "invalid"),
        ("POST", "/v1/interpolate", vec![JSON], walk(r#", "steps": 9"#), 422, "invalid"),
        ("POST", "/v1/score", vec![JSON], br#"{"recipe": {"base": {}}}"#.to_vec(), 422, "invalid"),
        ("POST", "/v1/images", vec![], png(20, 20), 415, "media_type"),
        ("POST", "/v1/images", vec![("Content-Type", "multipart/form-data")], png(20, 20), 415, "media_type"),
        ("POST", "/v1/images", vec![octets], vec![1; 191], 422, "invalid"),
        ("POST", "/v1/images", vec![picture], b"no image".to_vec(), 422, "not_an_image"),
        ("POST", "/v1/images", vec![picture], short, 422, "not_an_image"),
        ("POST", "/v1/images", vec![picture], small, 422, "image_too_small"),
        ("POST", "/v1/images", vec![picture], large, 422, "too_many_pixels"),
        ("DELETE", "/v1/images/etc", vec![], vec![], 422, "invalid"),
        ("GET", "/v1/models", vec![("Host", "evil.example")], vec![], 421, "host"),
        ("GET", "/v1/models", vec![("Host", "localhost.evil.example:80")], vec![], 421, "host"),
        ("POST", "/v1/render", vec![JSON, ("Origin", "https://evil.example")], recipe(""), 403, "origin"),
        ("GET", "/v1/sample", vec![("Sec-Fetch-Site", "cross-site")], vec![], 403, "origin"),
        ("POST", "/v1/render", vec![JSON, ("Origin", "null")], recipe(""), 403, "origin"),
        ("POST", "/v1/render", vec![JSON, ("Sec-Fetch-Site", "cross-site")], recipe(""), 403, "origin"),
    ];
    for (method, path, headers, body, status, kind) in cases {
        let answer = server.ask(method, path, &headers, &body);
        let case = format!("{method} {path} {headers:?}: {}", answer.text());
        assert_eq!(answer.status, status, "{case}");
        assert_eq!(answer.json()["error"]["kind"], kind, "{case}");
        assert!(!answer.json()["error"]["message"].as_str().unwrap().is_empty(), "{case}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{case}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{case}");
    }
    // None of it is the server's fault.
    assert!(!server.events().iter().any(|event| matches!(event, glow_serve::Event::Failed { .. })));
    assert_eq!(server.ask("DELETE", "/v1/render", &[], b"").header("allow"), Some("POST"));
}

#[test]
fn the_page_comes_with_its_headers() {
    let server = server();
    let page = server.get("/?model=classes");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    for (name, value) in [
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-embedder-policy", "require-corp"),
        ("cross-origin-resource-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-cache"),
        ("content-security-policy", "frame-ancestors 'none'"),
    ] {
        assert_eq!(page.header(name), Some(value));
    }
    for (name, content) in glow_page::FILES {
        let answer = server.get(&format!("/{name}"));
        assert_eq!(answer.body, *content, "{name}");
        assert_eq!(answer.header("content-type"), Some(glow_page::media_type(name)));
        let known = [("If-None-Match", answer.header("etag").unwrap())];
        let again = server.ask("GET", &format!("/{name}"), &known, b"");
        assert_eq!((again.status, again.body.len()), (304, 0), "{name}");
    }
    assert_eq!(server.get("/site.json").json()["backend"], "server");
    let head = server.client().ask("HEAD", "/app.js", &[], b"").unwrap();
    assert!(head.status == 200 && head.header("content-length").unwrap().parse::<usize>().unwrap() > 1000);
}

#[test]
fn models_are_described() {
    let server = server();
    assert_eq!(server.get("/v1/models").json(), json!({ "models": ["faces", "classes"] }));
    let first = server.get("/v1/model").json();
    assert_eq!((&first["name"], &first["attributes"]), (&json!("faces"), &json!([])));
    assert_eq!(first["manifest"]["format"], "glow-bundle");
    assert_eq!(first["limits"]["images"], 8);
    let second = server.get("/v1/model?model=classes").json();
    assert_eq!(second["manifest"]["architecture"]["classes"], 3);
}

#[test]
fn the_same_pixels_have_the_same_name_and_can_be_forgotten() {
    let server = server();
    let octets = [("Content-Type", "application/octet-stream")];
    let pixels = [9, 120, 200].repeat(64);
    let one = server.ask("POST", "/v1/images", &octets, &pixels).json()["image"].clone();
    let file = server.ask("POST", "/v1/images", &[("Content-Type", "image/png")], &png(9, 11)).json();
    assert_eq!(one, file["image"]);
    let body = json!({ "recipe": { "base": { "image": one } } });
    assert_eq!(server.post("/v1/render", &body).status, 200);
    // It is of the size that the other model takes, too.
    let labelled = json!({ "recipe": { "base": { "image": one }, "label": 1 } });
    assert_eq!(server.post("/v1/render?model=classes", &labelled).status, 200);
    let path = format!("/v1/images/{}", one.as_str().unwrap());
    assert_eq!(server.ask("DELETE", &path, &[], b"").status, 204);
    assert_eq!(server.ask("DELETE", &path, &[], b"").status, 404);
    assert_eq!(server.post("/v1/render", &body).json()["error"]["kind"], "unknown_image");
    assert_eq!(server.post("/v1/render?model=classes", &labelled).status, 404);
}

#[test]
fn other_origins_are_let_in_only_if_they_are_named() {
    let good = ("Origin", "https://faces.example");
    let preflight = ("Access-Control-Request-Method", "POST");
    let allowed = "access-control-allow-origin";
    let closed = server();
    assert_eq!(closed.ask("OPTIONS", "/v1/render", &[good, preflight], b"").status, 403);
    assert_eq!(closed.ask("GET", "/v1/models", &[good], b"").header(allowed), None);

    let options = ServeOptions::new().cors(vec![good.1.into()]).hosts(vec!["faces.example".into()]);
    let open = Running::start(options);
    let answer = open.ask("OPTIONS", "/v1/render", &[good, preflight], b"");
    assert_eq!((answer.status, answer.header(allowed)), (204, Some(good.1)));
    assert!(answer.header("access-control-allow-headers").unwrap().contains("glow-timeout-ms"));
    let body = br#"{"recipe": {"base": {"sample": {"seed": 1}}}}"#;
    let answer = open.ask("POST", "/v1/render", &[JSON, good], body);
    assert_eq!((answer.status, answer.header(allowed)), (200, Some(good.1)));
    assert_eq!(answer.header("vary"), Some("Origin"));
    let other = [JSON, ("Origin", "https://evil.example")];
    let answer = open.ask("POST", "/v1/render", &other, body);
    assert_eq!((answer.status, answer.header(allowed)), (403, None));
    // By the proxy's name, from its own page.
    let proxied = [JSON, ("Host", "faces.example"), ("Origin", "https://faces.example")];
    assert_eq!(open.ask("POST", "/v1/render", &proxied, body).status, 200);
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:8000", "[::1]"] {
        assert_eq!(open.ask("GET", "/v1/models", &[("Host", host)], b"").status, 200, "{host}");
    }
}

#[test]
fn health_and_figures() {
    let server = server();
    for path in ["/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"] {
        assert_eq!(server.get(path).status, 200);
    }
    server.get("/v1/sample?count=3");
    server.get("/v1/sample?count=9");
    let answer = server.get("/metrics");
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(answer.text().ends_with("# EOF\n"));
    assert_eq!(server.figure("glow_requests_total{method=\"GET\",route=\"/v1/sample\",status=\"422\"}"), 1.0);
    assert_eq!(server.figure("glow_jobs_total{model=\"faces\",result=\"done\"}"), 1.0);
    assert_eq!(server.figure("glow_batch_images_sum{model=\"faces\",graph=\"decoder\"}"), 3.0);
    assert_eq!(server.figure("glow_requests_in_flight"), 1.0);
    assert!(server.figure("glow_process_resident_bytes") > 1e6);
}

#[test]
fn every_operation_is_described_as_it_is() {
    let server = server();
    let description = server.get("/openapi.json").json();
    let mut examples = 0;
    for (path, operations) in description["paths"].as_object().unwrap() {
        let concrete = path
            .replace("{image}", &"0".repeat(64))
            .replace("{model}", "faces_decoder")
            .replace("{version}", "1");
        for method in ["get", "post", "delete", "put", "patch"] {
            let described = operations.get(method);
            let name = method.to_uppercase();
            let body = described.and_then(|operation| {
                operation.pointer("/requestBody/content/application~1json/example").cloned()
            });
            let bytes = body.as_ref().map(|body| body.to_string().into_bytes()).unwrap_or_default();
            let answer = server.ask(&name, &concrete, &[JSON], &bytes);
            let case = format!("{name} {path}: {}", answer.text());
            let Some(operation) = described else {
                assert_eq!(answer.status, 405, "{case}");
                continue;
            };
            let status = answer.status.to_string();
            let response = operation["responses"].get(&status);
            let mut response = response.unwrap_or_else(|| panic!("{status} of {case} is not described"));
            if let Some(reference) = response.get("$ref") {
                response = description.pointer(&reference.as_str().unwrap()[1..]).unwrap();
            }
            if let Some(content) = response.get("content") {
                let kind = answer.header("content-type").unwrap_or_default();
                let kind = kind.split(';').next().unwrap();
                assert!(content.get(kind).is_some(), "{kind} of {case} is not described");
            }
            if body.is_some() || method == "get" && !path.contains("image") {
                assert_eq!(answer.status, 200, "{case}");
                examples += 1;
            }
        }
    }
    assert!(examples > 15, "{examples}");
    references_lead_somewhere(&description, &description);
}

fn references_lead_somewhere(value: &Value, root: &Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                assert!(root.pointer(&reference[1..]).is_some(), "{reference}");
            }
            fields.values().for_each(|value| references_lead_somewhere(value, root));
        }
        Value::Array(values) => values.iter().for_each(|value| references_lead_somewhere(value, root)),
        _ => {}
    }
}

#[test]
fn a_server_that_cannot_be_says_why() {
    let start =
        |options: ServeOptions, models: Vec<ModelSource>| block_on(Server::bind(options.port(0), models));
    let faces = || source("faces", bundle());
    assert!(matches!(start(ServeOptions::new(), vec![]), Err(ServeError::NoModel)));
    let twice = start(ServeOptions::new(), vec![faces(), faces()]);
    assert!(matches!(twice, Err(ServeError::Duplicate { .. })));
    let named = start(ServeOptions::new(), vec![source("a/b", bundle())]);
    assert!(matches!(named, Err(ServeError::Name { .. })));
    let missing = start(ServeOptions::new(), vec![source("faces", "/nowhere")]);
    assert!(matches!(missing, Err(ServeError::Load { .. })));
    let zero = start(ServeOptions::new().queue(0), vec![faces()]);
    assert!(matches!(zero, Err(ServeError::Option { option: "queue", .. })));
    let running = Running::start(ServeOptions::new());
    let taken = block_on(Server::bind(ServeOptions::new().port(running.address.port()), vec![faces()]));
    assert!(matches!(taken, Err(ServeError::Listen { .. })));
}
