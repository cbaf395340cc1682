//! Tables and constants written here, whole and damaged.
use super::graph::tensor_numbers;
use super::*;
use glow_models::protobuf::append;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn varint_of(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// The entries of a block, each key after what it shares with the one before, and one restart.
fn block_of(entries: &[(&[u8], &[u8])]) -> Vec<u8> {
    let (mut block, mut before) = (Vec::new(), &[][..]);
    for (key, value) in entries {
        let shared = key.iter().zip(before).take_while(|(a, b)| a == b).count();
        for number in [shared, key.len() - shared, value.len()] {
            block.extend(varint_of(number));
        }
        block.extend([&key[shared..], value].concat());
        before = key;
    }
    [block, 0u32.to_le_bytes().to_vec(), 1u32.to_le_bytes().to_vec()].concat()
}

/// A table of one data block, whose checksums fit whatever is in the blocks.
fn table_of(block: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut place = |block: &[u8]| {
        let handle = [varint_of(file.len()), varint_of(block.len())].concat();
        file.extend([block, &[0]].concat());
        let checksum = masked(&file[file.len() - block.len() - 1..]);
        file.extend(checksum.to_le_bytes());
        handle
    };
    let data = place(block);
    let meta = place(&block_of(&[]));
    let index = place(&block_of(&[(b"zzz", &data)]));
    let mut footer = [meta, index].concat();
    footer.resize(FOOTER - 8, 0);
    [file, footer, MAGIC.to_le_bytes().to_vec()].concat()
}

fn entry_of(sizes: &[u64], offset: u64, bytes: &[u8]) -> Vec<u8> {
    let (mut entry, mut shape) = (Vec::new(), Vec::new());
    for &size in sizes {
        let mut dimension = Vec::new();
        append(&mut dimension, 1, Value::Number(size));
        append(&mut shape, 2, Value::Bytes(&dimension));
    }
    append(&mut entry, 1, Value::Number(1));
    append(&mut entry, 2, Value::Bytes(&shape));
    append(&mut entry, 4, Value::Number(offset));
    append(&mut entry, 5, Value::Number(bytes.len() as u64));
    append(&mut entry, 6, Value::Fixed(&masked(bytes).to_le_bytes()));
    entry
}

/// A checkpoint of two tensors; the block of its index.
fn checkpoint(folder: &Path) -> (PathBuf, Vec<u8>) {
    let prefix = folder.join("model.ckpt");
    let data: Vec<u8> = [1.5f32, -2.0, 0.25, 4.0, 8.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(with_suffix(&prefix, ".data-00000-of-00001"), &data).unwrap();
    let mut header = Vec::new();
    append(&mut header, 1, Value::Number(1));
    let [first, second] = [entry_of(&[2, 1, 2], 0, &data[..16]), entry_of(&[], 16, &data[16..])];
    let block = block_of(&[(b"", &header), (b"model/a", &first), (b"model/ab", &second)]);
    std::fs::write(with_suffix(&prefix, ".index"), table_of(&block)).unwrap();
    (prefix, block)
}

#[test]
fn a_checkpoint_reads_and_damage_to_its_data_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (prefix, _) = checkpoint(folder.path());
    for file in ["", ".index", ".data-00000-of-00001"] {
        assert_eq!(checkpoint_prefix(&with_suffix(&prefix, file)).as_ref(), Some(&prefix));
    }
    let tensors = read_checkpoint(&prefix).unwrap();
    assert_eq!(tensors.names().collect::<Vec<_>>(), ["model/a", "model/ab"]);
    assert_eq!(tensors.shape("model/a").unwrap(), [2, 1, 2]);
    assert_eq!(tensors.numbers("model/a").unwrap(), [1.5, -2.0, 0.25, 4.0]);
    assert_eq!(tensors.numbers("model/ab").unwrap(), [8.0]);
    let data = with_suffix(&prefix, ".data-00000-of-00001");
    let mut bytes = std::fs::read(&data).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&data, &bytes).unwrap();
    assert!(tensors.numbers("model/a").unwrap_err().to_string().contains("checksum"));
    std::fs::write(&data, &bytes[..19]).unwrap();
    assert!(tensors.numbers("model/ab").unwrap_err().to_string().contains("too short"));
}

/// Behind checksums that fit, which accidents do not leave but hands do.
#[test]
fn an_index_of_anything_is_an_error_or_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let (prefix, block) = checkpoint(folder.path());
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut read = 0;
    for _ in 0..1_000 {
        let mut block = block.clone();
        for _ in 0..random.random_range(1..4) {
            let place = random.random_range(0..block.len());
            match random.random_range(0..3) {
                0 => block[place] = random.random(),
                1 => block.truncate(place.max(1)),
                _ => block.insert(place, [0xff, 0x80, 0x7f][random.random_range(0..3)]),
            }
        }
        std::fs::write(with_suffix(&prefix, ".index"), table_of(&block)).unwrap();
        if let Ok(tensors) = read_checkpoint(&prefix) {
            for name in tensors.names().map(str::to_string).collect::<Vec<_>>() {
                read += usize::from(tensors.numbers(&name).is_ok());
            }
        }
    }
    assert!(read > 10, "{read}: damage was too thorough to tell anything");
}

#[test]
fn constants_stand_for_as_many_as_their_shape_says() {
    let constant = |fields: &[(u32, Value<'_>)]| {
        let mut tensor = Vec::new();
        fields.iter().for_each(|&(number, value)| append(&mut tensor, number, value));
        tensor
    };
    let floats: Vec<u8> = [1.0f32, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let content = constant(&[(4, Value::Bytes(&floats))]);
    assert_eq!(tensor_numbers(&content, Kind::F32, 2).unwrap(), [1.0, 2.0]);
    assert!(tensor_numbers(&content, Kind::F32, 3).is_err());
    let packed = constant(&[(5, Value::Bytes(&floats))]);
    assert_eq!(tensor_numbers(&packed, Kind::F32, 4).unwrap(), [1.0, 2.0, 2.0, 2.0]);
    assert!(tensor_numbers(&packed, Kind::F32, 1).is_err());
    let one = constant(&[(5, Value::Fixed(&floats[..4]))]);
    assert_eq!(tensor_numbers(&one, Kind::F32, 3).unwrap(), [1.0; 3]);
    let numbers = constant(&[(7, Value::Bytes(&[3, 1, 0, 2]))]);
    assert_eq!(tensor_numbers(&numbers, Kind::I32, 4).unwrap(), [3.0, 1.0, 0.0, 2.0]);
    assert!(tensor_numbers(&constant(&[]), Kind::F32, 1).is_err());
    assert_eq!(tensor_numbers(&constant(&[]), Kind::F32, 0).unwrap(), [0.0; 0]);
}
