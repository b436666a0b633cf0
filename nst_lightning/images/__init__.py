"""Pictures in and out, with NumPy and Pillow only."""

from nst_lightning.images.colour import ColourMatch, luma, match_colour, match_luma, to_grey, with_luma
from nst_lightning.images.files import (
    WRITABLE,
    Picture,
    read_picture,
    read_rgb,
    to_rgb,
    writable,
    writable_format,
    write_picture,
)
from nst_lightning.images.paths import (
    PictureError,
    atomic_path,
    expand_path,
    keep_inputs,
    list_pictures,
    pictures_to_do,
)
from nst_lightning.images.pixels import array_to_image, image_to_array, resize_array, resize_short_side
from nst_lightning.images.sheet import draw_labelled, draw_sheet

__all__ = [
    "WRITABLE",
    "ColourMatch",
    "Picture",
    "PictureError",
    "array_to_image",
    "atomic_path",
    "draw_labelled",
    "draw_sheet",
    "expand_path",
    "image_to_array",
    "keep_inputs",
    "list_pictures",
    "luma",
    "match_colour",
    "match_luma",
    "pictures_to_do",
    "read_picture",
    "read_rgb",
    "resize_array",
    "resize_short_side",
    "to_grey",
    "to_rgb",
    "with_luma",
    "writable",
    "writable_format",
    "write_picture",
]
