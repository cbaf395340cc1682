//! Every kind of model, exported and compared with the float64 evaluation of its checkpoint.
mod random_checkpoint;

use glow_export::{ExportOptions, export};
use glow_models::{Architecture, Coupling, Permutation};

/// permutation, coupling, edge_bias, learn_top, channels, levels, n_bits, classes
type Row = (Permutation, Coupling, bool, bool, usize, usize, u32, usize);

#[rustfmt::skip]
const TABLE: &[Row] = {
    use Coupling::*;
    use Permutation::*;
    &[
        (Invconv,      Affine,   true,  true,  3, 3, 8, 0),
        (Invconv,      Affine,   true,  true,  3, 2, 5, 4),
        (Invconv,      Additive, true,  true,  3, 2, 5, 0),
        (Invconv,      Additive, false, true,  1, 2, 8, 3),
        (Invconv,      Affine,   false, false, 3, 1, 8, 0),
        (InvconvPlain, Affine,   true,  false, 1, 2, 8, 1),
        (InvconvPlain, Additive, false, false, 3, 2, 3, 0),
        (InvconvPlain, Affine,   false, true,  3, 2, 8, 2),
        (Shuffle,      Additive, true,  false, 3, 2, 8, 0),
        (Shuffle,      Affine,   false, true,  1, 1, 1, 0),
        (Reverse,      Affine,   true,  true,  3, 2, 8, 0),
        (Reverse,      Additive, true,  true,  1, 3, 8, 2),
        (Reverse,      Additive, false, false, 3, 1, 7, 5),
    ]
};

fn architecture(row: &Row) -> Architecture {
    let &(permutation, coupling, edge_bias, learn_top, channels, levels, n_bits, classes) = row;
    Architecture {
        height: 8,
        width: 16,
        channels,
        n_bits,
        levels,
        depth: 3,
        hidden: 16,
        coupling,
        permutation,
        edge_bias,
        learn_top,
        classes,
    }
}

#[test]
fn every_variant_computes_what_its_checkpoint_means() {
    // Set GLOW_VARIANTS to a folder to keep the bundles, for other tools to look at.
    let folder = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("GLOW_VARIANTS").map(std::path::PathBuf::from);
    let mut failed = 0;
    for (i, row) in TABLE.iter().enumerate() {
        let checkpoint = folder.path().join(format!("{i}.safetensors"));
        random_checkpoint::write_random(&checkpoint, &architecture(row), i as u64);
        let out = kept.as_deref().unwrap_or(folder.path()).join(i.to_string());
        match export(&checkpoint, &out, &ExportOptions::default()) {
            Ok(report) => eprintln!("{i} {row:?}\n{}", report.verification.unwrap()),
            Err(error) => {
                failed += 1;
                eprintln!("{i} {row:?} FAILED\n{error}\n{error:?}");
            }
        }
    }
    assert_eq!(failed, 0, "variants failed");
}
