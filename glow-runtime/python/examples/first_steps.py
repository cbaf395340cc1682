"""The first steps: first_steps.py BUNDLE PHOTO OUT draws samples, and makes variations of a photograph."""

import sys

import glow

bundle, photo, out = sys.argv[1:]
model = glow.Glow(bundle)
images = model.sample(16, seed=1)  # uint8 [16, H, W, C]
glow.to_pil(glow.grid(images)).save(f"{out}/samples.png")
latents, log_prob = model.encode(photo)  # float32 [1, H*W*C], and nats
assert (model.decode(latents) == model.reconstruct(photo)).all()
way = model.interpolate(latents, model.sample_latents(1, seed=2), steps=8)
glow.to_pil(glow.grid(way, columns=8)).save(f"{out}/way.png")
print(f"{model.bits_per_dim(photo, draws=4)[0]:.2f} bits/dim")
