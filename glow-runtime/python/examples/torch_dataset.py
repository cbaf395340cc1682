"""A model as a source of training data for torch: torch_dataset.py BUNDLE

Samples become a data set of tensors, float32 [C, H, W] in [0, 1]. Sample i of a seed is always the same picture, so that the
set needs no storage.
"""

import sys

import torch
from torch.utils.data import DataLoader, Dataset

import glow


class Samples(Dataset[torch.Tensor]):
    """The first ``size`` samples of a seed."""

    def __init__(self, model: glow.Glow, size: int, seed: int = 0) -> None:
        self.model, self.size, self.seed = model, size, seed

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> torch.Tensor:
        image = self.model.sample(1, seed=self.seed, first=index)[0]
        return torch.from_numpy(image).permute(2, 0, 1) / 255


model = glow.Glow(sys.argv[1])
# No workers: a model does not survive their fork, and uses all cores by itself.
for batch in DataLoader(Samples(model, 64), batch_size=16):
    images = (batch * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    print(f"{model.bits_per_dim(images).mean():.2f} bits/dim")
