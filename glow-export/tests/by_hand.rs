//! x
mod support;
#[test]
#[allow(unreachable_code)]
fn write_cifar() {
    let a = glow_models::Architecture { coupling: glow_models::Coupling::Affine, ..Default::default() };
    support::write_checkpoint(
        std::path::Path::new("/tmp/exp/cifar.safetensors"),
        &a,
        |_| {},
        |_, n, v| {
            if n.contains("conv3") || n.contains("split") {
                v.iter_mut().for_each(|v| *v *= 0.1)
            }
            if n.ends_with("logs") || n.ends_with("log_s") || n.ends_with("lower") || n.ends_with("upper") {
                v.iter_mut().for_each(|v| *v *= 0.1)
            }
            if n.ends_with("conv3.bias") {
                v.iter_mut().skip(1).step_by(2).for_each(|v| *v += 2.0)
            }
        },
    );
    return;
    let mut i = 0;
    for p in [glow_models::Permutation::Shuffle, glow_models::Permutation::InvconvPlain] {
        for e in [true, false] {
            for c in [glow_models::Coupling::Affine, glow_models::Coupling::Additive] {
                for (ch, nb, cl, lt) in [(1, 5, 3, true), (3, 8, 0, false), (3, 8, 4, true), (1, 8, 2, false)]
                {
                    let a = glow_models::Architecture {
                        permutation: p,
                        edge_bias: e,
                        coupling: c,
                        channels: ch,
                        n_bits: nb,
                        classes: cl,
                        learn_top: lt,
                        width: 16,
                        levels: 1 + i % 3,
                        ..support::small()
                    };
                    let out = format!("/tmp/exp/v{i}");
                    i += 1;
                    let (_f, path) = support::checkpoint(&a);
                    glow_export::export(path, &out, &Default::default()).unwrap();
                }
            }
        }
    }
}
