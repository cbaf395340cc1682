use super::*;

fn bundle(folder: &Path) -> Bundle {
    for name in [WEIGHTS_FILE, ENCODER_FILE, DECODER_FILE] {
        std::fs::write(folder.join(name), name).unwrap();
    }
    let provenance = Provenance {
        generator: "test".into(),
        checkpoint: "best.safetensors".into(),
        weights: Weights::Averaged,
        average: None,
        step: 1,
        images_seen: 64,
        bits_per_dim: None,
    };
    Bundle::seal(folder, Manifest::new(Architecture::default(), Precision::Fp32, 13, provenance)).unwrap()
}

#[test]
fn a_sealed_bundle_opens_and_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let sealed = bundle(folder.path());
    let opened = Bundle::open(folder.path()).unwrap();
    assert_eq!(opened.manifest(), sealed.manifest());
    for name in [WEIGHTS_FILE, ENCODER_FILE, DECODER_FILE] {
        opened.verify(name).unwrap();
    }
}

#[test]
fn a_bundle_of_single_file_graphs_has_no_weights_file() {
    let folder = tempfile::tempdir().unwrap();
    let external = bundle(folder.path()).manifest().clone();
    std::fs::remove_file(folder.path().join(WEIGHTS_FILE)).unwrap();
    let manifest = Manifest { files: BTreeMap::new(), ..external.clone() };
    assert!(!external.is_inline());
    assert!(Bundle::seal(folder.path(), manifest).unwrap().manifest().is_inline());
    let inline = Bundle::open(folder.path()).unwrap();
    assert!(inline.manifest().is_inline());
    assert_eq!(inline.manifest().model_sha256(), external.files[DECODER_FILE].sha256);
}

#[test]
fn the_hash_is_sha_256() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("abc");
    std::fs::write(&path, "abc").unwrap();
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(FileEntry::of_file(&path).unwrap(), FileEntry { bytes: 3, sha256: expected.into() });
}

#[test]
fn each_kind_of_damage_has_its_error() {
    type Case = (&'static str, fn(&Path));
    let cases: &[Case] = &[
        ("damaged", |f| std::fs::write(f.join(WEIGHTS_FILE), "Model.safetensors").unwrap()),
        ("has 5 bytes", |f| std::fs::write(f.join(WEIGHTS_FILE), "short").unwrap()),
        ("model.safetensors is missing", |f| std::fs::remove_file(f.join(WEIGHTS_FILE)).unwrap()),
        ("model.json is missing", |f| std::fs::remove_file(f.join(MANIFEST_FILE)).unwrap()),
        ("is not a manifest", |f| std::fs::write(f.join(MANIFEST_FILE), "{").unwrap()),
        ("larger than", |f| std::fs::write(f.join(MANIFEST_FILE), vec![b' '; 2 << 20]).unwrap()),
        ("version is 2", |f| replace(f, "\"version\": 1", "\"version\": 2")),
        ("format is", |f| replace(f, "glow-bundle", "glow-bungle")),
        ("architecture", |f| replace(f, "\"levels\": 3", "\"levels\": 60")),
        ("latent_shapes", |f| replace(f, "\"levels\": 3", "\"levels\": 4")),
        ("none of a bundle's", |f| replace(f, "\"encoder.onnx\"", "\"../encoder.onnx\"")),
        ("none of a bundle's", |f| replace(f, "\"encoder.onnx\"", "\"/etc/passwd\"")),
        ("hidden = 1000000000", |f| replace(f, "\"hidden\": 512", "\"hidden\": 1000000000")),
        ("depth = 18446744073709551615", |f| replace(f, "\"depth\": 32", "\"depth\": 18446744073709551615")),
        ("is not a manifest", |f| replace(f, "\"depth\": 32", "\"depth\": 18446744073709551616")),
        ("is not a manifest", |f| std::fs::write(f.join(MANIFEST_FILE), "[".repeat(900_000)).unwrap()),
        ("does not list model.safetensors", |f| replace(f, "\"model.safetensors\"", "\"encoder.onnx\"")),
        ("cannot read", |f| {
            std::fs::remove_file(f.join(WEIGHTS_FILE)).unwrap();
            std::fs::create_dir(f.join(WEIGHTS_FILE)).unwrap();
        }),
        #[cfg(target_os = "linux")]
        ("cannot read", |f| {
            std::fs::remove_file(f.join(WEIGHTS_FILE)).unwrap();
            std::os::unix::fs::symlink("/dev/zero", f.join(WEIGHTS_FILE)).unwrap();
        }),
    ];
    for (expected, damage) in cases {
        let folder = tempfile::tempdir().unwrap();
        bundle(folder.path());
        damage(folder.path());
        let error =
            Bundle::open(folder.path()).and_then(|bundle| bundle.verify(WEIGHTS_FILE)).expect_err(expected);
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let error = format!("{error}: {source}");
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    }
}

#[test]
fn in_memory_the_checks_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let sealed = bundle(folder.path());
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let files = BundleBytes {
        manifest: read(MANIFEST_FILE).into(),
        weights: read(WEIGHTS_FILE).into(),
        decoder: Some(read(DECODER_FILE).into()),
        ..Default::default()
    };
    let opened = Bundle::from_bytes(files.clone()).unwrap();
    assert_eq!((opened.manifest(), opened.folder()), (sealed.manifest(), None));
    assert_eq!(opened.bytes(DECODER_FILE), Some(DECODER_FILE.as_bytes()));
    for file in [WEIGHTS_FILE, DECODER_FILE] {
        opened.verify(file).unwrap();
    }
    type Case = (&'static str, fn(&mut BundleBytes));
    let cases: &[Case] = &[
        ("decoder.onnx is missing", |b| b.decoder = None),
        ("decoder.onnx is damaged", |b| b.decoder = Some(b"Decoder.onnx".into())),
        ("decoder.onnx has 5 bytes where model.json says 12", |b| b.decoder = Some(b"short".into())),
        ("model.json is not a manifest", |b| b.manifest = b"{".into()),
        ("larger than", |b| b.manifest = vec![b' '; 2 << 20].into()),
    ];
    for (expected, damage) in cases {
        let mut files = files.clone();
        damage(&mut files);
        let opened = Bundle::from_bytes(files).and_then(|bundle| bundle.verify(DECODER_FILE));
        let error = opened.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    }
}

#[test]
fn a_graph_is_checked_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    bundle(folder.path());
    let error = Bundle::open(folder.path()).unwrap().check_graph(DECODER_FILE).unwrap_err().to_string();
    assert!(error.contains("decoder.onnx cannot be trusted: it is not a complete ONNX file"), "{error}");
    std::fs::write(folder.path().join(DECODER_FILE), [0x3a, 0]).unwrap();
    Bundle::open(folder.path()).unwrap().check_graph(DECODER_FILE).unwrap();
    let file = std::fs::File::create(folder.path().join(DECODER_FILE)).unwrap();
    file.set_len(1 << 40).unwrap();
    let error = Bundle::open(folder.path()).unwrap().check_graph(DECODER_FILE).unwrap_err().to_string();
    assert!(error.contains("more than a graph can have"), "{error}");
}

fn replace(folder: &Path, from: &str, to: &str) {
    let path = folder.join(MANIFEST_FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}
