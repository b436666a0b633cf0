"""What is painted: a photo, paintings and masks, checked and coloured once, shown at any size."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from nst_lightning.images import (
    array_to_image,
    image_to_array,
    luma,
    match_colour,
    match_luma,
    resize_array,
    resize_short_side,
    to_grey,
    with_luma,
)
from nst_lightning.optimization.options import OptimizeOptions
from nst_lightning.optimization.single_scale import Region
from nst_lightning.perception.pixels import image_to_tensor

ASPECT_TOLERANCE = 0.02


class Scene:
    """The pictures of one optimization.

    Args:
        photo: RGB in [0, 1], float32 of shape (3, H, W).
        styles: paintings, RGB.
        size: width and height of the picture to make.
        options: colours, scale and margin.
        shares: weight of each painting in a blend; by default all the same.
        masks: where each painting's style goes.
        init: a picture to start from.
        device: where its tensors go.

    Raises:
        ValueError: counts that don't agree, a mask or `init` of another aspect ratio, or a mask all black.
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
            raise ValueError("styles: none given; one painting or more is needed")
        check_pairs(len(styles), None if masks is None else len(masks), shares)
        self.options, self.device, self.init = options, device, init
        self.shares = _normalised(shares, len(styles))
        if init is not None:
            _check_aspect("init: the picture", init.size, (photo.shape[2], photo.shape[1]))
        self.masks = None if masks is None else _checked(masks, (photo.shape[2], photo.shape[1]))
        photo = resize_array(photo, size)
        self.photo = photo if masks is not None or options.colour != "style" else None  # a large one is many bytes
        weights = [None] * len(styles) if masks is None else [_grey(_mask(mask, size)) for mask in self.masks]
        for number, weight in enumerate(weights, 1):
            if weight is not None and weight.max() == 0:
                found = f"number {number} is all black at {size[0]}x{size[1]}"
                raise ValueError(f"masks: {found}; its white parts are too small")
        self.content, self.styles = array_to_image(photo), list(styles)
        if options.recolour == "before" and options.colour != "style":
            self.styles = [self._recoloured(style, weight) for style, weight in zip(styles, weights)]
            if options.colour == "luminance":
                self.content = array_to_image(to_grey(photo))

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
            matched = (match_colour(noise, image_to_array(style)) for style in self.styles)
            noise = sum(share * each for share, each in zip(self.shares, matched))
        return torch.from_numpy(noise.clip(0, 1))[None].to(self.device)

    def finish(self, picture: Tensor) -> np.ndarray:
        """The picture that a tensor of shape (1, 3, H, W), with its margin, stands for, with its colours and masks.

        Returns:
            float32 RGB in [0, 1], shape (3, H, W).
        """
        cut = self.options.margin
        pixels = picture[0, :, cut : picture.shape[2] - cut, cut : picture.shape[3] - cut].cpu().numpy()
        if self.photo is None:
            return pixels
        size = pixels.shape[2], pixels.shape[1]
        photo = resize_array(self.photo, size)
        if self.options.colour == "luminance":
            pixels = with_luma(photo, luma(pixels))
        elif self.options.colour == "histogram" and self.options.recolour == "after":
            weights = None if self.masks is None else _union(self.masks, size)
            if weights is None or weights.any():  # small levels may lose a mask
                of_both = {"weights": weights, "reference_weights": weights}
                pixels = match_colour(pixels, photo, self.options.colour_match, **of_both)
        if self.masks is not None:
            pixels = photo + _union(self.masks, size) * (pixels - photo)
        return pixels

    def _recoloured(self, style: Image.Image, weights: np.ndarray | None) -> Image.Image:
        """A painting in the colours, or the brightness, of the part of the photo that it goes to."""
        pixels = image_to_array(style)
        if self.options.colour == "luminance":
            return array_to_image(match_luma(pixels, self.photo, reference_weights=weights))
        return array_to_image(match_colour(pixels, self.photo, self.options.colour_match, reference_weights=weights))

    def _tensor(self, image: Image.Image, margin: int = 0) -> Tensor:
        tensor = image_to_tensor(image).to(self.device)
        return F.pad(tensor, (margin,) * 4, mode="reflect") if margin else tensor


def check_pairs(styles: int, masks: int | None, shares: Sequence[float] | None) -> None:
    """Refuse masks or shares that don't go with so many styles.

    Raises:
        ValueError: their numbers differ, both are given, or a share is negative or all are 0.
    """
    if masks is not None and shares is not None:
        raise ValueError("shares: not allowed with masks, which give each painting a place of its own")
    if masks is not None and masks != styles:
        raise ValueError(f"masks: {masks} given for {styles} styles; each style needs one, in the same order")
    if shares is None:
        return
    if len(shares) != styles:
        raise ValueError(f"shares: {len(shares)} given for {styles} styles")
    if any(not share >= 0 for share in shares) or sum(shares) == 0:
        raise ValueError(f"shares: {list(shares)} are not allowed; they must be 0 or more, and one of them above 0")


def _normalised(shares: Sequence[float] | None, count: int) -> list[float]:
    shares = [1.0] * count if shares is None else list(shares)
    return [share / sum(shares) for share in shares]


def _checked(masks: Sequence[Image.Image], size: tuple[int, int]) -> list[Image.Image]:
    """Masks as grey RGB pictures."""
    grey = [mask.convert("L") for mask in masks]
    for number, mask in enumerate(grey, 1):
        _check_aspect(f"masks: number {number}", mask.size, size)
        if mask.getextrema()[1] == 0:
            raise ValueError(f"masks: number {number} is all black; white marks where its style goes")
    return [mask.convert("RGB") for mask in grey]


def _check_aspect(what: str, size: tuple[int, int], photo: tuple[int, int]) -> None:
    if abs(size[0] * photo[1] / (size[1] * photo[0]) - 1) > ASPECT_TOLERANCE:
        raise ValueError(
            f"{what} is {size[0]}x{size[1]}, the photo {photo[0]}x{photo[1]}; "
            f"their aspect ratios must agree within {ASPECT_TOLERANCE:.0%}"
        )


def _grey(mask: Image.Image) -> np.ndarray:
    return image_to_array(mask)[0]


def _union(masks: Sequence[Image.Image], size: tuple[int, int]) -> np.ndarray:
    return sum(_grey(_mask(mask, size)) for mask in masks).clip(0, 1)


def _mask(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resized without overshoot: black stays black, up to the edge."""
    if mask.size == size:
        return mask
    enlarged = mask.width < size[0] or mask.height < size[1]
    return mask.resize(size, Image.Resampling.BILINEAR if enlarged else Image.Resampling.BOX)


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)
