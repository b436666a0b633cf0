import struct

import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.ExifTags import IFD, Base

from nst_lightning.images import Picture, WritingOptions, read_picture, write_picture
from nst_lightning.images.exif import tidy_exif

ARTIST = "José Ångström ©"


def noted(orientation=6, order=">", maker_note=b"notes"):
    """EXIF data of a phone photo: Pillow writes them, so it says what is right."""
    exif = Image.Exif()
    exif.endian = order
    exif[Base.Artist] = ARTIST.encode()
    exif[Base.Orientation] = orientation
    exif[Base.XResolution] = 72.5
    exif[Base.ImageWidth] = 4000
    exif[IFD.Exif] = {
        Base.DateTimeOriginal: "2024:05:06 07:08:09",
        Base.ExposureTime: 1 / 250,
        Base.ExifVersion: b"0232",
        Base.ExifImageWidth: 4000,
        Base.MakerNote: maker_note,
    }
    exif[IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N", ExifTags.GPS.GPSLatitude: (48.0, 8.0, 14.5)}
    return exif


def check(exif):
    assert exif[Base.Artist].encode("latin-1").decode() == ARTIST  # Pillow takes the bytes for Latin-1
    assert exif[Base.XResolution] == 72.5
    assert exif.get(Base.Orientation, 1) == 1
    camera = exif.get_ifd(IFD.Exif)
    assert camera[Base.DateTimeOriginal] == "2024:05:06 07:08:09"
    assert float(camera[Base.ExposureTime]) == 1 / 250
    assert camera[Base.ExifVersion] == b"0232"
    assert Base.ExifImageWidth not in camera
    assert exif.get_ifd(IFD.GPSInfo) == {ExifTags.GPS.GPSLatitudeRef: "N", ExifTags.GPS.GPSLatitude: (48.0, 8.0, 14.5)}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", ["8.jpg", "8.png", "8.webp", "8.tif", "16.png", "16.tif"])
def test_exif_survives_and_the_photo_is_turned_once(tmp_path, picture, order, name):
    upright = picture(40, 60)
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "photo.png", exif=noted(order=order))
    written = tmp_path / name
    write_picture(written, read_picture(tmp_path / "photo.png"), WritingOptions(int(written.stem), 100))
    with Image.open(written) as image:
        check(image.getexif())
        assert image.size == (40, 60)
    again = read_picture(written)
    assert again.exif == read_picture(tmp_path / "photo.png").exif
    lossless = name.endswith(("png", "tif"))
    assert np.abs(np.asarray(again.rgb, dtype=float) - np.asarray(upright)).mean() <= (0 if lossless else 8)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_is_read_from_every_format(tmp_path, picture, file_format):
    """A TIFF's directory says where its pixels are as well; that must not end up in another file."""
    photo, exif = tmp_path / "photo", noted()
    if file_format == "TIFF":
        del exif[Base.ImageWidth]  # Pillow believes it
    picture(60, 40).save(photo, format=file_format, exif=exif.tobytes())
    if file_format == "TIFF":  # where Pillow writes question marks
        asked = ARTIST.encode().decode("latin-1").encode("ascii", "replace")
        photo.write_bytes(photo.read_bytes().replace(asked, ARTIST.encode()))
    write_picture(tmp_path / "a.tif", read_picture(photo))
    write_picture(tmp_path / "a.jpg", read_picture(tmp_path / "a.tif"))
    with Image.open(tmp_path / "a.jpg") as image:
        check(image.getexif())
        assert set(image.getexif()) == {Base.Artist, Base.XResolution, IFD.Exif, IFD.GPSInfo}
        assert image.size == (40, 60)


def test_the_thumbnail_goes():
    main = tidy_exif(noted().tobytes())[6:]
    place = struct.unpack(">L", main[4:8])[0] + 2 + 12 * 4  # where the offset of the next directory is
    thumbnail = struct.pack(">H", 1) + struct.pack(">HHLL", Base.JpegIFOffset, 4, 1, 1) + bytes(4)
    both = main[:place] + struct.pack(">L", len(main)) + main[place + 4 :] + thumbnail
    exif = Image.Exif()
    exif.load(both)
    assert exif.get_ifd(IFD.IFD1)
    assert tidy_exif(both)[6:] == main


@pytest.mark.parametrize("order", ["<", ">"])
def test_damaged_exif_costs_neither_the_picture_nor_what_is_sound(tmp_path, picture, order):
    whole = noted(order=order).tobytes()
    kept = [tidy_exif(whole[:length]) for length in range(len(whole) + 1)]
    assert kept[0] is None
    assert all(tidy_exif(data) == data for data in kept if data)
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[random.integers(6, len(whole), 5)] = random.integers(0, 256, 5)
        tidy_exif(damaged.tobytes())
    picture(40, 30).save(tmp_path / "photo.jpg", exif=whole[:-20])  # the end of the GPS data is missing
    write_picture(tmp_path / "a.jpg", read_picture(tmp_path / "photo.jpg"))
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.getexif().get_ifd(IFD.Exif)[Base.DateTimeOriginal] == "2024:05:06 07:08:09"


def test_what_is_too_large_for_a_jpeg_is_left_out(tmp_path, picture):
    picture(40, 30).save(tmp_path / "photo.png", exif=noted(orientation=1, maker_note=bytes(100_000)))
    write_picture(tmp_path / "a.jpg", read_picture(tmp_path / "photo.png"))
    with Image.open(tmp_path / "a.jpg") as image:
        check(image.getexif())
        assert Base.MakerNote not in image.getexif().get_ifd(IFD.Exif)


def test_without_exif_none_is_written(tmp_path, picture):
    for ending in ("jpg", "png", "webp", "tif"):
        write_picture(tmp_path / f"a.{ending}", Picture(picture(40, 30)))
        assert read_picture(tmp_path / f"a.{ending}").exif is None
