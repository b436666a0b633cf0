"""Pictures with 16 bits per channel, which Pillow can decode, but not hold or write."""

import struct
import sys
import zlib
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import numpy as np
from PIL import ImageFile

from nst_lightning.images.exif import LONG, MAIN, SHORT, UNDEFINED, header, read_directories, write_directories

_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_DEPTHS, _PLANES = 258, 284  # TIFF's tags BitsPerSample and PlanarConfiguration
_STRIP = 2**18  # bytes of pixels in each compressed strip of a TIFF


def lower_bytes(image: ImageFile.ImageFile) -> list[Any] | None:
    """The `tile` that makes Pillow decode the lower bytes of 16-bit RGB or RGBA values, for an image not loaded yet.

    Pillow keeps the upper byte of each value. If the tile states the opposite byte order, Pillow keeps the lower one.

    Returns:
        The value to assign to `image.tile`, or None for a file of any other kind.
    """
    tiles = []
    for tile in image.tile:
        raw_mode, *rest = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        kind, _, depth = str(raw_mode).partition(";")
        if kind not in ("RGB", "RGBA", "RGBX", *"RGBA") or depth not in ("16B", "16L", "16N"):
            return None  # RGBa too: Pillow divides its colors by alpha, which needs whole values
        other = f"{kind};16{_OTHER_ORDER[depth[-1]]}"
        tiles.append(tile._replace(args=(other, *rest) if rest else other))
    return tiles or None


def state_planes_depth(image: ImageFile.ImageFile) -> bool:
    """State the depth of uncompressed planes with 16 bits in the tiles of a TIFF, which Pillow takes for 8 bits.

    Returns:
        Whether Pillow can decode the planes: those of RGB and RGBA.
    """
    tags = image.tag_v2  # type: ignore[attr-defined]
    tiles: list[Any] = image.tile
    if tags.get(_PLANES) != 2 or 16 not in tags.get(_DEPTHS, ()) or any(tile[0] != "raw" for tile in tiles):
        return True
    order = "L" if tags.prefix == b"II" else "B"
    image.tile = [tile._replace(args=(f"{tile.args[0]};16{order}", *tile.args[1:])) for tile in tiles]
    return all(tile.args[0] in "RGBA" for tile in tiles)


def encode_png(
    samples: np.ndarray,
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
) -> bytes:
    """A PNG file of uint16 samples of shape (H, W, 3), or (H, W, 4) with alpha."""
    height, width, channels = samples.shape
    pixels = samples.astype(">u2", order="C").view(np.uint8)  # (H, W, 2 * channels)
    rows = _differences(pixels).reshape(height, -1)
    filtered = np.insert(rows, 0, 1, axis=1)  # each row's filter: 1 is the difference from the pixel to the left
    color_type = 2 if channels == 3 else 6
    chunks = [(b"IHDR", struct.pack(">LLBBBBB", width, height, 16, color_type, 0, 0, 0))]
    if icc_profile:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc_profile)))
    if dpi:
        chunks.append((b"pHYs", struct.pack(">LLB", *(round(value / 0.0254) for value in dpi), 1)))  # pixels per meter
    if exif:
        chunks.append((b"eXIf", exif.removeprefix(b"Exif\0\0")))
    chunks += [(b"IDAT", zlib.compress(filtered.tobytes())), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, data) for kind, data in chunks)


def encode_tiff(samples: np.ndarray, icc_profile: bytes | None = None, exif: bytes | None = None) -> bytes:
    """A TIFF file (Deflate) of uint8 or uint16 samples of shape (H, W, 3), or (H, W, 4) with alpha."""
    order, directories = read_directories(exif or b"")
    differences = _differences(samples).astype(np.dtype(f"{order}u{samples.itemsize}"))
    rows = max(1, _STRIP // samples[0].nbytes)
    strips = [zlib.compress(differences[top : top + rows].tobytes()) for top in range(0, len(samples), rows)]
    *offsets, end = accumulate(map(len, strips), initial=8)
    tags = _describe(samples) | {273: (LONG, offsets), 278: (LONG, [rows]), 279: (LONG, list(map(len, strips)))}
    main = directories[MAIN]
    for tag, (kind, numbers) in tags.items():
        main[tag] = kind, struct.pack(f"{order}{len(numbers)}{'H' if kind == SHORT else 'L'}", *numbers)
    if icc_profile:
        main[34675] = UNDEFINED, icc_profile
    start = end + end % 2
    return b"".join([header(order, start), *strips, bytes(start - end), write_directories(directories, start, order)])


def _describe(samples: np.ndarray) -> dict[int, tuple[int, list[int]]]:
    """The TIFF tags that describe the samples, except for their place in the file."""
    height, width, channels = samples.shape
    tags = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [8 * samples.itemsize] * channels),
        259: (SHORT, [8]),  # compression: Deflate
        262: (SHORT, [2]),  # RGB
        277: (SHORT, [channels]),
        284: (SHORT, [1]),  # the channels of a pixel lie together
        317: (SHORT, [2]),  # each pixel is its difference from the one to the left
    }
    if channels == 4:
        tags[338] = SHORT, [2]  # alpha, not premultiplied
    return tags


def _differences(pixels: np.ndarray) -> np.ndarray:
    """Differences of pixels (H, W, C) from those to their left, modulo the type's range, which compress better."""
    return np.diff(pixels, axis=1, prepend=pixels.dtype.type(0))


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The kinds and contents of the chunks of a PNG file."""
    place = 8
    while place < len(data):
        length, kind = struct.unpack_from(">L4s", data, place)
        yield kind, data[place + 8 : place + 8 + length]
        place += 12 + length


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))
