"""EXIF data: tags about the photo are copied byte for byte; tags about the original file are left out.

EXIF data are a small TIFF file without pixels, so the same directories also serve to write TIFF files. Pillow's own
`Exif` isn't used to copy them: it turns every non-ASCII letter into a question mark and loses the types of values.
"""

import struct
from fractions import Fraction

Directory = dict[int, tuple[int, bytes]]
"""For each tag, the type of its values, and the values as bytes."""

SHORT, LONG, RATIONAL, UNDEFINED = 3, 4, 5, 7
MAIN, EXIF, GPS = 0, 0x8769, 0x8825  # the last two are the tags that point from the main directory to the others

_SIZES = {1: 1, 2: 1, SHORT: 2, LONG: 4, RATIONAL: 8, 6: 1, UNDEFINED: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_MAGIC = {"<": b"II*\0", ">": b"MM\0*"}
_PREFIX = b"Exif\0\0"

# A TIFF file's main directory also says where its pixels are, which must not be copied: only these tags are.
_ABOUT_THE_PHOTO = {
    *(0x010E, 0x010F, 0x0110),  # description, make, model
    *(0x011A, 0x011B, 0x0128),  # resolution and its unit
    *(0x0131, 0x0132, 0x013B, 0x013C, 0x8298),  # software, date and time, artist, computer, copyright
    *(0x4746, 0x4749, *range(0x9C9B, 0x9CA0)),  # ratings; Windows' title, comment, author, keywords, subject
}
# Width, height and positions in pixels may be wrong for the new picture; interoperability is a further directory.
_ABOUT_THE_FILE = {0xA002, 0xA003, 0x9214, 0xA214, 0xA005}
_MAKER_NOTE = 0x927C
_ROOM = {MAIN: 12_000, EXIF: 40_000, GPS: 12_000}  # bytes allowed; a JPEG holds 65,533 in all


def tidy_exif(data: bytes) -> bytes | None:
    """What EXIF data, or a TIFF file, say about the photo, without orientation, thumbnail and damaged entries.

    Returns:
        EXIF data as Pillow's `save` takes them, small enough for a JPEG; None if nothing is left.
    """
    return _assemble(*read_directories(data))


def remove_location(data: bytes) -> bytes | None:
    """EXIF data without the place, and without the maker's notes, which may hold anything."""
    order, directories = read_directories(data)
    directories |= {GPS: {}, EXIF: {tag: value for tag, value in directories[EXIF].items() if tag != _MAKER_NOTE}}
    return _assemble(order, directories)


def set_resolution(data: bytes | None, dpi: tuple[float, float]) -> bytes | None:
    """EXIF data that state a resolution in pixels per inch, across and down."""
    order, directories = read_directories(data or b"")
    for tag, value in zip((0x011A, 0x011B), dpi):
        fraction = Fraction(value).limit_denominator(10_000)
        directories[MAIN][tag] = RATIONAL, struct.pack(f"{order}LL", fraction.numerator, fraction.denominator)
    directories[MAIN][0x0128] = SHORT, struct.pack(f"{order}H", 2)  # the unit is the inch
    return _assemble(order, directories)


def read_directories(data: bytes) -> tuple[str, dict[int, Directory]]:
    """The byte order of EXIF data, `<` or `>`, and the directories `MAIN`, `EXIF` and `GPS` without damaged entries."""
    data = data.removeprefix(_PREFIX)
    order = next((order for order, magic in _MAGIC.items() if data.startswith(magic)), None)
    if order is None:
        return "<", {MAIN: {}, EXIF: {}, GPS: {}}
    found = _read(data, data[4:8], order, _ROOM[MAIN])
    directories = {MAIN: {tag: found[tag] for tag in found.keys() & _ABOUT_THE_PHOTO}}
    for pointer in (EXIF, GPS):
        entries = _read(data, found[pointer][1], order, _ROOM[pointer]) if pointer in found else {}
        directories[pointer] = {tag: entries[tag] for tag in entries.keys() - _ABOUT_THE_FILE}
    return order, directories


def write_directories(directories: dict[int, Directory], offset: int, order: str) -> bytes:
    """The directories as bytes, the main one first, to be placed `offset` bytes after the start of the header."""
    others = {pointer: entries for pointer, entries in directories.items() if pointer != MAIN and entries}
    main = directories.get(MAIN, {}) | dict.fromkeys(others, (LONG, bytes(4)))
    end, written = offset + len(_write(main, offset, order)), b""
    for pointer, entries in others.items():
        main[pointer] = LONG, struct.pack(f"{order}L", end + len(written))
        written += _write(entries, end + len(written), order)
    return _write(main, offset, order) + written


def _assemble(order: str, directories: dict[int, Directory]) -> bytes | None:
    """EXIF data as Pillow's `save` takes them; None if the directories are empty."""
    if not any(directories.values()):
        return None
    return _PREFIX + header(order, 8) + write_directories(directories, 8, order)


def header(order: str, offset: int) -> bytes:
    """The eight bytes at the start of a file, which say at which offset the main directory is."""
    return _MAGIC[order] + struct.pack(f"{order}L", offset)


def _read(data: bytes, pointer: bytes, order: str, room: int) -> Directory:
    start = int.from_bytes(pointer, "little" if order == "<" else "big") + 2
    count = int.from_bytes(data[start - 2 : start], "little" if order == "<" else "big")
    entries = {}
    for entry in range(start, min(start + 12 * count, len(data) - 11), 12):
        tag, kind, length, place = struct.unpack_from(f"{order}HHLL", data, entry)
        size = length * _SIZES.get(kind, 0)
        place = entry + 8 if size <= 4 else place
        taken = 12 + size + size % 2
        if size > 0 and taken <= room and place + size <= len(data):
            entries[tag] = kind, data[place : place + size]
            room -= taken
    return entries


def _write(entries: Directory, offset: int, order: str) -> bytes:
    table, values = struct.pack(f"{order}H", len(entries)), b""
    after_table = offset + 2 + 12 * len(entries) + 4
    for tag, (kind, data) in sorted(entries.items()):
        place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(f"{order}L", after_table + len(values))
        table += struct.pack(f"{order}HHL", tag, kind, len(data) // _SIZES[kind]) + place
        if len(data) > 4:
            values += data + bytes(len(data) % 2)  # values start at even offsets
    return table + bytes(4) + values
