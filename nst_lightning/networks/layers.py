"""Building blocks of transfer networks: reflection padding, instance normalization, no transposed convolutions."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

MINIMUM_SIZE = 32
"""The shortest side of a photo, in pixels, that networks accept."""
Upsampling = Literal["nearest", "bilinear"]


def convolution(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, dilation: int = 1, pad: bool = True
) -> nn.Conv2d:
    """A convolution that a normalization follows, without bias.

    Padding, unless left out, is by reflection and keeps the size (divided by the stride).
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
        in_channels: of the input.
        out_channels: of the output.
        kernel_size: odd.
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
        """Shape (N, C, H, W) in and out."""
        return x + self.second(F.relu(self.first(x)))


def upsample(x: Tensor, size: tuple[int, int], mode: Upsampling) -> Tensor:
    """Features of shape (N, C, h, w) enlarged to (N, C, *size)."""
    return F.interpolate(x, size=size, mode=mode, align_corners=False if mode == "bilinear" else None)
