"""Reading, writing and converting pictures, with NumPy and Pillow only."""

from nst_lightning.images.animation import ANIMATED, animated_format, write_animation
from nst_lightning.images.color import ColorMatch, luma, match_color, match_luma, to_gray, with_luma
from nst_lightning.images.folders import expand_wildcards, list_inputs, list_pictures
from nst_lightning.images.formats import is_video, list_frames
from nst_lightning.images.paths import PictureError, atomic_path, expand_path, refuse_overwriting_inputs, require_folder
from nst_lightning.images.picture import Animation, Frame, Picture
from nst_lightning.images.pixels import (
    array_to_image,
    fit_short_side,
    image_to_array,
    lay_on_white,
    resize_array,
    resize_short_side,
)
from nst_lightning.images.reading import (
    flatten,
    open_animation,
    read_mask,
    read_picture,
    read_rgb,
    read_size,
    to_mask,
    to_picture,
    to_rgb,
)
from nst_lightning.images.sheet import draw_labeled, draw_sheet
from nst_lightning.images.writing import (
    WRITABLE,
    Metadata,
    WritingOptions,
    check_writable,
    writable_format,
    write_picture,
)

__all__ = [
    "ANIMATED",
    "WRITABLE",
    "Animation",
    "ColorMatch",
    "Frame",
    "Metadata",
    "Picture",
    "PictureError",
    "WritingOptions",
    "animated_format",
    "array_to_image",
    "atomic_path",
    "check_writable",
    "draw_labeled",
    "draw_sheet",
    "expand_path",
    "expand_wildcards",
    "fit_short_side",
    "flatten",
    "image_to_array",
    "is_video",
    "lay_on_white",
    "list_frames",
    "list_inputs",
    "list_pictures",
    "luma",
    "match_color",
    "match_luma",
    "open_animation",
    "read_mask",
    "read_picture",
    "read_rgb",
    "read_size",
    "refuse_overwriting_inputs",
    "require_folder",
    "resize_array",
    "resize_short_side",
    "to_gray",
    "to_mask",
    "to_picture",
    "to_rgb",
    "with_luma",
    "writable_format",
    "write_animation",
    "write_picture",
]
