"""Cutting a network at its instance normalizations, into stages that run on one strip of a photo after the other.

An instance normalization needs the mean and variance of the whole picture. So each stage computes what one of them
normalizes, strip by strip, and measures it; later stages normalize with the result. Features at the network's coarsest
size are kept for later stages, since they are small and took the most work; finer ones are computed again.
"""

import math
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import onnxruntime

from nst_lightning.inference.onnx_messages import (
    FLOAT,
    FLOAT16,
    INT64,
    UINT8,
    add_input,
    add_node,
    attributes,
    parse_model,
    take_numbers,
)
from nst_lightning.inference.row_counts import RowCounts

_COUNTING = ("Range", "CumSum")
"""Operators that number rows, the latter as the sum of a one for each."""
_ELEMENTS = {"float16": FLOAT16, "float32": FLOAT, "int64": INT64}

OpenSession = Callable[[bytes], onnxruntime.InferenceSession]


@dataclass(frozen=True)
class Stage:
    """What is to be computed strip by strip, before the next stage can begin.

    Args:
        data: a model of this part of the network. Inputs and outputs besides the network's own are called TENSOR/ROLE.
        open_session: function that makes a session of a model's bytes.
        target: the tensor to be measured, or the picture.
        takes: the kept tensors that it takes.
        keeps: the tensors that are to be kept for later stages.
        halo: rows of the photo around a strip on which its result depends, or more.
        sees_photo: whether the result depends on the photo's colors directly.
        working: bytes in use at once for each pixel of a strip.
    """

    data: bytes
    open_session: OpenSession
    target: str
    takes: tuple[str, ...]
    keeps: tuple[str, ...]
    halo: int
    sees_photo: bool
    working: float

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        """The session that computes the stage."""
        return self.open_session(self.data)


