"""A judge for tests, which is quick."""

import torch

from nst_lightning.encoders import Encoder
from nst_lightning.encoders.base import run_convolutions
from nst_lightning.encoders.weights import VGG16_BLOCKS, convolution_names

CHANNELS = (4, 4, 6, 6)


class NarrowVGG16(Encoder):
    """VGG-16 to relu4_3, with few channels and random weights."""

    def __init__(self) -> None:
        names = [name for name in convolution_names(VGG16_BLOCKS) if name < "conv5"]
        super().__init__([kind + name[4:] for name in names for kind in ("conv", "relu")], "a narrow VGG-16")
        generator, channels, self.convolutions = torch.Generator().manual_seed(16), 3, torch.nn.ModuleDict()
        for name in names:
            width = CHANNELS[int(name[4]) - 1]
            self.convolutions[name] = torch.nn.Conv2d(channels, width, 3, padding=1)
            weight = torch.randn(width, channels, 3, 3, generator=generator) * (2 / (9 * channels)) ** 0.5
            self.convolutions[name].load_state_dict({"weight": weight, "bias": torch.full((width,), 0.1)})
            channels = width
        self.requires_grad_(False)

    def forward(self, pictures, layers):
        self._check(pictures, layers)
        return run_convolutions(dict(self.convolutions.items()), pictures, layers, "max")
