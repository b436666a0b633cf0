"""A server for apps: `POST /predict?style=great_wave` with a photo's bytes is answered with the picture's."""

import asyncio
import io
import multiprocessing
import os
import signal
import sys
import threading
from collections import defaultdict
from typing import Annotated, Any, Literal

import litserve as ls
import numpy as np
from fastapi import Depends, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from PIL import Image
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from nst_lightning.errors import UserError, WorkError
from nst_lightning.images import flatten, resize_short_side
from nst_lightning.inference import Stylizer
from nst_lightning.limits import usable_processors

WORKERS, MODEL = int(os.environ.get("WORKERS", 1)), os.environ.get("MODEL", "styles")
MAX_BYTES, MAX_PIXELS, MAX_SIDE = 20_000_000, 25_000_000, 16_384  # of a photo
SECONDS, MAX_WAITING = 30, 64  # for an upload, and in the queue; photos in the queue
DECODERS = threading.Semaphore(usable_processors())
Image.MAX_IMAGE_PIXELS = None  # read_photo has limits of its own


class Options(BaseModel, extra="forbid"):
    """What stands after the question mark. Smaller photos than `short_side` are not enlarged."""

    style: str | None = None
    strength: float = 1.0
    preserve_color: float = 0.0
    strokes: float | Literal["native"] = 1.0
    short_side: Annotated[int, Query(ge=32, le=2048)] = 1024
    format: Literal["jpeg", "png"] = "jpeg"


async def read_body(request: Request) -> bytes:
    """The photo's file, unless too many are waiting; LitServe counts its bytes."""
    if len(request.app.state.waiting) >= MAX_WAITING:
        raise HTTPException(503, "too many photos are waiting, try again later")
    try:
        return await asyncio.wait_for(request.body(), SECONDS)
    except (asyncio.TimeoutError, ClientDisconnect):
        raise HTTPException(408, f"the photo did not arrive within {SECONDS} seconds") from None


def read_photo(body: Annotated[bytes, Depends(read_body)], options: Annotated[Options, Query()]) -> tuple[Any, ...]:
    """The upright photo in sRGB, scaled down, and the options. Here, a bad photo doesn't fail the batch it is in."""
    try:
        with DECODERS, Image.open(io.BytesIO(body), formats=("JPEG", "PNG", "WEBP")) as image:
            width, height = image.size
            if width * height <= MAX_PIXELS and max(width, height) <= MAX_SIDE:
                short_side = min(options.short_side, width, height)
                image.draft("RGB", [side * short_side // min(width, height) for side in (width, height)])
                photo = resize_short_side(flatten(image), short_side)
                return np.asarray(photo), options.model_dump(exclude={"short_side"})
    except Exception:  # decoders raise exceptions of any kind
        raise HTTPException(422, "the body must be an undamaged JPEG, PNG or WebP file, and no form") from None
    raise HTTPException(413, f"{width}x{height} pixels are too many: at most {MAX_PIXELS}, and {MAX_SIDE} a side")


class StylizeAPI(ls.LitAPI):
    """Paints photos of equal size and options together."""

    def setup(self, device: str) -> None:
        """Load the network, in each worker."""
        self.stylizer = Stylizer(MODEL, threads=max(1, usable_processors() // WORKERS))
        self.stylizer.warm_up((256, 256))

    def decode_request(self, request: Annotated[tuple[Any, ...], Depends(read_photo)]) -> tuple[Any, ...]:
        """What `read_photo` has read, before it joined the queue."""
        return request

    def predict(self, jobs: list[tuple[Any, ...]]) -> list[Response]:
        """The answers to the photos and options of a batch."""
        groups = defaultdict(list)
        for number, (photo, options) in enumerate(jobs):
            groups[photo.shape, tuple(options.items())].append(number)
        answers: dict[int, Response] = {}
        for (_, options), numbers in groups.items():
            answers |= zip(numbers, self.paint([jobs[number][0] for number in numbers], **dict(options)))
        return [answers[number] for number in range(len(jobs))]

    def paint(self, photos: list[np.ndarray], format: str, **options: Any) -> list[Response]:
        """The answers to photos of equal size and options."""
        try:
            pictures = self.stylizer(np.stack(photos), **options)
        except (UserError, WorkError) as error:  # both would be of all of them
            status = 422 if isinstance(error, UserError) else 503
            return [JSONResponse({"detail": str(error)}, status) for _ in photos]
        return [encode(picture, format) for picture in pictures]

    def encode_response(self, output: Response) -> Response:
        """The answer as it is."""
        return output


def encode(picture: np.ndarray, format: str) -> Response:
    """The picture's file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format, quality=90)
    return Response(file.getvalue(), media_type=f"image/{format}")


def in_one_line(_: Request, error: RequestValidationError) -> Response:
    """The answer to options that have no such name, or can't be read."""
    found = error.errors()[0]
    return JSONResponse({"detail": f"{found['loc'][1]}: {found['msg']}"}, 422)


def build_server() -> ls.LitServer:
    """The server, which looks nothing up, and shows no pages that would load scripts from elsewhere."""
    api = StylizeAPI(max_batch_size=4, batch_timeout=0.005)
    server = ls.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=WORKERS,
        timeout=SECONDS,
        max_payload_size=MAX_BYTES,
        disable_openapi_url=True,
    )
    server.app.state.waiting = server.response_buffer
    server.app.add_exception_handler(RequestValidationError, in_one_line)
    return server


def stop(*_: object) -> None:
    """End as at Ctrl-C: LitServe's other processes, which inherit this, would outlive the one that is killed."""
    if multiprocessing.parent_process() is None:
        raise KeyboardInterrupt
    sys.exit()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", 8000))
    server = build_server()
    server.run(host, port, num_api_servers=1, generate_client_file=False, limit_concurrency=2 * MAX_WAITING)
