"""Steady video: strokes that stay on what they were painted on, where neighboring frames agree."""

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from nst_lightning.inference.motion import find_motion, follow_motion, no_motion, to_gray_frame

# Tuned on moving cut-outs of photographs with noise, at a short side of 288 pixels.
SAME, OTHER = 12, 30
"""Differences of the photo, in levels of 255 in the channel that differs most: up to the first, the old picture stays;
from the second, the new one is taken."""
_AROUND = 3
"""Differences are averaged over this many pixels in all directions."""
_BORDER = 8
"""Pixels along the border of the old picture that give way to the new one."""
_ENOUGH = 0.75
"""Part of the picture that is kept, below which a new key picture is taken."""
_CUT = 0.3
"""Part that is kept, below which the scene is another one, and nothing is kept at all."""


class Steadier:
    """Lowers the flicker of a video that is painted frame by frame.

    One picture is the key picture. It is moved as the photo moves since, and stays wherever the moved photo and the
    present one agree; elsewhere, the newly painted picture takes its place. Pictures are moved only once from the key
    picture, and hardly averaged, so they stay as crisp as painted ones. The key picture is replaced when too little of
    it is left.
    """

    def __init__(self) -> None:
        self._key: tuple[Image.Image, Image.Image, Image.Image] | None = None
        self._motion = np.zeros((2, 1, 1))

    def __call__(self, photo: Image.Image, picture: Image.Image) -> Image.Image:
        """The steady picture of the next frame.

        Args:
            photo: the frame, an RGB image.
            picture: what has been painted from it, an RGB image of any size, the same for all frames.

        Returns:
            An RGB image of the picture's size.
        """
        photo = photo if photo.size == picture.size else photo.resize(picture.size, Image.Resampling.BICUBIC)
        gray = to_gray_frame(photo)
        if self._key is None or self._key[1].size != picture.size:
            return self._keep(photo, picture, gray)
        known_gray, known_photo, known_picture = self._key
        self._motion = find_motion(gray, known_gray, self._motion)
        mask = find_agreement(photo, known_photo, self._motion)
        kept = np.asarray(mask).mean() / 255
        if kept < _CUT:
            return self._keep(photo, picture, gray)
        steady = Image.composite(follow_motion(known_picture, self._motion), picture, mask)
        if kept < _ENOUGH:  # the photo that belongs to the picture, so that mistakes don't add up
            belonging = Image.composite(follow_motion(known_photo, self._motion), photo, mask)
            self._keep(belonging, steady, to_gray_frame(belonging))
        return steady

    def _keep(self, photo: Image.Image, picture: Image.Image, gray: Image.Image) -> Image.Image:
        self._key, self._motion = (gray, photo, picture), no_motion(gray)
        return picture


def find_agreement(now: Image.Image, before: Image.Image, motion: np.ndarray) -> Image.Image:
    """Where a frame looks as an earlier one that follows the motion between them.

    Args:
        now: the frame, an RGB image.
        before: the earlier frame, of the same size.
        motion: see `find_motion`.

    Returns:
        An image of mode L: 255 where they agree, 0 where they don't.
    """
    red, green, blue = ImageChops.difference(now, follow_motion(before, motion)).split()
    difference = ImageChops.lighter(ImageChops.lighter(red, green), blue).filter(ImageFilter.BoxBlur(_AROUND))
    shares = [255 * min(max((OTHER - level) / (OTHER - SAME), 0), 1) for level in range(256)]
    return ImageChops.multiply(difference.point(shares), follow_motion(_inside(now.size), motion))


def _inside(size: tuple[int, int]) -> Image.Image:
    """White, and black toward the border; of mode L."""
    width, height = size
    image = Image.new("L", size)
    ImageDraw.Draw(image).rectangle((_BORDER, _BORDER, width - _BORDER - 1, height - _BORDER - 1), fill=255)
    return image.filter(ImageFilter.BoxBlur(_BORDER // 2))
