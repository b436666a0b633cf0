"""Variations of pictures that don't look like photographs, since encoders must see stylized pictures, too."""

import torch
from torch import Tensor
from torch.nn import functional as F


def random_textures(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Colored noise with a random spectrum, from cloudy to gritty, around random colors.

    Args:
        shape: shape of the pictures to make, (N, 3, H, W).
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


def change_colors(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Mix the channels of pictures, RGB in [0, 1], shape (N, 3, H, W), and change contrast and brightness."""
    count = len(pictures)
    mixing = torch.eye(3) + 0.4 * torch.randn(count, 3, 3, generator=generator)
    contrast = 0.4 + 1.2 * torch.rand(count, 1, 1, 1, generator=generator)
    brightness = 0.2 * torch.randn(count, 3, 1, 1, generator=generator)
    middle = pictures.mean((2, 3), keepdim=True)
    return (middle + contrast * torch.einsum("nij,njhw->nihw", mixing, pictures - middle) + brightness).clamp(0, 1)


def flatten_tones(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Reduce pictures of shape (N, 3, H, W) to a few tones per channel: flat areas with hard edges."""
    tones = torch.randint(1, 7, (len(pictures), 1, 1, 1), generator=generator)
    return (pictures * tones).round() / tones


def add_noise(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Add noise to pictures of shape (N, 3, H, W), as pictures have it while they are optimized."""
    strength = 0.25 * torch.rand(len(pictures), 1, 1, 1, generator=generator) ** 2
    return (pictures + strength * torch.randn(pictures.shape, generator=generator)).clamp(0, 1)


def vary(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Change pictures at random, or leave them as they are: textures, colors, flat areas, noise, blends.

    Args:
        pictures: RGB in [0, 1], shape (N, 3, H, W), on the CPU.
        generator: source of the randomness, whose state decides everything.

    Returns:
        RGB in [0, 1], the same shape.
    """

    def chosen(share: float) -> Tensor:
        return torch.rand(len(pictures), 1, 1, 1, generator=generator) < share

    pictures = torch.where(chosen(0.1), random_textures(pictures.shape, generator), pictures)
    blend = torch.rand(len(pictures), 1, 1, 1, generator=generator)
    pictures = torch.where(chosen(0.15), blend * pictures + (1 - blend) * pictures.roll(1, 0), pictures)
    pictures = torch.where(chosen(0.3), change_colors(pictures, generator), pictures)
    pictures = torch.where(chosen(0.15), flatten_tones(pictures, generator), pictures)
    return torch.where(chosen(0.3), add_noise(pictures, generator), pictures)
