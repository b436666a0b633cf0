"""The trial of a network before its first step, so that no run fails after hours on a size that it hadn't met."""

import contextlib
import copy
import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nst_lightning.errors import UserError
from nst_lightning.export import export_onnx
from nst_lightning.export.verification import VERIFIED_SHAPES
from nst_lightning.networks import controls_of
from nst_lightning.networks.checkpoint import CLASSES
from nst_lightning.training.styles import StyleSampler

_TOLERANCE = 1e-3  # beyond [0, 1], for rounding
_WITHOUT_FILE = "without an ONNX file (an empty export.filename), it can still be trained"
_ANY_SIZE = "a network must take photos of any size from 32x32 on, so pad inside it, and cut the picture to the photo"


class Use(NamedTuple):
    """What a run will ask of a network.

    Args:
        purpose: what the picture is needed for, such as `training`.
        shape: shape of the photos, (N, 3, H, W).
        controls: the network's inputs besides the photos.
    """

    purpose: str
    shape: tuple[int, int, int, int]
    controls: Mapping[str, Tensor]


def uses_of(sampler: StyleSampler, short_side: int, *, trains: bool, surroundings: int = 0) -> list[Use]:
    """What a run asks of a network: training crops, and whole photos, whose long sides may be odd.

    Args:
        sampler: draws the network's inputs besides the photos.
        short_side: short side of the photos in pixels.
        trains: whether the run trains.
        surroundings: pixels by which some training crops are larger than `short_side`.
    """
    longer = short_side + short_side // 3 | 1
    sides = {short_side, short_side + surroundings} if trains else set()
    drawn, fixed = sampler.sample(1, seed=(0,)).controls, sampler.fixed(0, 1).controls
    return [
        *(Use("training", (1, 3, side, side), drawn) for side in sorted(sides)),
        *(Use("validation", (1, 3, *size), fixed) for size in ((short_side, longer), (longer, short_side))),
    ]


def try_network(network: nn.Module, uses: Sequence[Use]) -> None:
    """Let a copy of a network paint noise; neither the network nor the random state changes.

    Raises:
        UserError: it fails, or its pictures have another shape, type or range than pictures of photos have.
    """
    name, device = type(network).__name__, next((each.device for each in network.parameters()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        tried = _attempt(f"{name} can't be copied", copy.deepcopy, network)
        for use in uses:
            training = use.purpose == "training"
            tried.train(training)
            photos = torch.rand(use.shape, generator=generator).to(device)
            controls = {key: value.to(device) for key, value in use.controls.items()}
            size = f"a photo of {use.shape[3]}x{use.shape[2]} ({use.purpose})"
            with torch.set_grad_enabled(training):
                picture = _attempt(f"{name} can't paint {size}", tried, photos, **controls, hint=_ANY_SIZE)
            problem = _problem(picture, photos, size) or (_untrainable(picture) if training else None)
            if problem:
                raise UserError.about("network", f"{name} {problem}")


def try_export(network: nn.Module) -> None:
    """Export a network to a temporary file, after it has painted all sizes that the export compares.

    The networks of this package take up to 16 seconds, and are known to export, so they are not tried. If it fails all
    the same, the last checkpoint has the network, which `export` can write later.

    Raises:
        UserError: the network can't be exported.
    """
    if type(network) in CLASSES.values():
        return
    try_network(network, [Use("export", shape, controls_of(network)) for shape in VERIFIED_SHAPES])
    _export(network)


def _export(network: nn.Module) -> None:
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng([]):
        problem = f"{type(network).__name__} can't be exported"
        with contextlib.redirect_stderr(io.StringIO()):  # torch prints its graph there
            _attempt(problem, export_onnx, network, Path(folder, "trial.onnx"), metadata={}, hint=_WITHOUT_FILE)


def _attempt(problem: str, function, *inputs, hint: str = "", **named):  # type: ignore[no-untyped-def]
    """The result of a function of somebody else's, whose errors may be of any kind."""
    try:
        return function(*inputs, **named)
    except Exception as error:
        first: BaseException = error
        while first.__cause__ is not None:  # torch's exporter wraps errors in advice
            first = first.__cause__
        reason = next((line.strip() for line in str(first).splitlines() if line.strip()), type(first).__name__)
        raise UserError.about("network", "; ".join(filter(None, (f"{problem}: {reason.rstrip('.')}", hint)))) from error


def _problem(picture: object, photos: Tensor, size: str) -> str | None:
    """What is wrong with a picture of photos."""
    if not isinstance(picture, Tensor):
        return f"returns a {type(picture).__name__} for {size}; it must return one tensor, the picture"
    if picture.shape != photos.shape:
        same = picture.ndim == 4 and picture.shape[:2] == photos.shape[:2]
        found = f"{picture.shape[3]}x{picture.shape[2]}" if same else f"a tensor of shape {tuple(picture.shape)}"
        return f"returns {found} for {size}; {_ANY_SIZE if same else f'it must return {tuple(photos.shape)}'}"
    if picture.dtype != torch.float32:
        return f"returns {picture.dtype} for {size}; it must return torch.float32"
    if not picture.isfinite().all():
        return f"returns values that are not finite for {size}"
    low, high = picture.min().item(), picture.max().item()
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        return f"returns values from {low:.2g} to {high:.2g} for {size}; pictures have values from 0 to 1"
    return None


def _untrainable(picture: Tensor) -> str | None:
    return None if picture.requires_grad else "returns pictures that no gradient reaches its parameters from"
