"""Johnson's transfer network, with options for large strokes and small networks."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from nst_lightning.errors import require, require_at_least
from nst_lightning.networks.layers import MINIMUM_SIZE, ConvNorm, ResidualBlock, Upsampling, upsample


class JohnsonNet(nn.Module):
    """Convolution, down-samplings, residual blocks, resize-convolutions, convolution (Johnson et al. 2016).

    The defaults are the paper's network, but with instance normalization, and with resize-convolutions (Odena et al.
    2016) in place of transposed convolutions. Pictures have exactly the size of their photos.

    Args:
        width: number of channels after the first convolution, which doubles at every down-sampling.
        blocks: number of residual blocks.
        kernel_size: kernel size of the first and the last convolution, odd; 9 in the paper, 3 costs much less.
        downsamplings: number of down-samplings: 2 as in the paper, or 3 for strokes twice as large with the same
            number of blocks.
        dilations: dilation of each residual block, for example [1, 2, 4, 2, 1], which makes the receptive field as wide
            as large strokes at no cost; by default all are 1.
        upsampling: `nearest`, or `bilinear`, which is softer and leaves no grid.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(
        self,
        width: int = 32,
        blocks: int = 5,
        kernel_size: int = 9,
        downsamplings: int = 2,
        dilations: list[int] | None = None,
        upsampling: Upsampling = "nearest",
    ) -> None:
        super().__init__()
        dilations = [1] * blocks if dilations is None else list(dilations)
        _check(width, blocks, kernel_size, downsamplings, dilations, upsampling)
        self.init_args = {
            "width": width,
            "blocks": blocks,
            "kernel_size": kernel_size,
            "downsamplings": downsamplings,
            "dilations": dilations,
            "upsampling": upsampling,
        }
        self.upsampling: Upsampling = upsampling
        widths = [width * 2**level for level in range(downsamplings + 1)]
        self.head = ConvNorm(3, width, kernel_size)
        self.down = nn.ModuleList(ConvNorm(a, b, 3, stride=2) for a, b in pairwise(widths))
        self.blocks = nn.Sequential(*(ResidualBlock(widths[-1], dilation=dilation) for dilation in dilations))
        self.up = nn.ModuleList(ConvNorm(b, a, 3) for a, b in zip(widths[-2::-1], widths[:0:-1]))
        self.tail = nn.Conv2d(width, 3, kernel_size, padding=kernel_size // 2, padding_mode="reflect")

    def forward(self, photos: Tensor) -> Tensor:
        """Stylize.

        Args:
            photos: RGB in [0, 1], shape (N, 3, H, W), H and W at least 32.

        Returns:
            RGB in [0, 1], same shape.
        """
        x = F.relu(self.head(photos))
        sizes = []
        for down in self.down:
            sizes.append(x.shape[-2:])
            x = F.relu(down(x))
        x = self.blocks(x)
        for up, size in zip(self.up, reversed(sizes)):
            x = F.relu(up(upsample(x, size, self.upsampling)))
        return self.tail(x).float().sigmoid()  # half precision has too few levels near 1


def _check(
    width: int, blocks: int, kernel_size: int, downsamplings: int, dilations: Sequence[int], upsampling: str
) -> None:
    largest = MINIMUM_SIZE // 2**downsamplings - 1  # reflection needs more pixels than it pads
    require_at_least(1, width=width)
    require_at_least(0, blocks=blocks)
    for name, value, good, allowed in (
        ("kernel_size", kernel_size, kernel_size % 2 == 1 and 1 <= kernel_size <= 31, "odd, from 1 to 31"),
        ("downsamplings", downsamplings, downsamplings in (2, 3), "2 or 3"),
        ("dilations", dilations, len(dilations) == blocks, f"one number for each of the {blocks} blocks"),
        ("dilations", dilations, all(1 <= d <= largest for d in dilations), f"from 1 to {largest} at this depth"),
        ("upsampling", upsampling, upsampling in ("nearest", "bilinear"), "nearest or bilinear"),
    ):
        require(name, value, good, allowed)
