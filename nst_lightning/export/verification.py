"""Comparison of an ONNX file with the network in torch that it was made of."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from nst_lightning.limits import threads_for_onnx_runtime
from nst_lightning.networks import controls_of

VERIFIED_SHAPES = ((1, 3, 32, 33), (2, 3, 67, 45), (1, 3, 120, 161))


@dataclass(frozen=True)
class Difference:
    """How far pictures of an ONNX file are from torch's, for values in [0, 1].

    Args:
        largest: the largest absolute difference.
        psnr: the peak signal-to-noise ratio in dB.
    """

    largest: float
    psnr: float


def compare_with_torch(network: nn.Module, path: Path, shapes: Iterable[Sequence[int]]) -> Difference:
    """Compare the pictures of an ONNX file and of a network for random photos and controls.

    Args:
        network: the network, on the CPU in evaluation mode.
        path: its ONNX file, which may take and return bytes.
        shapes: the shapes (N, 3, H, W) of the photos.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads_for_onnx_runtime()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    errors = []
    for shape in shapes:
        photos = (255 * torch.rand(tuple(shape), generator=generator)).round() / 255
        controls = {}
        for name, value in controls_of(network).items():
            drawn = torch.rand(value.shape, generator=generator)
            controls[name] = drawn / drawn.sum() if name == "style" else drawn
        with torch.no_grad():
            expected = network(photos, *controls.values())
        feed = {name: value.numpy() for name, value in controls.items()}
        errors.append((_paint(session, photos, feed) - expected).flatten())
    differences = torch.cat(errors)
    power = differences.square().mean().item()
    psnr = -10 * math.log10(power) if power else math.inf
    return Difference(differences.abs().max().item(), psnr)  # NaN if any is


def _paint(session: onnxruntime.InferenceSession, photos: Tensor, controls: dict[str, np.ndarray]) -> Tensor:
    if session.get_inputs()[0].type == "tensor(uint8)":
        pixels = (255 * photos).round().byte().permute(0, 2, 3, 1).numpy()
        (pictures,) = session.run(None, {"photo": pixels, **controls})
        return torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
    return torch.from_numpy(session.run(None, {"photo": photos.numpy(), **controls})[0])
