"""Painting videos frame by frame, with PyAV: pictures in time, their colors, and the sound stay as they are."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from nst_lightning.extras import require_extra
from nst_lightning.images import Metadata, PictureError, atomic_path

require_extra("video")
import av  # noqa: E402 - after the check, whose message names the extra

from nst_lightning.inference.video_writer import FULL, VideoWriter, check_video_name, is_full_range  # noqa: E402

_SLACK, _SLACK_SHARE = 0.5, 0.05
"""Seconds, and part of its length, that a video may be shorter than its file says: subtitles may be longer."""

Paint = Callable[[Image.Image], Image.Image]
Report = Callable[[int, int], None]
"""Called after each frame, with the number of painted frames and that of all, which is 0 if the file doesn't say."""


def paint_video(
    source: Path,
    target: Path,
    paint: Paint,
    *,
    quality: int = 95,
    metadata: Metadata = "keep",
    report: Report = lambda done, total: None,
) -> int:
    """Paint each frame of a video. The file is written beside `target`, which it replaces when it is complete.

    Frames keep their times, also if these are irregular; rotated ones come out upright. Color range, matrix, primaries
    and transfer are those of the source, with 8 bits per channel and colors at half the size. Sound is copied, or
    converted if the container doesn't take its codec. Frames of an odd width or height lose a column or row in H.264.

    Args:
        source: the video.
        target: the file to write, whose ending is in `CODECS`.
        paint: function that paints an RGB image. Its pictures have one size.
        quality: from 1 to 100.
        metadata: `keep` copies title and the like, `no-location` all but the place, `none` nothing.
        report: called after each frame.

    Returns:
        The number of frames.

    Raises:
        PictureError: the file is not a video, or is damaged or truncated; or the ending can't be written.
        WorkError: the video can't be encoded.
        OSError: a file can't be read or written.
    """
    check_video_name(target)
    with atomic_path(target) as temporary, _open(source) as video:
        stream = _first_stream(source, video)
        total = stream.frames or round(float((video.duration or 0) / av.time_base * (stream.average_rate or 0)))
        with VideoWriter(temporary, video, stream, quality, metadata) as writer:
            for item in _read(source, video, stream):
                if isinstance(item, av.Packet):
                    writer.write_sound(item)
                    continue
                writer.write_frame(paint(_to_image(item)), item)
                report(writer.count, total)
            if not writer.count:
                raise PictureError(f"{source}: has no frames")
    return writer.count


def read_frames(source: Path) -> Iterator[Image.Image]:
    """The upright frames of a video, as RGB images.

    Raises:
        PictureError: the file is not a video, or is damaged or truncated.
        OSError: the file can't be read.
    """
    with _open(source) as video:
        for item in _read(source, video, _first_stream(source, video)):
            if not isinstance(item, av.Packet):
                yield _to_image(item)


@contextlib.contextmanager
def _open(source: Path) -> Iterator[Any]:
    try:
        video = av.open(f"file:{source}", metadata_errors="replace")
    except (av.error.InvalidDataError, av.error.EOFError):
        problem = "is empty" if not source.stat().st_size else "not a video that can be read, or truncated"
        raise PictureError(f"{source}: {problem}") from None
    with video:
        yield video


def _read(source: Path, video: Any, stream: Any) -> Iterator[Any]:
    """The frames of a stream, and the packets of all sound, in the order of the file."""
    end, count = 0.0, 0
    try:
        for packet in video.demux(stream, *video.streams.audio):
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.type == "audio":
                yield packet
                continue
            for frame in packet.decode():
                count += 1
                yield frame
    except (av.error.InvalidDataError, av.error.EOFError):
        raise PictureError(f"{source}: damaged or truncated after {count} frames") from None
    if video.duration is None:
        return
    missing = video.duration / av.time_base - end
    if missing > max(_SLACK, _SLACK_SHARE * end):
        raise PictureError(f"{source}: damaged or truncated: the last {missing:.1f} seconds are missing")


def _to_image(frame: Any) -> Image.Image:
    """The upright RGB image of a frame."""
    full = FULL if is_full_range(frame) else frame.color_range
    rgb = frame.reformat(format="rgb24", src_colorspace=frame.colorspace, src_color_range=full)
    image = Image.fromarray(rgb.to_ndarray())
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image


def _first_stream(source: Path, video: Any) -> Any:
    stream = video.streams.best("video")
    if stream is None:
        kinds = " and ".join(sorted({stream.type for stream in video.streams}))
        raise PictureError(f"{source}: has no video, only {kinds or 'nothing'}")
    stream.thread_type = "AUTO"
    return stream
