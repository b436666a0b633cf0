"""Kernels for pixels that come in fours: a picture as twelve channels of half its size.

The channels are in the order of columns, rows, colors.
"""

import itertools

import torch
from torch import Tensor

from nst_lightning.images.color import LUMA

_FINE_BLUR = torch.tensor([-1.0, 4.0, 10.0, 4.0, -1.0]) / 16
_COLOR_BLUR = torch.tensor([1.0, 2.0, 2.0, 2.0, 1.0]) / 8  # takes away what recurs after two pixels, or four


def placement_kernel() -> Tensor:
    """The kernel, shape (12, 3, 2, 2), with which a transposed convolution of stride 2 puts the pixels in their places.

    It moves values without changing them. In ONNX files, it needs no shapes, unlike reshaping, and takes a third of the
    time of DepthToSpace.
    """
    return torch.eye(12).view(12, 2, 2, 3).permute(0, 3, 2, 1).contiguous()


def blur_kernel() -> Tensor:
    """The kernel, shape (12, 12, 3, 3), of a blur that removes only what alternates from pixel to pixel.

    An average of 2x2 pixels would hide differences between the four only where a picture is flat; this kernel hides
    them in gradients as well. What differs from the luma is blurred more: edges would have colored fringes otherwise,
    which the losses hardly see.
    """
    luma = torch.from_numpy(LUMA).float().expand(3, 3)  # the mixing of channels that leaves gray
    blurs = ((_FINE_BLUR, luma), (_COLOR_BLUR, torch.eye(3) - luma))
    kernels = [torch.einsum("oihw,ab->oaibhw", _in_fours(taps), mixing) for taps, mixing in blurs]
    return torch.stack(kernels).sum(0).reshape(12, 12, 3, 3)


def _in_fours(taps: Tensor) -> Tensor:
    """The kernel, shape (4, 4, 3, 3), of a separable blur of five taps, for one channel of pixels in fours."""
    kernel = torch.zeros(2, 2, 2, 2, 3, 3)
    for row, column, down, right in itertools.product(*[range(2)] * 2, *[range(-2, 3)] * 2):
        (i, y), (j, x) = divmod(row + down, 2), divmod(column + right, 2)
        kernel[column, row, x, y, i + 1, j + 1] += taps[down + 2] * taps[right + 2]
    return kernel.reshape(4, 4, 3, 3)
