"""How many rows the tensors of a network have for photos of any height."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import onnxruntime

from nst_lightning.inference.sessions import run_session

PROBE_SIDE = 64
"""Height and width of the smallest photo that is tried, in pixels."""


@dataclass(frozen=True)
class _Tensor:
    shape: tuple[int, ...]
    element: np.dtype[Any]

    @property
    def rows(self) -> int:
        """The length of the dimension that follows the photo's height, if one does."""
        return {1: self.shape[:1], 4: self.shape[2:3]}.get(len(self.shape), (0,))[0]


class RowCounts:
    """The sizes and types of a network's tensors, found out by running it on small photos.

    Args:
        model: the network, as `parse_model` returns it.
        photo: name of the photo's input.
        open_session: function that makes a session of a model's bytes.
    """

    def __init__(self, model: Any, photo: str, open_session: Callable[[bytes], onnxruntime.InferenceSession]) -> None:
        probe = type(model)()
        probe.CopyFrom(model)
        probe.graph.ClearField("output")
        for node in probe.graph.node:
            for name in filter(None, node.output):
                probe.graph.output.add(name=name)
        self._session = open_session(probe.SerializeToString())
        self._photo = photo
        self._runs: dict[int, dict[str, _Tensor]] = {}
        small, large = self._run(PROBE_SIDE), self._run(2 * PROBE_SIDE)
        scales = {name: Fraction(large[name].rows - tensor.rows, PROBE_SIDE) for name, tensor in small.items()}
        self.scales = {name: scale for name, scale in scales.items() if scale > 0}
        """Rows for each row of the photo, of those tensors of shape (N, C, H, W) or (H,) that have more for more."""
        self.step = math.lcm(*(scale.denominator for scale in self.scales.values()))
        """Number of the photo's rows after which all tensors begin another row."""

    def of(self, name: str, height: int) -> int:
        """The rows that a tensor has for a photo of some height in pixels."""
        similar = PROBE_SIDE + height % self.step
        return self._run(similar)[name].rows + int(self.scales[name] * (height - similar))

    def is_image(self, name: str) -> bool:
        """Whether a tensor has the shape (N, C, H, W), with more rows for higher photos."""
        return name in self.scales and len(self._run(PROBE_SIDE)[name].shape) == 4

    def bytes_of(self, name: str) -> float:
        """The memory that a tensor takes for each pixel of the photo."""
        tensor = self._run(PROBE_SIDE)[name]
        return math.prod(tensor.shape) * tensor.element.itemsize / PROBE_SIDE**2

    def element(self, name: str) -> np.dtype[Any]:
        """The type of a tensor's values."""
        return self._run(PROBE_SIDE)[name].element

    def _run(self, height: int) -> Mapping[str, _Tensor]:
        if height not in self._runs:
            inputs = {
                node.name: np.zeros((1, 3, height, PROBE_SIDE), np.float32)
                if node.name == self._photo
                else np.ones(node.shape, np.float32)
                for node in self._session.get_inputs()
            }
            names = [node.name for node in self._session.get_outputs()]
            found = run_session(self._session, inputs, names, endless=True)
            self._runs[height] = {name: _Tensor(each.shape, each.dtype) for name, each in zip(names, found)}
        return self._runs[height]