class StagedNetwork:
    """A network whose photos have the shape (1, 3, H, W), cut into stages.

    Args:
        data: the bytes of the ONNX file. Where it takes and returns bytes, the stages have numbers in their place.
        open_session: function that makes a session of a model's bytes.
    """

    def __init__(self, data: bytes, open_session: OpenSession) -> None:
        self._model = parse_model(data)
        graph = self._model.graph
        if graph.input[0].type.tensor_type.elem_type == UINT8:
            take_numbers(graph)
        self._open_session = open_session
        self.photo, self.picture = graph.input[0].name, graph.output[0].name
        self._nodes: Sequence[Any] = graph.node
        self._makers = {name: i for i, node in enumerate(self._nodes) for name in node.output if name}
        self.rows = RowCounts(self._model, self.photo, open_session)
        self._normalized = [node.input[0] for node in self._nodes if node.op_type == "InstanceNormalization"]
        self.resizings = {node.output[0]: node.input[0] for node in self._nodes if node.op_type == "Resize"}
        self.linear = {
            node.output[0]
            for node in self._nodes
            if node.op_type == "Resize" and attributes(node)["mode"].s == b"linear"
        }
        self.scales = sorted({self.rows.scales[name] for name in self._normalized}) or [Fraction(1)]
        """The scales, from the coarsest on, up to which features may be kept."""
        self._frame = type(self._model)()
        self._frame.CopyFrom(self._model)
        for field in ("node", "initializer", "input", "output", "value_info"):
            self._frame.graph.ClearField(field)
        self.working = self._working(range(len(self._nodes)))
        """Bytes in use at once for each pixel of a photo that is painted whole, at least."""
        self._stages: dict[tuple[frozenset[str], Fraction], list[Stage]] = {}

    def stages(self, height: int, finest: Fraction) -> list[Stage]:
        """The stages for photos of a height in pixels, which keep features up to a scale, one of `scales`."""
        key = self._drifting(height), finest
        if key not in self._stages:
            self._stages[key] = self._cut(*key)
        return self._stages[key]

    def kept_bytes(self, stages: Sequence[Stage]) -> list[float]:
        """The bytes of kept tensors in each stage, for each pixel of the photo."""
        kept, found = set[str](), []
        for i, stage in enumerate(stages):
            later = {name for each in stages[i + 1 :] for name in each.takes}
            before, kept = kept, later & (kept | {*stage.keeps})
            found.append(max(self._kept_bytes(before), self._kept_bytes(kept)))
        return found

    def _kept_bytes(self, names: Iterable[str]) -> float:
        return sum(2 / self.rows.element(name).itemsize * self.rows.bytes_of(name) for name in names)

    def _drifting(self, height: int) -> frozenset[str]:
        """The outputs of resizings by factors other than those in strips, which would drift apart."""
        scales = self.rows.scales
        return frozenset(
            large
            for large, small in self.resizings.items()
            if Fraction(self.rows.of(large, height), self.rows.of(small, height)) != scales[large] / scales[small]
        )

    def _cut(self, drifting: Set[str], finest: Fraction) -> list[Stage]:
        done: set[int] = set()
        kept: list[str] = []
        stages: list[Stage] = []
        for target in (*self._normalized, self.picture):
            part = self._nodes_for([target], kept)
            done.update(self._nodes_for([target], ()))
            takes = [name for name in kept if any(name in self._nodes[i].input for i in part)]
            keeps = [name for name in self._alive(done, finest) if name not in kept]
            kept += keeps
            stage = Stage(
                data=self._write_part(part, target, takes, keeps, drifting),
                open_session=self._open_session,
                target=target,
                takes=tuple(takes),
                keeps=tuple(keeps),
                halo=self._halo(part, [target, *keeps]),
                sees_photo=any(self.photo in self._nodes[i].input and self._nodes[i].op_type != "Shape" for i in part),
                working=self._working(part),
            )
            stages.append(stage)
        return stages

    def _nodes_for(self, wanted: Sequence[str], given: Iterable[str]) -> list[int]:
        """The nodes, in order, that compute tensors from given ones and the network's inputs."""
        needed, found, stop = [*wanted], set[int](), set(given)
        while needed:
            name = needed.pop()
            maker = self._makers.get(name)
            if maker is not None and maker not in found and name not in stop:
                found.add(maker)
                needed.extend(self._nodes[maker].input)
        return sorted(found)

    def _alive(self, done: Set[int], finest: Fraction) -> list[str]:
        """The tensors up to a scale that are computed and will be needed again."""
        needed = {name for i, node in enumerate(self._nodes) if i not in done for name in node.input}
        computed = (name for i in sorted(done) for name in self._nodes[i].output)
        return [
            name
            for name in computed
            if name in needed and self.rows.is_image(name) and self.rows.scales[name] <= finest
        ]

    def _halo(self, part: Sequence[int], results: Sequence[str]) -> int:
        """The rows of the photo, a multiple of the step, that the results depend on beyond their own."""
        reaches: dict[str, Fraction] = {}
        for node in (self._nodes[i] for i in part):
            before = max((reaches.get(name, Fraction(0)) for name in node.input), default=Fraction(0))
            scale = self.rows.scales.get(node.input[0]) if node.input else None
            reach = before + (_reach(node) / scale if scale else 0)
            reaches.update(dict.fromkeys(node.output, reach))
        seen = Fraction(0)
        for name in results:
            margin = Fraction(self.rows.of(name, 8 * self.rows.step)) / self.rows.scales[name] - 8 * self.rows.step
            seen = max(seen, reaches.get(name, Fraction(0)) + margin)
        return math.ceil(seen / self.rows.step) * self.rows.step

    def _working(self, part: Sequence[int]) -> float:
        """The bytes for each pixel of a strip that are in use at once, at most."""
        last = {name: i for i in part for name in self._nodes[i].input}
        most = 0.0
        alive: dict[str, float] = {}
        for i in part:
            alive.update({name: self.rows.bytes_of(name) for name in self._nodes[i].output if name})
            most = max(most, sum(alive.values()))
            for name in [name for name in alive if last.get(name, -1) <= i]:
                del alive[name]
        return most

    def _write_part(
        self, part: Sequence[int], target: str, takes: Sequence[str], keeps: Sequence[str], drifting: Set[str]
    ) -> bytes:
        """A model of some nodes, which takes kept tensors and statistics, and returns strips and their moments."""
        model = type(self._model)()
        model.CopyFrom(self._frame)
        graph = model.graph
        for name in takes:
            add_node(graph, "Cast", [add_input(graph, f"{name}/kept", FLOAT16)], name, to=self._element(name))
        for i in part:
            self._add_node(graph, self._nodes[i], drifting)
        add_input(graph, "rows/axis", INT64)
        for name in dict.fromkeys([target, *keeps]):
            self._add_results(graph, name, measured=name == target != self.picture, kept=name in keeps)
        used = {name for node in graph.node for name in node.input}
        graph.initializer.extend(each for each in self._model.graph.initializer if each.name in used)
        graph.input.extend(each for each in self._model.graph.input if each.name in used)
        data: bytes = model.SerializeToString()
        return data

    def _add_node(self, graph: Any, node: Any, drifting: Set[str]) -> None:
        """Add a node, or what takes its place in strips."""
        name = node.output[0]
        if node.op_type == "InstanceNormalization":
            graph.node.add().CopyFrom(node)
            graph.node[-1].op_type = "BatchNormalization"
            statistics = [add_input(graph, f"{node.input[0]}/{role}", FLOAT) for role in ("mean", "variance")]
            graph.node[-1].input.extend(statistics)
        elif node.op_type in _COUNTING and name in self.rows.scales:
            graph.node.add().CopyFrom(node)
            graph.node[-1].output[0] = f"{name}/local"
            first = add_input(graph, f"{name}/first", INT64)
            add_node(graph, "Cast", [first], f"{name}/rows_above", to=self._element(name))
            add_node(graph, "Add", [f"{name}/local", f"{name}/rows_above"], name)
        elif name in drifting:
            self._add_exact_resizing(graph, node)
        else:
            graph.node.add().CopyFrom(node)

    def _add_exact_resizing(self, graph: Any, node: Any) -> None:
        """Resize rows by their places in the whole picture, and then only columns as the node does."""
        small, large = node.input[0], node.output[0]
        for role in ("above", "below"):
            index = add_input(graph, f"{large}/{role}", INT64)
            add_node(graph, "Gather", [small, index], f"{large}/{role}_rows", axis=2)
        weight = add_input(graph, f"{large}/weight", self._element(small))
        add_node(graph, "Sub", [f"{large}/below_rows", f"{large}/above_rows"], f"{large}/difference")
        add_node(graph, "Mul", [f"{large}/difference", weight], f"{large}/step")
        add_node(graph, "Add", [f"{large}/above_rows", f"{large}/step"], f"{large}/rows")
        graph.node.add().CopyFrom(node)
        graph.node[-1].input[0] = f"{large}/rows"

    def _add_results(self, graph: Any, name: str, *, measured: bool, kept: bool) -> None:
        """Cut the strip's own rows out of a tensor, and return them, or the means of values and of their squares."""
        bounds = [add_input(graph, f"{name}/{role}", INT64) for role in ("from", "to")]
        strip = f"{name}/strip"
        add_node(graph, "Slice", [name, *bounds, "rows/axis"], strip)
        if measured:
            add_node(graph, "Mul", [strip, strip], f"{name}/squares")
            for values, mean in ((strip, f"{name}/strip_mean"), (f"{name}/squares", f"{name}/strip_square")):
                add_node(graph, "GlobalAveragePool", [values], mean)
                graph.output.add(name=mean)
        if kept:
            add_node(graph, "Cast", [strip], f"{name}/strip_kept", to=FLOAT16)
            graph.output.add(name=f"{name}/strip_kept")
        if name == self.picture:
            graph.output.add(name=strip)

    def _element(self, name: str) -> int:
        return _ELEMENTS[self.rows.element(name).name]


def _reach(node: Any) -> int:
    """The rows of its input that a node sees above and below a row."""
    found = attributes(node)
    if node.op_type == "Resize":
        return 2 if found["mode"].s == b"cubic" else 1
    if "kernel_shape" not in found:
        return 0
    dilation = found["dilations"].ints[0] if "dilations" in found else 1
    return int(found["kernel_shape"].ints[0] // 2 * dilation)
