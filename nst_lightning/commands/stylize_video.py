"""Videos in the command `stylize`: one at a time, frame by frame."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from nst_lightning.commands.pictures import expand_argument
from nst_lightning.errors import UserError, WorkError, naming, require
from nst_lightning.images import PictureError, WritingOptions, is_video, refuse_overwriting_inputs, require_folder
from nst_lightning.inference import Steadier

Paint = Callable[[Image.Image], Image.Image]


def plan_video(photos: Sequence[str], output: str, file_format: str) -> tuple[Path, Path] | None:
    """The video to paint, and the file to write; None if it is not a single video that is asked for.

    Raises:
        UserError: the video is missing, can't be written under this name, or would be overwritten.
        ModuleNotFoundError: the extra for videos is missing.
    """
    if len(photos) != 1 or not is_video(photos[0]) or Path(photos[0]).is_dir():
        return None
    require("format", file_format, file_format == "keep", "keep for a video, whose format the output's ending tells")
    source, target = expand_argument("photos", photos[0]), expand_argument("output", output)
    if not source.is_file():
        raise PictureError(f"photos: no such file: {source}")
    from nst_lightning.inference.video_writer import CODECS, check_video_name  # which needs an extra

    if output.endswith(("/", os.sep)) or target.is_dir() or not target.suffix:
        require_folder(target)
        target /= source.name if source.suffix.lower() in CODECS else f"{source.name}.mp4"
    with naming("output"):
        check_video_name(target)
    refuse_overwriting_inputs([target], [source])
    return source, target


def write_video(source: Path, target: Path, paint: Paint, writing: WritingOptions, *, steady: bool) -> None:
    """Paint a video, show the progress, and print the name of the new one.

    Args:
        source: the video.
        target: the file to write.
        paint: function that paints a frame.
        writing: quality, and what to keep of the metadata.
        steady: whether to lower the flicker.

    Raises:
        WorkError: the video is damaged, or a frame can't be painted or encoded.
        OSError: a file can't be read or written.
    """
    from nst_lightning.inference.video import paint_video

    steadier, meter = Steadier(), _Meter()

    def paint_steadily(frame: Image.Image) -> Image.Image:
        return steadier(frame, paint(frame))

    try:
        paint_video(
            source,
            target,
            paint_steadily if steady else paint,
            quality=writing.quality,
            metadata=writing.metadata,
            report=meter,
        )
    except (UserError, WorkError) as error:
        raise WorkError(str(error) if isinstance(error, PictureError) else f"{source}: {error}") from error
    finally:
        meter.end()
    print(target)


class _Meter:
    """Shows frames, and frames per second, on one line of the terminal; other outputs get the last line alone."""

    def __init__(self) -> None:
        self._began, self._shown_at, self._line = time.perf_counter(), 0.0, ""

    def __call__(self, done: int, total: int) -> None:
        now = time.perf_counter()
        of_all = f" of {total}" if total >= done else ""
        self._line = f"{done}{of_all} frames, {done / max(now - self._began, 1e-9):.1f} frames per second"
        if sys.stderr.isatty() and now - self._shown_at >= 0.2:
            self._shown_at = now
            self._show(end="")

    def end(self) -> None:
        """Show the last line, and end it."""
        if self._line:
            self._show(end="\n")

    def _show(self, *, end: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        line = f"\r{self._line[:width]:<{width}}" if sys.stderr.isatty() else self._line
        print(line, end=end, file=sys.stderr, flush=True)
