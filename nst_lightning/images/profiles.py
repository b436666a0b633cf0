"""ICC profiles of color spaces with three primaries and tone curves: building them, and converting arrays exactly.

Pillow converts pictures with 8 bits per channel by any profile (`images/srgb.py`), but none with 16. The layout of
profiles is that of ICC.1:2022 (v4.4), sections 7 to 10.
"""

import struct
from collections.abc import Callable, Sequence

import numpy as np

Curve = Callable[[np.ndarray], np.ndarray]

SRGB_CHROMATICITIES = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
"""x and y of white, red, green and blue, in the order of PNG's cHRM chunk."""
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # g, a, b, c, d: (ax + b)^g, or cx below d

_D50 = np.array([0.9642, 1.0, 0.8249])  # the white of all profiles
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_PARAMETERS = ("g", "gab", "gabc", "gabcd", "gabcdef")  # of the parametric curves of types 0 to 4


def build_profile(name: str, chromaticities: Sequence[float], curve: Sequence[float]) -> bytes:
    """An ICC profile (v4) of an RGB color space; the same arguments always give the same bytes.

    Args:
        name: the profile's description.
        chromaticities: x and y of white, red, green and blue: 8 numbers.
        curve: from values to light: an exponent, or the 5 numbers of a curve such as `SRGB_CURVE`.

    Raises:
        ValueError: there is no such color space, for example since its primaries lie on a line.
    """
    matrix, adaptation = _to_xyz(chromaticities)
    kind = 0 if len(curve) == 1 else 3
    tone = b"para" + struct.pack(">4xH2x", kind) + _fixed(curve)
    tags = {
        b"desc": _text(name),
        b"cprt": _text("No copyright"),
        b"wtpt": b"XYZ \0\0\0\0" + _fixed(_D50),
        b"chad": b"sf32\0\0\0\0" + _fixed(adaptation.ravel()),
        **{b"rgb"[i : i + 1] + b"XYZ": b"XYZ \0\0\0\0" + _fixed(matrix[:, i]) for i in range(3)},
        b"rTRC": tone,
    }
    start, table, data = 128 + 4 + 12 * (len(tags) + 2), {}, b""
    for tag, content in tags.items():
        table[tag] = struct.pack(">LL", start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    table |= {b"gTRC": table[b"rTRC"], b"bTRC": table[b"rTRC"]}
    listed = struct.pack(">L", len(table)) + b"".join(tag + place for tag, place in table.items())
    return _header(start + len(data)) + listed + data


def convert_exactly(values: np.ndarray, profile: bytes) -> np.ndarray | None:
    """Convert a picture to sRGB without rounding, where the profile has tone curves and primaries.

    Args:
        values: float32 array of shape (3, H, W) in [0, 1]; (1, H, W) if the profile is for gray.
        profile: the ICC profile that the values refer to.

    Returns:
        A float32 array of shape (3, H, W) in [0, 1], where colors outside of sRGB are clipped; None for a profile of
        tables, such as a scanner's.
    """
    try:
        curves, matrix = _read_profile(profile)
    except (KeyError, ValueError, IndexError, struct.error):
        return None
    if len(curves) != len(values):
        return None
    light = np.stack([curve(channel).astype(np.float32) for curve, channel in zip(curves, values)])
    if matrix is not None:
        srgb, _ = _to_xyz(SRGB_CHROMATICITIES)
        light = np.tensordot(np.linalg.solve(srgb, matrix).astype(np.float32), light, 1)
    encoded = _encode(light.clip(0, 1))
    return np.repeat(encoded, 3 // len(encoded), axis=0)


def _encode(light: np.ndarray) -> np.ndarray:
    """The sRGB values of linear light, the inverse of `SRGB_CURVE`."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055).astype(np.float32)


def _to_xyz(chromaticities: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The matrices from linear RGB to XYZ under D50, and from XYZ under the space's own white to D50 (Bradford)."""
    x, y = np.reshape(np.asarray(chromaticities, np.float64), (4, 2)).T
    if not y.all():
        raise ValueError("a chromaticity has y = 0")
    white, *primaries = np.column_stack([x, y, 1 - x - y]) / y[:, None]
    columns = np.column_stack(primaries)
    try:
        own = columns * np.linalg.solve(columns, white)
    except np.linalg.LinAlgError as error:
        raise ValueError("the primaries lie on a line") from error
    gains = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adaptation = np.linalg.solve(_BRADFORD, gains[:, None] * _BRADFORD)
    return adaptation @ own, adaptation


def _header(size: int) -> bytes:
    """The first 128 bytes: a display profile of version 4.3 for RGB and XYZ, of a fixed date."""
    date = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    start = struct.pack(">L4xL", size, 0x04300000) + b"mntrRGB XYZ " + date + b"acsp"
    return (start.ljust(68, b"\0") + _fixed(_D50)).ljust(128, b"\0")


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">4xLL4sLL", 1, 12, b"enUS", len(encoded), 28) + encoded


def _fixed(numbers: Sequence[float] | np.ndarray) -> bytes:
    """Numbers as s15Fixed16."""
    try:
        return struct.pack(f">{len(numbers)}l", *(round(number * 65536) for number in numbers))
    except (struct.error, OverflowError) as error:
        raise ValueError(f"numbers too large for a profile: {numbers}") from error


def _read_profile(profile: bytes) -> tuple[list[Curve], np.ndarray | None]:
    """The curves of a profile's channels, and the matrix from linear RGB to XYZ, or None for gray.

    Raises:
        KeyError, ValueError, IndexError, struct.error: the profile has tables instead, or is damaged.
    """
    (count,) = struct.unpack_from(">L", profile, 128)
    tags = {}
    for place in range(132, 132 + 12 * count, 12):
        tag, start, size = struct.unpack_from(">4sLL", profile, place)
        tags[tag] = profile[start : start + size]
    if profile[20:24] != b"XYZ " or tags.keys() & {b"A2B0", b"A2B1", b"D2B0", b"D2B1"}:  # tables take precedence
        raise ValueError("a profile of tables")
    if profile[16:20] == b"GRAY":
        return [_read_curve(tags[b"kTRC"])], None
    columns = [struct.unpack_from(">3l", tags[name], 8) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    return [_read_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")], np.array(columns).T / 65536


def _read_curve(tag: bytes) -> Curve:
    """A curve from values to light, both in [0, 1]."""
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">L", tag, 8)
        table = np.array(struct.unpack_from(f">{count}H", tag, 12))
        if count > 1:
            return lambda values: np.interp(values, np.linspace(0, 1, count), table / 65535)
        return lambda values: values ** (float(table[0]) / 256 if count else 1)
    if tag[:4] != b"para":
        raise ValueError(f"a curve of unknown type {tag[:4]!r}")
    (kind,) = struct.unpack_from(">H", tag, 8)
    numbers = np.array(struct.unpack_from(f">{len(_PARAMETERS[kind])}l", tag, 12)) / 65536
    return _parametric(kind, dict(zip(_PARAMETERS[kind], numbers.tolist())))


def _parametric(kind: int, given: dict[str, float]) -> Curve:
    """The curve (ax + b)^g + e from d on, and cx + f below, of which types 0 to 3 are special cases."""
    g, a, b = given["g"], given.get("a", 1.0), given.get("b", 0.0)
    c, d, e, f = (given.get(name, 0.0) for name in "cdef")
    if kind in (1, 2):
        c, d, e, f = 0.0, -b / a if a else 0.0, given.get("c", 0.0), given.get("c", 0.0)

    def curve(values: np.ndarray) -> np.ndarray:
        return np.where(values >= d, (a * values + b).clip(0) ** g + e, c * values + f)

    return curve


SRGB = build_profile("sRGB", SRGB_CHROMATICITIES, SRGB_CURVE)
ADOBE_RGB = build_profile("Adobe RGB (1998)", (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06), [563 / 256])
