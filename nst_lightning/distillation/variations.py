"""Pictures unlike photographs, which a network that judges stylized pictures must have seen as well."""

import torch
from torch import Tensor
from torch.nn import functional as F


def random_textures(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Colored noise of a random spectrum, from cloudy to gritty, about random colors.

    Args:
        shape: (N, 3, H, W) of the pictures wanted.
        generator: source of the randomness, on the CPU.

    Returns:
        RGB in [0, 1].
    """
    count, channels, height, width = shape
    picture = torch.rand(count, channels, 1, 1, generator=generator).expand(shape)
    for cell in (1, 2, 4, 8, 16, 32, 64):
        grid = torch.randn(count, channels, -(-height // cell) + 1, -(-width // cell) + 1, generator=generator)
        mixing = torch.randn(count, channels, channels, generator=generator) / channels**0.5
        grid = torch.einsum("nij,njhw->nihw", mixing, grid)
        strength = 0.35 * torch.rand(count, 1, 1, 1, generator=generator) ** 3
        picture = picture + strength * F.interpolate(grid, size=(height, width), mode="bicubic", align_corners=False)
    return picture.clamp(0, 1)


def random_colors(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures of shape (N, 3, H, W), RGB in [0, 1], with mixed channels and another contrast and brightness."""
    count = len(pictures)
    mixing = torch.eye(3) + 0.4 * torch.randn(count, 3, 3, generator=generator)
    contrast = 0.4 + 1.2 * torch.rand(count, 1, 1, 1, generator=generator)
    brightness = 0.2 * torch.randn(count, 3, 1, 1, generator=generator)
    middle = pictures.mean((2, 3), keepdim=True)
    return (middle + contrast * torch.einsum("nij,njhw->nihw", mixing, pictures - middle) + brightness).clamp(0, 1)


def flat_areas(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures of shape (N, 3, H, W) reduced to a few tones a channel: flat areas with hard edges."""
    tones = torch.randint(1, 7, (len(pictures), 1, 1, 1), generator=generator)
    return (pictures * tones).round() / tones


def noisy(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures of shape (N, 3, H, W) with noise, such as pictures have while they are optimized."""
    strength = 0.25 * torch.rand(len(pictures), 1, 1, 1, generator=generator) ** 2
    return (pictures + strength * torch.randn(pictures.shape, generator=generator)).clamp(0, 1)


def vary(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Leave each picture as it is, or change it at random: textures, colors, flat areas, noise, blends.

    Args:
        pictures: RGB in [0, 1], shape (N, 3, H, W), on the CPU.
        generator: source of the randomness, whose state decides everything.

    Returns:
        The same shape and range.
    """

    def chosen(share: float) -> Tensor:
        return torch.rand(len(pictures), 1, 1, 1, generator=generator) < share

    pictures = torch.where(chosen(0.1), random_textures(pictures.shape, generator), pictures)
    blend = torch.rand(len(pictures), 1, 1, 1, generator=generator)
    pictures = torch.where(chosen(0.15), blend * pictures + (1 - blend) * pictures.roll(1, 0), pictures)
    pictures = torch.where(chosen(0.3), random_colors(pictures, generator), pictures)
    pictures = torch.where(chosen(0.15), flat_areas(pictures, generator), pictures)
    return torch.where(chosen(0.3), noisy(pictures, generator), pictures)
