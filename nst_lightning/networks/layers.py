"""Building blocks of transfer networks: reflection padding, instance normalization, no transposed convolutions."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MINIMUM_SIZE = 32
"""The smallest width and height of a photo, in pixels, that networks accept."""
Upsampling = Literal["nearest", "bilinear"]


def convolution(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, dilation: int = 1, pad: bool = True
) -> nn.Conv2d:
    """A convolution without bias, to be followed by a normalization.

    It pads by reflection, which keeps the size (divided by the stride), unless `pad` is false.
    """
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=dilation * (kernel_size // 2) if pad else 0,
        dilation=dilation,
        padding_mode="reflect" if pad else "zeros",
        bias=False,  # the normalization takes any constant away
    )


class ConvNorm(nn.Sequential):
    """Convolution that keeps the size (divided by the stride, rounded up), then instance normalization.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: width and height of the kernel, odd.
        stride: 1, or 2 to halve the size.
        dilation: distance between the kernel's taps.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__(
            convolution(in_channels, out_channels, kernel_size, stride=stride, dilation=dilation),
            nn.InstanceNorm2d(out_channels, affine=True),
        )


class ResidualBlock(nn.Module):
    """x + ConvNorm(ReLU(ConvNorm(x))), without ReLU after the sum (Johnson et al. 2016)."""

    def __init__(self, channels: int, *, dilation: int = 1) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels, 3, dilation=dilation)
        self.second = ConvNorm(channels, channels, 3, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Transform features of shape (N, C, H, W) into features of the same shape."""
        return x + self.second(F.relu(self.first(x)))

    def start_as_identity(self) -> None:
        """Change nothing until the block is trained."""
        for parameter in self.second[1].parameters():
            nn.init.zeros_(parameter)


def upsample(x: Tensor, size: torch.Size, mode: Upsampling) -> Tensor:
    """Enlarge features of shape (N, C, h, w) to (N, C, *size)."""
    return F.interpolate(x, size=size, mode=mode, align_corners=False if mode == "bilinear" else None)
