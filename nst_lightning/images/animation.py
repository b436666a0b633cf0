"""Writing animations, and files of several pages, frame by frame: only one frame is in memory at once."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import GifImagePlugin, Image, TiffImagePlugin

from nst_lightning.images.deep import png_chunk, png_chunks
from nst_lightning.images.paths import PictureError, atomic_path
from nst_lightning.images.picture import Animation, Frame, Picture
from nst_lightning.images.writing import LARGEST, WritingOptions, encode, limit_metadata, save_options, to_image

_TRANSPARENT = 255
"""The color of a GIF that is transparent, after 255 others."""
_LARGEST = LARGEST | {"GIF": 2**16 - 1}
_SHORT, _LONGEST = 2**16 - 1, 2**24 - 1  # what fields of 16 bits hold, and the milliseconds of a frame in WebP


def animated_format(path: str | Path) -> str:
    """Pillow's name for the format of several frames that a file's ending stands for.

    Raises:
        PictureError: the ending stands for none.
    """
    kind = ANIMATED.get(Path(path).suffix.lower())
    if kind is None:
        raise PictureError(f"{path}: can't hold several frames; endings allowed: {', '.join(ANIMATED)}")
    return kind


def write_animation(path: str | Path, animation: Animation, options: WritingOptions = WritingOptions()) -> None:
    """Write frames with their times, under a temporary name that is renamed when the file is complete.

    GIF has 255 colors for each frame, and pixels that are either opaque or transparent; PNG becomes APNG, and TIFF has
    pages without times. GIF keeps no metadata, and TIFF only the resolution.

    Args:
        path: the file to write, whose ending is in `ANIMATED`; its folder is created if it is missing.
        animation: the frames.
        options: quality of WebP, and metadata.

    Raises:
        PictureError: the ending stands for another format, or frames are too large for it.
        OSError: the folder is not writable, or the disk is full.
    """
    kind = animated_format(path)
    limited = (
        replace(frame, picture=limit_metadata(frame.picture, options.metadata))
        for frame in _check_sizes(path, kind, animation.frames)
    )
    with atomic_path(path) as temporary, temporary.open("w+b") as file:
        _WRITERS[kind](file, replace(animation, frames=limited), options.quality)


def _check_sizes(path: str | Path, kind: str, frames: Iterator[Frame]) -> Iterator[Frame]:
    first = None
    for frame in frames:
        width, height = size = frame.picture.size
        first = first or size
        if max(size) > _LARGEST.get(kind, max(size)):
            problem = f"the sides of a {kind} must be <= {_LARGEST[kind]} pixels, got {width}x{height}"
            raise PictureError(f"{path}: {problem}")
        if size != first and kind != "TIFF":
            problem = f"all frames of a {kind} have one size, got {width}x{height} after {first[0]}x{first[1]}"
            raise PictureError(f"{path}: {problem}; .tif can hold pages of any size")
        yield frame


def _write_gif(file: IO[bytes], animation: Animation, quality: int) -> None:
    for number, frame in enumerate(animation.frames):
        if number == 0:
            file.write(b"GIF89a" + struct.pack("<HHBBB", *frame.picture.size, 0x70, 0, 0))
            if animation.plays != 1:  # the field counts repetitions
                repeats = min(max(0, animation.plays - 1), _SHORT)
                file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", repeats, 0))
        centiseconds = min(round(frame.milliseconds / 10), _SHORT)
        values: dict[str, Any] = {"duration": 10 * centiseconds, "include_color_table": True}
        if frame.picture.alpha is not None:
            values |= {"transparency": _TRANSPARENT, "disposal": 2}  # cleared before the next one
        file.writelines(GifImagePlugin.getdata(_to_palette(frame.picture), **values))
    file.write(b";")


def _to_palette(picture: Picture) -> Image.Image:
    """The picture with a palette of 256 colors, of which the last is transparent."""
    image = picture.image.quantize(_TRANSPARENT)
    palette = image.getpalette() or []
    image.putpalette([*palette, *[0] * (3 * 256 - len(palette))])
    if picture.alpha is not None:
        hidden = np.asarray(to_image(picture).getchannel("A")) < 128
        image.paste(_TRANSPARENT, mask=Image.fromarray(np.where(hidden, np.uint8(255), np.uint8(0))))
    return image


def _write_png(file: IO[bytes], animation: Animation, quality: int) -> None:
    """Write an APNG, see https://www.w3.org/TR/png-3/#apng-frame-based-animation."""
    order = 0
    for number, frame in enumerate(animation.frames):
        encoded = BytesIO()
        image = to_image(frame.picture).convert("RGBA")  # all frames have the same mode
        image.save(encoded, "PNG", **save_options("PNG", frame.picture, quality))
        chunks = [chunk for chunk in png_chunks(encoded.getvalue()) if chunk[0] != b"IEND"]
        if number == 0:
            chunks.insert(1, (b"acTL", struct.pack(">LL", animation.count, animation.plays)))
            file.write(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks if chunk[0] != b"IDAT"))
        file.write(png_chunk(b"fcTL", struct.pack(">LLLLLHHBB", order, *image.size, 0, 0, *_seconds(frame), 0, 0)))
        order += 1
        for data in (data for kind, data in chunks if kind == b"IDAT"):
            file.write(png_chunk(b"fdAT", struct.pack(">L", order) + data) if number else png_chunk(b"IDAT", data))
            order += number > 0
    file.write(png_chunk(b"IEND", b""))


def _seconds(frame: Frame) -> tuple[int, int]:
    """The time of a frame as a fraction whose terms fit 16 bits."""
    if frame.milliseconds <= _SHORT:
        return round(frame.milliseconds), 1000
    return min(round(frame.milliseconds / 1000), _SHORT), 1


def _write_webp(file: IO[bytes], animation: Animation, quality: int) -> None:
    first = next(animation.frames)
    durations = [first.milliseconds]
    later = _LaterFrames(animation.frames, durations, animation.count - 1)
    options = save_options("WEBP", first.picture, quality)
    times = {"duration": durations, "loop": min(animation.plays, _SHORT)}
    to_image(first.picture).save(file, "WEBP", save_all=True, append_images=[later], **times, **options)


class _LaterFrames:
    """Frames for Pillow's encoder of WebP, which takes a list: its one entry becomes each of them in turn."""

    def __init__(self, frames: Iterator[Frame], durations: list[float], count: int) -> None:
        self._frames, self._durations, self.n_frames = frames, durations, count

    def seek(self, number: int) -> None:
        frame = next(self._frames)
        self._image = to_image(frame.picture)
        self._durations.append(min(frame.milliseconds, _LONGEST))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._image, name)


def _write_tiff(file: IO[bytes], animation: Animation, quality: int) -> None:
    with TiffImagePlugin.AppendingTiffWriter(file, new=True) as writer:
        for frame in animation.frames:
            page = replace(frame.picture, exif=None)  # whose directories would not be found
            writer.write(encode("TIFF", np.asarray(to_image(page)), page))
            writer.newFrame()


_WRITERS: dict[str, Callable[[IO[bytes], Animation, int], None]] = {
    "GIF": _write_gif,
    "PNG": _write_png,
    "WEBP": _write_webp,
    "TIFF": _write_tiff,
}
ANIMATED = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF"}
"""File name endings that `write_animation` accepts, and the formats they stand for."""
