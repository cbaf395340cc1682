//! LSUN, from folders that LMDB wrote: two categories of six images to train on and two for validation, of a
//! colour each, webp and jpeg, 32 to 52 pixels wide; blue grows from left to right.

use super::*;

const KIND: DataKind = DataKind::Lsun;
const FILES: [(&str, &[u8]); 4] = [
    ("bedroom_train_lmdb", include_bytes!("lmdb/bedroom_train_lmdb/data.mdb")),
    ("bedroom_val_lmdb", include_bytes!("lmdb/bedroom_val_lmdb/data.mdb")),
    ("tower_train_lmdb", include_bytes!("lmdb/tower_train_lmdb/data.mdb")),
    ("tower_val_lmdb", include_bytes!("lmdb/tower_val_lmdb/data.mdb")),
];

/// Some of the files, in folders below one.
fn lsun(wanted: &[usize]) -> TempDir {
    let root = folder();
    for (name, bytes) in wanted.iter().map(|&i| FILES[i]) {
        fs::create_dir(root.path().join(name)).unwrap();
        fs::write(root.path().join(name).join("data.mdb"), bytes).unwrap();
    }
    root
}

fn below(root: &TempDir, path: &str) -> DataSpec {
    DataSpec { kind: KIND, path: root.path().join(path) }
}

#[test]
fn categories_are_classes_and_the_official_split_is_kept() {
    let root = lsun(&[0, 1, 2, 3]);
    let cached = open(&spec(KIND, &root), shape(32, 3), &options(CACHE)).unwrap();
    let streamed = open(&spec(KIND, &root), shape(32, 3), &options(STREAM)).unwrap();
    assert_eq!(cached.train.classes(), ["bedroom", "tower"]);
    assert_eq!((cached.train.len(), cached.validation.len()), (12, 4));
    assert_eq!(all(&*cached.train), all(&*streamed.train));
    assert_eq!(all(&*cached.validation), all(&*streamed.validation));
    for (name, example) in all(&*cached.train) {
        let tower = name.starts_with("tower_train_lmdb#");
        assert!(tower || name.starts_with("bedroom_train_lmdb#"), "{name}");
        assert_eq!(example.label, u32::from(tower));
        let [r, g, b] = [0, 1, 2].map(|channel| example.pixels[32 * 3 * 16 + 3 * 16 + channel]);
        assert!(r.abs_diff(if tower { 40 } else { 200 }) < 12, "{name}: {r}");
        assert!(g.abs_diff(if tower { 200 } else { 40 }) < 12, "{name}: {g}");
        assert!(b.abs_diff(127) < 20, "{name}: {b}");
    }
}

#[test]
fn a_category_can_be_named() {
    let root = lsun(&[0, 1, 2]);
    for path in ["bedroom", "bedroom_train_lmdb"] {
        let splits = open(&below(&root, path), shape(32, 3), &options(CACHE)).unwrap();
        assert_eq!((splits.train.len(), splits.validation.len()), (6, 2));
        assert!(splits.train.classes().is_empty());
    }
    // Without its validation folder, a part is set aside.
    let splits = open(&below(&root, "tower"), shape(32, 3), &options(STREAM)).unwrap();
    assert_eq!((splits.train.len(), splits.validation.len()), (5, 1));
}

#[test]
fn random_crops_change_with_the_image_number_and_are_the_same_again() {
    let root = lsun(&[0, 1]);
    let options = with(Data { random_crop: 24, ..Data::default() });
    let splits = open(&spec(KIND, &root), shape(16, 3), &options).unwrap();
    let stream = |start_image, count| {
        let options = LoaderOptions { batch_size: 3, start_image, ..Default::default() };
        let loader = Loader::new(splits.train.clone(), &options).unwrap();
        loader.take(count).flat_map(|batch| batch.unwrap().images).collect::<Vec<u8>>()
    };
    let whole = stream(0, 20);
    let image = 16 * 16 * 3;
    assert_eq!(stream(6, 18), whole[6 * image..]);
    let different: std::collections::HashSet<&[u8]> = whole.chunks(image).collect();
    assert!(different.len() > 50, "{} of 60", different.len());
    let pass = || {
        let loader = Loader::sequential(splits.validation.clone(), 2, 1, 1).unwrap();
        loader.map(|batch| batch.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(pass(), pass());
}

#[test]
fn images_that_do_not_decode_are_skipped_and_named() {
    let root = lsun(&[0, 1]);
    let path = root.path().join("bedroom_train_lmdb/data.mdb");
    let mut bytes = fs::read(&path).unwrap();
    // The last one, as LMDB leaves old pages behind.
    let webp = bytes.windows(4).rposition(|window| window == b"WEBP").unwrap();
    bytes[webp] = b'X';
    fs::write(&path, bytes).unwrap();
    for cache in [CACHE, STREAM] {
        let splits = open(&spec(KIND, &root), shape(32, 3), &options(cache)).unwrap();
        all(&*splits.train);
        let text = splits.skipped.to_string();
        assert!(text.starts_with("1 image skipped"), "{text}");
        assert!(
            text.contains("bedroom_train_lmdb#") && text.contains("cannot be read as an image"),
            "{text}"
        );
    }
}

#[test]
fn what_is_wrong_is_told() {
    type Break = fn(&TempDir);
    let cases: [(&[usize], &str, usize, Break, &str); 6] = [
        (&[], "", 32, |_| {}, "CATEGORY_train_lmdb: not found; lsun wants the folder"),
        (&[0], "kitchen", 32, |_| {}, "kitchen/CATEGORY_train_lmdb: not found"),
        (&[0, 1, 2], "", 32, |_| {}, "tower_val_lmdb: not found"),
        (&[0, 1], "", 64, |_| {}, "pixels, smaller than the model's 64×64, as are all 6 images"),
        (
            &[0, 1],
            "",
            32,
            |root| write(root, "bedroom_val_lmdb", &FILES[1].1[..9000]),
            "bedroom_val_lmdb/data.mdb: 9000 bytes",
        ),
        (
            &[0, 1],
            "",
            32,
            |root| write(root, "bedroom_train_lmdb", include_bytes!("lmdb/empty/data.mdb")),
            "bedroom_train_lmdb/data.mdb: it holds no images",
        ),
    ];
    fn write(root: &TempDir, name: &str, bytes: &[u8]) {
        fs::write(root.path().join(name).join("data.mdb"), bytes).unwrap();
    }
    for (files, path, side, damage, message) in cases {
        let root = lsun(files);
        damage(&root);
        let error = open(&below(&root, path), shape(side, 3), &options(CACHE)).unwrap_err().to_string();
        assert!(error.contains(message), "{error:?} does not say {message:?}");
    }
}
