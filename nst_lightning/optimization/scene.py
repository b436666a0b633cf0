"""The photo, paintings and masks of an optimization, checked and recolored once, and available at any size."""

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
    to_mask,
    with_luma,
)
from nst_lightning.optimization.options import ColorOptions, Start
from nst_lightning.optimization.single_scale import Region

ASPECT_TOLERANCE = 0.02


class Scene:
    """The pictures of one optimization.

    Args:
        photo: RGB in [0, 1], float32 array of shape (3, H, W).
        paintings: the style pictures, RGB images.
        size: width and height of the picture to make.
        color: whose colors the picture has.
        painting_scale: factor that enlarges the paintings relative to the photo.
        margin: pixels beyond each border that are optimized as well.
        blend_weights: weight of each painting in a blend; by default all the same.
        masks: a mask for each painting, white where its style goes.
        init: a picture to start from.
        device: device of the tensors.

    Raises:
        UserError: the numbers of paintings, masks and weights don't fit together, a mask or `init` has another aspect
            ratio than the photo, or a mask is all black.
    """

    def __init__(
        self,
        photo: np.ndarray,
        paintings: Sequence[Image.Image],
        *,
        size: tuple[int, int],
        color: ColorOptions,
        painting_scale: float = 1.0,
        margin: int = 0,
        blend_weights: Sequence[float] | None = None,
        masks: Sequence[Image.Image] | None = None,
        init: Image.Image | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        check_counts(len(paintings), masks=None if masks is None else len(masks), blend_weights=blend_weights)
        self.color, self.painting_scale, self.margin = color, painting_scale, margin
        self.init, self.device = init, device
        self.blend_weights = _normalize(blend_weights, len(paintings))
        if init is not None:
            _check_aspect("init", init.size, (photo.shape[2], photo.shape[1]))
        self.masks = None if masks is None else _check_masks(masks, (photo.shape[2], photo.shape[1]))
        photo = resize_array(photo, size)
        preserve = color.preserve_color
        self.photo = photo if masks is not None or preserve != "none" else None  # large photos take much memory
        weights: list[np.ndarray | None] = [None] * len(paintings)
        if self.masks is not None:
            weights = [_to_gray(_resize_mask(mask, size)) for mask in self.masks]
        for number, weight in enumerate(weights, 1):
            if weight is not None and weight.max() == 0:
                raise UserError.about(
                    "masks", f"number {number} is all black at {size[0]}x{size[1]}; its white parts are too small"
                )
        self.content, self.paintings = array_to_image(photo), list(paintings)
        if color.recolor == "before" and preserve != "none":
            self.paintings = [self._recolor(painting, photo, weight) for painting, weight in zip(paintings, weights)]
            if preserve == "luminance":
                self.content = array_to_image(to_gray(photo))

    def photo_at(self, width: int, height: int) -> Tensor:
        """The photo at a size, with its margin, as a tensor of shape (1, 3, H, W)."""
        return self._to_tensor(_resize(self.content, (width, height)), self.margin)

    def regions_at(self, width: int, height: int, *, least: int) -> list[Region]:
        """The regions for a photo of a size: paintings, with short sides of at least `least` pixels, and masks."""
        short_side = max(least, round(min(width, height) * self.painting_scale))
        paintings = [self._to_tensor(resize_short_side(painting, short_side)) for painting in self.paintings]
        if self.masks is None:
            return [Region(paintings, self.blend_weights)]
        masks = [self._to_tensor(_resize_mask(mask, (width, height)), self.margin)[:, :1] for mask in self.masks]
        return [Region([painting], [1.0], mask) for painting, mask in zip(paintings, masks)]

    def first_pixels(self, photo: Tensor, *, start: Start, seed: int) -> Tensor:
        """The pixels to start from: `init`, if there is one, or what `start` says.

        Args:
            photo: the result of `photo_at`.
            start: see `PyramidOptions`.
            seed: random seed of the noise.

        Returns:
            RGB in [0, 1], of the photo's shape.
        """
        if self.init is not None:
            width, height = (side - 2 * self.margin for side in reversed(photo.shape[-2:]))
            return self._to_tensor(_resize(self.init, (width, height)), self.margin)
        if start == "content":
            return photo.clone()
        noise = np.random.default_rng(seed).normal(0.5, 0.2, photo.shape[1:]).astype(np.float32)
        if start == "style":
            matched = (match_color(noise, image_to_array(painting)) for painting in self.paintings)
            blended = [weight * each for weight, each in zip(self.blend_weights, matched)]
            noise = np.sum(blended, axis=0).astype(np.float32)
        return torch.from_numpy(noise.clip(0, 1))[None].to(self.device)

    def render(self, pixels: Tensor) -> np.ndarray:
        """Make the picture from optimized pixels of shape (1, 3, H, W): cut the margin, recolor, and apply masks.

        Returns:
            RGB in [0, 1], float32 array of shape (3, H, W).
        """
        cut = self.margin
        found = pixels[0, :, cut : pixels.shape[2] - cut, cut : pixels.shape[3] - cut].cpu().numpy()
        if self.photo is None:
            return found
        size = found.shape[2], found.shape[1]
        photo = resize_array(self.photo, size)
        if self.color.preserve_color == "luminance":
            found = with_luma(photo, luma(found))
        elif self.color.preserve_color == "linear" and self.color.recolor == "after":
            weights = None if self.masks is None else _unite(self.masks, size)
            if weights is None or weights.any():  # masks may vanish at small levels
                method = self.color.color_match
                found = match_color(found, photo, method, weights=weights, reference_weights=weights)
        if self.masks is not None:
            found = photo + _unite(self.masks, size) * (found - photo)
        return found

    def _recolor(self, painting: Image.Image, photo: np.ndarray, weights: np.ndarray | None) -> Image.Image:
        """Recolor a painting to the colors, or the brightness, of its part of the photo."""
        pixels = image_to_array(painting)
        if self.color.preserve_color == "luminance":
            return array_to_image(match_luma(pixels, photo, reference_weights=weights))
        return array_to_image(match_color(pixels, photo, self.color.color_match, reference_weights=weights))

    def _to_tensor(self, image: Image.Image, margin: int = 0) -> Tensor:
        tensor = image_to_tensor(image).to(self.device)
        return F.pad(tensor, (margin,) * 4, mode="reflect") if margin else tensor


def check_counts(paintings: int, *, masks: int | None, blend_weights: Sequence[float] | None) -> None:
    """Refuse masks or blend weights that don't fit the number of paintings.

    Raises:
        UserError: their number is different, both are given, a weight is negative, or all weights are 0.
    """
    if not paintings:
        raise UserError("paintings must be one or more, got none")
    if masks is not None and blend_weights is not None:
        problem = "blend_weights can't be given with masks, which give each painting a place of its own"
        raise UserError(problem, argument="blend_weights")
    if masks is not None and masks != paintings:
        problem = f"masks must be one for each painting, in the same order: {paintings}, got {masks}"
        raise UserError(problem, argument="masks")
    if blend_weights is None:
        return
    if len(blend_weights) != paintings:
        problem = f"blend_weights must be one for each painting: {paintings}, got {len(blend_weights)}"
        raise UserError(problem, argument="blend_weights")
    good = all(weight >= 0 for weight in blend_weights) and sum(blend_weights) > 0
    require("blend_weights", list(blend_weights), good, ">= 0, one of them > 0")


def _normalize(weights: Sequence[float] | None, count: int) -> list[float]:
    weights = [1.0] * count if weights is None else list(weights)
    return [weight / sum(weights) for weight in weights]


def _check_masks(masks: Sequence[Image.Image], size: tuple[int, int]) -> list[Image.Image]:
    """Check masks, and convert them to gray RGB images."""
    gray = [to_mask(mask) for mask in masks]
    for number, mask in enumerate(gray, 1):
        _check_aspect(f"masks: number {number}", mask.size, size)
        if mask.getextrema()[1] == 0:
            raise UserError.about("masks", f"number {number} is all black; it must be white where its style goes")
    return [mask.convert("RGB") for mask in gray]


def _check_aspect(name: str, size: tuple[int, int], photo: tuple[int, int]) -> None:
    if abs(size[0] * photo[1] / (size[1] * photo[0]) - 1) > ASPECT_TOLERANCE:
        raise UserError(
            f"{name} must have the aspect ratio of the photo, {photo[0]}x{photo[1]}, within {ASPECT_TOLERANCE:.0%}, "
            f"got {size[0]}x{size[1]}",
            argument=name.partition(":")[0],
        )


def _to_gray(mask: Image.Image) -> np.ndarray:
    return image_to_array(mask)[0]


def _unite(masks: Sequence[Image.Image], size: tuple[int, int]) -> np.ndarray:
    return np.sum([_to_gray(_resize_mask(mask, size)) for mask in masks], axis=0).clip(0, 1)


def _resize_mask(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize a mask without overshoot, so that black stays black up to the edges."""
    if mask.size == size:
        return mask
    enlarged = mask.width < size[0] or mask.height < size[1]
    return mask.resize(size, Image.Resampling.BILINEAR if enlarged else Image.Resampling.BOX)


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)
