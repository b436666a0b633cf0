"""What is painted: a photo, paintings and masks, checked and colored once, shown at any size."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from nst_lightning.encoders import image_to_tensor
from nst_lightning.errors import UserError, require
from nst_lightning.images import (
    array_to_image,
    image_to_array,
    luma,
    match_color,
    match_luma,
    resize_array,
    resize_short_side,
    to_gray,
    with_luma,
)
from nst_lightning.optimization.options import OptimizeOptions
from nst_lightning.optimization.single_scale import Region

ASPECT_TOLERANCE = 0.02


class Scene:
    """The pictures of one optimization.

    Args:
        photo: RGB in [0, 1], float32 of shape (3, H, W).
        styles: paintings, RGB.
        size: width and height of the picture to make.
        options: colors, scale and margin.
        shares: weight of each painting in a blend; by default all the same.
        masks: where each painting's style goes.
        init: a picture to start from.
        device: where its tensors go.

    Raises:
        UserError: counts that don't agree, a mask or `init` of another aspect ratio, or a mask all black.
    """

    def __init__(
        self,
        photo: np.ndarray,
        styles: Sequence[Image.Image],
        size: tuple[int, int],
        options: OptimizeOptions,
        *,
        shares: Sequence[float] | None = None,
        masks: Sequence[Image.Image] | None = None,
        init: Image.Image | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if not styles:
            raise UserError("styles: none given; one painting or more is needed")
        check_pairs(len(styles), None if masks is None else len(masks), shares)
        self.options, self.device, self.init = options, device, init
        self.shares = _normalized(shares, len(styles))
        if init is not None:
            _check_aspect("init: the picture", init.size, (photo.shape[2], photo.shape[1]))
        self.masks = None if masks is None else _checked(masks, (photo.shape[2], photo.shape[1]))
        photo = resize_array(photo, size)
        self.photo = photo if masks is not None or options.color != "style" else None  # a large one is many bytes
        weights = [None] * len(styles) if masks is None else [_gray(_mask(mask, size)) for mask in self.masks]
        for number, weight in enumerate(weights, 1):
            if weight is not None and weight.max() == 0:
                found = f"number {number} is all black at {size[0]}x{size[1]}"
                raise UserError(f"masks: {found}; its white parts are too small")
        self.content, self.styles = array_to_image(photo), list(styles)
        if options.recolor == "before" and options.color != "style":
            self.styles = [self._recolored(style, weight) for style, weight in zip(styles, weights)]
            if options.color == "luminance":
                self.content = array_to_image(to_gray(photo))

    def shown(self, width: int, height: int) -> Tensor:
        """The photo as the encoder sees it, with its margin, shape (1, 3, H, W)."""
        return self._tensor(_resized(self.content, (width, height)), self.options.margin)

    def regions(self, width: int, height: int, least: int) -> list[Region]:
        """Paintings at the scale of a photo of that size, their short sides no less than `least` pixels; and masks."""
        short_side = max(least, round(min(width, height) * self.options.style_scale))
        paintings = [self._tensor(resize_short_side(style, short_side)) for style in self.styles]
        if self.masks is None:
            return [Region(paintings, self.shares)]
        masks = [self._tensor(_mask(mask, (width, height)), self.options.margin)[:, :1] for mask in self.masks]
        return [Region([painting], [1.0], mask) for painting, mask in zip(paintings, masks)]

    def first(self, shown: Tensor) -> Tensor:
        """The picture to start from, as large as the photo shown."""
        if self.init is not None:
            width, height = (side - 2 * self.options.margin for side in reversed(shown.shape[-2:]))
            return self._tensor(_resized(self.init, (width, height)), self.options.margin)
        if self.options.start == "content":
            return shown.clone()
        noise = np.random.default_rng(self.options.seed).normal(0.5, 0.2, shown.shape[1:]).astype(np.float32)
        if self.options.start == "style":
            matched = (match_color(noise, image_to_array(style)) for style in self.styles)
            noise = sum(share * each for share, each in zip(self.shares, matched))
        return torch.from_numpy(noise.clip(0, 1))[None].to(self.device)

    def finish(self, picture: Tensor) -> np.ndarray:
        """The picture that a tensor of shape (1, 3, H, W), with its margin, stands for, with its colors and masks.

        Returns:
            float32 RGB in [0, 1], shape (3, H, W).
        """
        cut = self.options.margin
        pixels = picture[0, :, cut : picture.shape[2] - cut, cut : picture.shape[3] - cut].cpu().numpy()
        if self.photo is None:
            return pixels
        size = pixels.shape[2], pixels.shape[1]
        photo = resize_array(self.photo, size)
        if self.options.color == "luminance":
            pixels = with_luma(photo, luma(pixels))
        elif self.options.color == "histogram" and self.options.recolor == "after":
            weights = None if self.masks is None else _union(self.masks, size)
            if weights is None or weights.any():  # small levels may lose a mask
                of_both = {"weights": weights, "reference_weights": weights}
                pixels = match_color(pixels, photo, self.options.color_match, **of_both)
        if self.masks is not None:
            pixels = photo + _union(self.masks, size) * (pixels - photo)
        return pixels

    def _recolored(self, style: Image.Image, weights: np.ndarray | None) -> Image.Image:
        """A painting in the colors, or the brightness, of the part of the photo that it goes to."""
        pixels = image_to_array(style)
        if self.options.color == "luminance":
            return array_to_image(match_luma(pixels, self.photo, reference_weights=weights))
        return array_to_image(match_color(pixels, self.photo, self.options.color_match, reference_weights=weights))

    def _tensor(self, image: Image.Image, margin: int = 0) -> Tensor:
        tensor = image_to_tensor(image).to(self.device)
        return F.pad(tensor, (margin,) * 4, mode="reflect") if margin else tensor


def check_pairs(styles: int, masks: int | None, shares: Sequence[float] | None) -> None:
    """Refuse masks or shares that don't go with so many styles.

    Raises:
        UserError: their numbers differ, both are given, or a share is negative or all are 0.
    """
    if masks is not None and shares is not None:
        raise UserError("shares can't be given with masks, which give each painting a place of its own")
    if masks is not None and masks != styles:
        raise UserError(f"masks: {masks} given for {styles} styles; each style needs one, in the same order")
    if shares is None:
        return
    if len(shares) != styles:
        raise UserError(f"shares: {len(shares)} given for {styles} styles")
    good = all(share >= 0 for share in shares) and sum(shares) > 0
    require("shares", list(shares), good, ">= 0, one of them > 0")


def _normalized(shares: Sequence[float] | None, count: int) -> list[float]:
    shares = [1.0] * count if shares is None else list(shares)
    return [share / sum(shares) for share in shares]


def _checked(masks: Sequence[Image.Image], size: tuple[int, int]) -> list[Image.Image]:
    """Masks as gray RGB pictures."""
    gray = [mask.convert("L") for mask in masks]
    for number, mask in enumerate(gray, 1):
        _check_aspect(f"masks: number {number}", mask.size, size)
        if mask.getextrema()[1] == 0:
            raise UserError(f"masks: number {number} is all black; white marks where its style goes")
    return [mask.convert("RGB") for mask in gray]


def _check_aspect(what: str, size: tuple[int, int], photo: tuple[int, int]) -> None:
    if abs(size[0] * photo[1] / (size[1] * photo[0]) - 1) > ASPECT_TOLERANCE:
        raise UserError(
            f"{what} is {size[0]}x{size[1]}, the photo {photo[0]}x{photo[1]}; "
            f"their aspect ratios must agree within {ASPECT_TOLERANCE:.0%}"
        )


def _gray(mask: Image.Image) -> np.ndarray:
    return image_to_array(mask)[0]


def _union(masks: Sequence[Image.Image], size: tuple[int, int]) -> np.ndarray:
    return sum(_gray(_mask(mask, size)) for mask in masks).clip(0, 1)


def _mask(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resized without overshoot: black stays black, up to the edge."""
    if mask.size == size:
        return mask
    enlarged = mask.width < size[0] or mask.height < size[1]
    return mask.resize(size, Image.Resampling.BILINEAR if enlarged else Image.Resampling.BOX)


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)
