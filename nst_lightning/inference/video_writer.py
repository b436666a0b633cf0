"""Writing videos with PyAV: pictures at the times of the source's frames, in its colors, with its sound."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from nst_lightning.errors import WorkError
from nst_lightning.extras import require_extra
from nst_lightning.images import Metadata, PictureError

require_extra("video")
import av  # noqa: E402 - after the check, whose message names the extra

CODECS = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9"}
"""Endings of videos that can be written, and their codecs."""
_BEST_RATE_FACTORS = {"libx264": 16, "libvpx-vp9": 23}
"""The rate factor (crf) at a quality of 100; 1 less of quality adds 0.4."""
_WORST_RATE_FACTOR = 51
_RGB, _BT709 = 0, 1  # color matrices, AVColorSpace
_LIMITED, FULL = 1, 2  # color ranges, AVColorRange
_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder"}
"""Metadata of a file itself, not of what it holds."""


def check_video_name(path: Path) -> None:
    """Refuse a name for a video to write, if its ending is not in `CODECS`.

    Raises:
        PictureError: the ending is another one.
    """
    if path.suffix.lower() not in CODECS:
        raise PictureError(f"{path}: can't write this kind of video; endings allowed: {', '.join(CODECS)}")


def is_full_range(frame: Any) -> bool:
    """Whether a frame's samples go from 0 to 255."""
    return frame.color_range == FULL or frame.format.name.startswith("yuvj")


@dataclass(frozen=True)
class _Colors:
    """How a video's colors are stored."""

    matrix: int
    range: int

    @classmethod
    def of(cls, frame: Any) -> "_Colors":
        """Those of a frame; RGB becomes what is usual."""
        if frame.colorspace == _RGB or frame.format.is_rgb:
            return cls(_BT709, _LIMITED)
        return cls(frame.colorspace, FULL if is_full_range(frame) else _LIMITED)


class VideoWriter:
    """Writes pictures and sound to a file, which begins with the first picture."""

    def __init__(self, path: Path, source: Any, stream: Any, quality: int, metadata: Metadata) -> None:
        self._path, self._source, self._frames = path, source, stream
        self._codec = CODECS[path.suffix.lower()]
        best = _BEST_RATE_FACTORS[self._codec]
        self._rate_factor = min(_WORST_RATE_FACTOR, round(best + 0.4 * (100 - quality)))
        self._metadata = _choose_metadata(source.metadata, metadata)
        self._waiting: list[Any] = []
        self._sounds: dict[int, Any] = {}
        self._converted: set[int] = set()
        self._last: int | None = None
        self._step = 1
        self._output: Any = None
        self.count = 0

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._output is None:
            return
        try:
            if kind is None:
                with _encoding():
                    self._finish()
        finally:
            with contextlib.suppress(av.FFmpegError) if kind else _encoding():
                self._output.close()

    def write_frame(self, picture: Image.Image, frame: Any) -> None:
        """Write the picture of a frame, at the frame's time."""
        with _encoding():
            if self._output is None:
                self._begin(picture.size, frame)
            stream = self._video
            fitting = picture.crop((0, 0, stream.width, stream.height))
            new = av.VideoFrame.from_image(fitting).reformat(
                format="yuv420p",
                dst_colorspace=self._colors.matrix,
                src_color_range=FULL,
                dst_color_range=self._colors.range,
            )
            new.pts, new.time_base = self._next_time(frame), frame.time_base
            self._output.mux(stream.encode(new))
            self.count += 1

    def write_sound(self, packet: Any) -> None:
        """Write a packet of a stream of sound."""
        if self._output is None:
            self._waiting.append(packet)
            return
        with _encoding():
            sound = self._sounds[packet.stream.index]
            if packet.stream.index not in self._converted:
                if packet.dts is not None:  # the last one is empty
                    packet.stream = sound
                    self._output.mux(packet)
                return
            for samples in packet.decode():
                self._output.mux(sound.encode(samples))

    def _begin(self, size: tuple[int, int], frame: Any) -> None:
        """Open the file, with a stream for the pictures and one for each of the source's with sound."""
        options = {"movflags": "+faststart"} if self._path.suffix.lower() in (".mp4", ".mov") else {}
        self._output = av.open(f"file:{self._path}", "w", container_options=options)
        self._output.metadata.update(self._metadata)
        source = self._frames
        options = {"crf": str(self._rate_factor)} | ({"b": "0"} if self._codec == "libvpx-vp9" else {})
        rate = source.average_rate or source.guessed_rate or Fraction(25)
        self._video = self._output.add_stream(self._codec, rate=rate, options=options)
        self._step = max(1, round(1 / (rate * frame.time_base)))
        even = 1 if self._codec == "libvpx-vp9" else 2
        self._colors = _Colors.of(frame)
        context = self._video.codec_context
        context.width, context.height = (side // even * even for side in size)
        context.pix_fmt, context.time_base = "yuv420p", frame.time_base
        context.colorspace, context.color_range = self._colors.matrix, self._colors.range
        context.color_primaries, context.color_trc = frame.color_primaries, frame.color_trc
        if ratio := source.sample_aspect_ratio:
            context.sample_aspect_ratio = 1 / ratio if frame.rotation % 180 else ratio
        for sound in self._source.streams.audio:
            self._sounds[sound.index] = self._add_sound(sound)
        waiting, self._waiting = self._waiting, []
        for packet in waiting:
            self.write_sound(packet)

    def _add_sound(self, sound: Any) -> Any:
        if sound.codec_context.codec.canonical_name in self._output.supported_codecs:
            return self._output.add_stream_from_template(sound)
        layout = "stereo" if sound.codec_context.layout.nb_channels > 1 else "mono"
        name = "libopus" if self._codec == "libvpx-vp9" else "aac"
        self._converted.add(sound.index)
        return self._output.add_stream(name, rate=48000, layout=layout)

    def _next_time(self, frame: Any) -> int:
        """The time of a frame, which is after that of the frame before even if the file doesn't say so."""
        after = 0 if self._last is None else self._last + 1
        time = frame.pts if frame.pts is not None else after + self._step - 1
        self._last = time if self._last is None else max(time, after)
        return self._last

    def _finish(self) -> None:
        """Write what encoders hold back."""
        self._output.mux(self._video.encode())
        for index in self._converted:
            self._output.mux(self._sounds[index].encode())


@contextlib.contextmanager
def _encoding() -> Iterator[None]:
    """Let errors of encoders and of the file become errors of this package."""
    try:
        yield
    except av.FFmpegError as error:
        if isinstance(error, OSError):  # such as a full disk; without the temporary name
            raise OSError(error.errno, error.strerror) from None
        raise WorkError(f"the video can't be encoded: {error.strerror or error}") from None


def _choose_metadata(found: dict[str, str], kept: Metadata) -> dict[str, str]:
    if kept == "none":
        return {}
    return {
        key: value
        for key, value in found.items()
        if key not in _FILE and not (kept == "no-location" and "location" in key.lower())
    }
