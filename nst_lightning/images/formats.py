"""Formats of picture files: opening those that Pillow reads, and advice for the others."""

import contextlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from nst_lightning.errors import Notice
from nst_lightning.extras import install_command
from nst_lightning.images.deep import state_planes_depth
from nst_lightning.images.paths import PictureError

_HEIF = f"{install_command('heic')} adds this format"
_AVIF = '"pip install -U pillow" adds this format'
_RAW = "camera raw, which must be developed to JPEG or TIFF first"
_OTHER = "export to JPEG, PNG or TIFF first"
_JPEG_XL = f"JPEG XL; {_OTHER}"
_TIFF = "damaged, or a kind of TIFF that must be converted to RGB or gray with 8 or 16 bits per channel first"
_VIDEO = "video, which `stylize` paints if it is given alone; else its frames must be pictures"
_ENDINGS = {
    _HEIF: "heic heif heics heifs hif",
    _AVIF: "avif avifs",
    _RAW: (
        "3fr arw cr2 cr3 crw dcr dng erf fff gpr iiq k25 kdc mef mos mrw nef nrw orf pef raf raw rw2 rwl sr2 srf srw "
        "x3f"
    ),
    _OTHER: (
        "jxl jxr wdp hdp exr hdr bpg flif jng mng djvu djv pdf svg svgz ai cdr afphoto afdesign clip kra ora pdn "
        "procreate psb xcf"
    ),
    _VIDEO: "mp4 m4v mov avi mkv webm wmv mpg mpeg mts m2ts 3gp 3g2 flv ogv insv",
}
_ADVICE = {f".{ending}": advice for advice, endings in _ENDINGS.items() for ending in endings.split()}
"""What helps with files that Pillow can't read, by their endings. Files of other endings are hardly pictures."""
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), _HEIF),
    **dict.fromkeys((b"avif", b"avis"), _AVIF),
}
"""The same for files of any name: phones and messengers give them the ending .jpg, too."""
_SIGNATURES = {
    **dict.fromkeys((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"), _JPEG_XL),
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _TIFF),
}
"""The same by how files begin."""
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", *_SIGNATURES)
_UNREADABLE = {"BUFR", "GRIB", "HDF5", "MPEG"}
"""Formats that Pillow recognizes and doesn't read."""
_FRAMES = {
    **dict.fromkeys(("GIF", "PNG", "WEBP", "AVIF", "FLI", "IM"), "frames"),
    **dict.fromkeys(("TIFF", "DCX"), "pages"),
    **dict.fromkeys(("HEIF", "SPIDER"), "images"),
}
"""What files of a format may have several of. The further images of others are previews (MPO) or layers (PSD)."""
_DNG_VERSION = 50706
_PREVIEW, _MASK = 1, 4  # flags in the tag NewSubfileType


def open_picture(path: str | Path, frames: Literal["first", "all"] = "first") -> ImageFile.ImageFile:
    """Open a picture file; its pixels are read later. HEIF is read if the package pillow-heif is installed.

    Args:
        path: the file.
        frames: which of several frames or pages will be used; a `Notice` says so if it is the first one only.

    Raises:
        PictureError: the file is not a picture that can be read; the message says what would help.
        OSError: the file is missing or can't be read.
    """
    try:
        image = identify_picture(path)
    except UnidentifiedImageError:
        by_content = _advice_by_content(path)
        advice = advice_for(path) or (None if _is_installed(by_content) else by_content)
        problem = f"can't be read: {advice}" if advice else "not a picture that can be read"
        raise PictureError(f"{path}: {problem}") from None
    try:
        _prepare(image, path)
        if frames == "first":
            _say_if_several(image, path)
    except (PictureError, Notice):  # a notice is raised where warnings are errors
        image.close()
        raise
    return image


def identify_picture(path: str | Path) -> ImageFile.ImageFile:
    """Open a picture file, of whose kind and size nothing is checked.

    Raises:
        PictureError: it is a folder, or a device or a pipe, for which this process could wait forever.
        OSError: the file is missing, or not a picture that can be read.
    """
    if Path(path).exists() and not Path(path).is_file():
        raise PictureError(f"{path}: is a {'folder' if Path(path).is_dir() else 'device or a pipe'}, not a file")
    try:
        return Image.open(path)
    except UnidentifiedImageError:
        if _advice_by_content(path) == _HEIF and "HEIF" not in Image.OPEN and _register_heif():
            return Image.open(path)
        raise


def is_readable(path: Path) -> bool:
    """Whether pictures of the file's ending can be read."""
    ending = path.suffix.lower()
    if _ADVICE.get(ending) == _HEIF and not _register_heif():
        return False
    kind = Image.registered_extensions().get(ending)
    return kind in Image.OPEN and kind not in _UNREADABLE


def advice_for(path: str | Path) -> str | None:
    """What helps with a picture file that can't be read; None if its ending isn't that of such a file."""
    advice = _ADVICE.get(Path(path).suffix.lower())
    return None if _is_installed(advice) else advice


def is_video(path: str | Path) -> bool:
    """Whether a file is a video by its ending."""
    return _ADVICE.get(Path(path).suffix.lower()) == _VIDEO


def begins_as_picture(path: Path) -> bool:
    """Whether a file begins as JPEG, PNG, GIF, TIFF, WebP, HEIF, AVIF or JPEG XL files do."""
    header = _header(path)
    return header.startswith(_BEGINNINGS) or header[8:12] == b"WEBP" or _advice_by_content(path) is not None


def _is_installed(advice: str | None) -> bool:
    """Whether somebody has followed an advice; a file that can't be read nevertheless is damaged."""
    if advice == _AVIF:
        return ".avif" in Image.registered_extensions()
    return advice == _HEIF and _register_heif()


def _prepare(image: ImageFile.ImageFile, path: str | Path) -> None:
    """Refuse what can't be read in full, and make up for Pillow's faults."""
    if image.format == "TIFF":
        image.filename = ""  # or Pillow maps the file into memory, and takes the rows of a turned picture for columns
        check_planes(image, path)
    if _is_raw(image, path):
        raise PictureError(f"{path}: can't be read, only its preview: {_RAW}")


def check_planes(image: ImageFile.ImageFile, path: str | Path) -> None:
    """Refuse a page of a TIFF, at which the file is, that can't be read.

    Raises:
        PictureError: it is such a page.
    """
    if not state_planes_depth(image):
        raise PictureError(f"{path}: can't be read: {_TIFF}")


def _say_if_several(image: ImageFile.ImageFile, path: str | Path) -> None:
    """Give a `Notice` of frames that are not used."""
    count, kind = len(list_frames(path)), image.format or ""
    if count > 1:
        which = "main one" if kind == "HEIF" else "first"
        warnings.warn(f"{path}: only the {which} of {count} {_FRAMES[kind]} is used", Notice, stacklevel=3)


def _register_heif() -> bool:
    """Let Pillow read HEIF, if the package for it is installed."""
    if "HEIF" not in Image.OPEN:
        try:
            import pillow_heif
        except ImportError:
            return False
        pillow_heif.register_heif_opener()
    return True


def _advice_by_content(path: str | Path) -> str | None:
    """Advice for HEIF, AVIF, JPEG XL and TIFF files of any name."""
    header = _header(path)
    if header[4:8] == b"ftyp":
        return _BRANDS.get(header[8:12])
    return next((advice for beginning, advice in _SIGNATURES.items() if header.startswith(beginning)), None)


def _header(path: str | Path) -> bytes:
    with contextlib.suppress(OSError), Path(path).open("rb") as file:
        return file.read(12)
    return b""


def _is_raw(image: ImageFile.ImageFile, path: str | Path) -> bool:
    """Whether an image is the preview in a camera's raw file, which may be named .tif."""
    ending = Path(path).suffix.lower()
    if _ADVICE.get(ending) == _RAW and ending not in Image.registered_extensions():  # unless a plugin reads it
        return True
    if image.format != "TIFF":
        return False
    return _DNG_VERSION in getattr(image, "tag_v2", ()) or _header(path)[8:10] == b"CR" or _is_kind(image, _PREVIEW)


def _is_kind(page: Image.Image, flags: int) -> bool:
    """Whether the tag of a TIFF's page says that it is a preview or a mask."""
    value = getattr(page, "tag_v2", {}).get(ExifTags.Base.NewSubfileType, 0)
    return isinstance(value, int) and bool(value & flags)


def list_frames(path: str | Path) -> Sequence[int]:
    """The numbers of the frames or pages in a file, without previews and masks; other pictures have one frame."""
    with contextlib.suppress(Exception), identify_picture(path) as image:  # decoders raise exceptions of any kind
        count = getattr(image, "n_frames", 1) if image.format in _FRAMES else 1
        if image.format == "TIFF" and count > 1:
            return [number for number in range(count) if not _is_preview(image, number)] or [0]
        return range(int(image.info.get("default_image", False)), count)  # a PNG's may not belong to the others
    return [0]


def _is_preview(image: ImageFile.ImageFile, number: int) -> bool:
    """Whether a page of a TIFF is a preview or a mask. This must not disturb a reader: the image is another one."""
    image.seek(number)
    return _is_kind(image, _PREVIEW | _MASK)
