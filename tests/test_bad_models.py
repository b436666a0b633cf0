"""Damaged and hostile ONNX files: refused, or failing, in one line, without a crash or an endless run."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import draw
from onnx import TensorProto, helper, numpy_helper

from nst_lightning.cli import main
from nst_lightning.errors import WorkError
from nst_lightning.inference import ModelError, Stylizer

SHAPE = ["n", 3, "height", "width"]
PHOTO = helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)
PICTURE = helper.make_tensor_value_info("y", TensorProto.FLOAT, SHAPE)
ADD = [helper.make_node("ReduceMax", ["s"], ["m"], keepdims=0), helper.make_node("Add", ["x", "m"], ["y"])]
COPY = helper.make_node("Identity", ["x"], ["y"])


def save(path, nodes, initializers=(), *, inputs=(PHOTO,), output=PICTURE, domains=(), **metadata):
    """Write a network that may be anything, and return its path."""
    graph = helper.make_graph(nodes, "g", inputs, [output], initializers)
    opsets = [helper.make_opsetid(name, version) for name, version in (("", 17), *((name, 1) for name in domains))]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    helper.set_model_props(model, metadata)
    path.write_bytes(model.SerializeToString())
    return path


def sized(*shape):
    """A photo and a picture of a fixed shape."""
    return {
        "inputs": [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        "output": helper.make_tensor_value_info("y", TensorProto.FLOAT, shape),
    }


def numbers(*values):
    return numpy_helper.from_array(np.array(values, np.int64), "c")


def endless(path):
    body = helper.make_graph(
        [helper.make_node("Identity", ["again"], ["go"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, SHAPE),
        ],
        [
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, SHAPE),
        ],
    )
    yes = numpy_helper.from_array(np.array(True), "yes")
    return save(path, [helper.make_node("Loop", ["", "yes", "x"], ["y"], body=body)], [yes])


def outside(location):
    """A network whose weights are in another file."""

    def make(path):
        tensor = TensorProto(name="s", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=location)
        save(path, ADD, [tensor])

    return make


def claiming(path):
    save(path, ADD, [TensorProto(name="s", data_type=TensorProto.FLOAT, dims=[2**40, 2**20])])


def field(number, content):
    """A field of a protobuf message that holds bytes."""
    length, size = len(content), b""
    while length > 127:
        length, size = length >> 7, size + bytes([length & 127 | 128])
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


def nested(path):
    """A graph in an attribute of a node of a graph in an attribute, and so on."""
    content = b""
    for _ in range(5000):
        content = field(1, field(5, field(6, content)))
    path.write_bytes(b"\x08\x08" + field(7, content))


def sparse(path):
    with path.open("wb") as file:
        file.truncate(3 * 2**30)


def custom(path):
    save(path, [helper.make_node("Evil", ["x"], ["y"], domain="evil.example")], domains=["evil.example"])


def strings(path):
    text = helper.make_tensor_value_info("y", TensorProto.STRING, SHAPE)
    save(path, [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.STRING)], output=text)


def sequence(path):
    sequences = [helper.make_tensor_sequence_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    save(path, [COPY], inputs=sequences[:1], output=sequences[1])


def truncated(path):
    save(path, [COPY] * 9)
    path.write_bytes(path.read_bytes()[:50])


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: path.write_bytes(b""), "is damaged or not an ONNX file"),
        (lambda path: path.write_bytes(bytes(10**6)), "is damaged or not an ONNX file"),
        (lambda path: draw(64, 64).save(path, "PNG"), "is damaged or not an ONNX file"),
        (truncated, "is damaged or not an ONNX file"),
        (sparse, "is no ONNX file: it has 3.22 GB, and at most 2 GB are possible"),
        (nested, "is damaged or not an ONNX file"),
        (claiming, "is damaged or not an ONNX file"),
        (custom, "is damaged or not an ONNX file"),
        (outside("/etc/passwd"), "is damaged or not an ONNX file"),
        (outside("../secret"), "is damaged or not an ONNX file"),
        (outside("missing"), "is damaged or not an ONNX file"),
        (strings, "is not a transfer network for photos: x tensor(float) "),
        (sequence, "is not a transfer network for photos: x seq(tensor(float)) "),
        pytest.param(
            lambda path: os.mkfifo(path), "no such file", marks=pytest.mark.skipif(os.name == "nt", reason="")
        ),
        (lambda path: path.mkdir(), "no such file"),
    ],
    ids=[
        *("empty", "zeros", "picture", "truncated", "huge", "nested", "claiming", "custom", "absolute", "outside"),
        *("missing", "strings", "sequence", "pipe", "folder"),
    ],
)
def test_files_that_are_refused(tmp_path, monkeypatch, capfd, make, problem):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(bytes(16))
    (tmp_path / "models").mkdir()
    make(tmp_path / "models/bad.onnx")
    draw(64, 64).save("a.png")
    for command in (["stylize", "a.png", "--output", "new/out.png"], ["styles", "a.png", "--output", "new/out.png"]):
        assert main([*command, "--model", "models/bad.onnx"]) == 2
        out, err = capfd.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)
        assert err.startswith(f"nst-lightning: {command[0]}: model: ")
        assert problem in err
    assert not Path("new").exists()


def huge(path):
    save(path, [helper.make_node("ConstantOfShape", ["c"], ["s"]), *ADD], [numbers(2**20, 2**20)])


def beyond(path):
    save(path, [helper.make_node("ConstantOfShape", ["c"], ["s"]), *ADD], [numbers(2**50, 2**50)])


def tiled(path):
    save(path, [helper.make_node("Tile", ["x", "c"], ["s"]), *ADD], [numbers(1, 1, 10**5, 10**5)])


def turned(path):
    save(path, [helper.make_node("Transpose", ["x"], ["y"], perm=[0, 1, 3, 2])])


def no_numbers(path):
    save(path, [helper.make_node("Sub", ["x", "x"], ["s"]), helper.make_node("Div", ["s", "s"], ["y"])])


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (huge, "ConstantOfShape"),
        (beyond, "ConstantOfShape"),
        (tiled, "Tile"),
        (turned, "the network made a picture of shape (1, 3, 64, 48) from a photo of shape (1, 3, 48, 64)"),
        (no_numbers, "the network made a picture with values that are not numbers"),
        (lambda path: save(path, [COPY], **sized(1, 3, 2**40, 2**40)), "array is too big"),
        (lambda path: save(path, [COPY], **sized(1, 3, 2**20, 2**20)), "Unable to allocate 12.0 TiB"),
        (lambda path: save(path, [COPY], **sized(2**40, 3, "height", "width")), "Unable to allocate"),
    ],
    ids=["huge", "beyond", "tiled", "turned", "no_numbers", "wide", "large", "batch"],
)
def test_networks_that_fail(tmp_path, monkeypatch, capfd, make, problem):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "bad.onnx")
    draw(64, 48).save("a.png")
    assert main(["stylize", "a.png", "--output", "new/out.png", "--model", "bad.onnx"]) == 1
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith("nst-lightning: stylize: a.png: a photo of 64x48 could not be stylized (")
    assert problem in err
    assert not Path("new").exists()


DEEP = "[" * 100_000


def many(path, **metadata):
    """A network of two styles, with metadata."""
    names = (("style", 2), ("strength", 1), ("preserve_color", 1))
    controls = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [length]) for name, length in names]
    sums = [("x", "strength"), ("a", "preserve_color"), ("b", "s")]
    nodes = [helper.make_node("ReduceSum", ["style"], ["s"], keepdims=1)]
    nodes += [helper.make_node("Mul", pair, [name]) for pair, name in zip(sums, "aby")]
    return save(path, nodes, inputs=[PHOTO, *controls], **metadata)


@pytest.mark.parametrize(
    "names", ["", "null", "[1, 2]", '"ab"', '{"a": 1, "b": 2}', '["a"]', '[["a"], "b"]', DEEP, r'["\u001b[31m", "b"]']
)
def test_names_of_styles_that_make_no_sense(tmp_path, names):
    with pytest.raises(ModelError, match=r"takes weights of styles, \[2\], but its metadata doesn't name them"):
        Stylizer(many(tmp_path / "bad.onnx", styles=names))


@pytest.mark.parametrize("value", ["", "null", "many", "[1]", '{"a": [1]}', DEEP, "9" * 5000, "-1", "²"])
@pytest.mark.parametrize("name", ["size", "sizes", "credits", "size_multiple", "baked", "fingerprint"])
def test_other_metadata_that_make_no_sense_are_ignored(tmp_path, capsys, name, value):
    model = str(many(tmp_path / "a.onnx", styles=json.dumps(["a", "b"]), **{name: value}))
    draw(64, 48).save(tmp_path / "a.png")
    assert main(["styles", "--model", model]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[0] for line in lines] == ["a", "b"]
    assert main(["stylize", str(tmp_path / "a.png"), "--model", model, "--output", str(tmp_path / "out.png")]) == 0


def test_bad_files_are_named_in_lists(tmp_path, capsys):
    good = many(tmp_path / "good.onnx", styles='["a", "b"]')
    many(tmp_path / "baked.onnx", styles='["a", "b"]', baked="[1]")
    (tmp_path / "empty.onnx").write_bytes(b"")
    assert main(["export", "--list", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1].endswith(good.name)
    assert len(out.splitlines()) == len(err.splitlines()) == 2
    assert "the metadata of" in err


def test_a_network_that_fails_has_no_speed(tmp_path, capsys):
    tiled(tmp_path / "bad.onnx")
    assert main(["evaluate", "speed", str(tmp_path / "bad.onnx"), "--image-size", "32", "--rounds", "1"]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert len(err.splitlines()) == 1
    assert "bad.onnx: " in err


@pytest.mark.skipif(os.name == "nt", reason="sends signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("size", [(64, 48), (2048, 1100)], ids=["whole", "in strips"])
def test_a_network_without_an_end_can_be_stopped(tmp_path, number, code, size):
    draw(*size).save(tmp_path / "a.png")
    arguments = ["a.png", "--model", endless(tmp_path / "bad.onnx").name, "--output", "new/out.png"]
    started = "import sys, nst_lightning.cli as c, nst_lightning.inference; print(flush=True); sys.exit(c.main())"
    command = [sys.executable, "-c", started, "stylize", *arguments]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(number)
        try:
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (code, b"", b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "bad.onnx"]


def test_stylizers_work_in_threads(tmp_path):
    """Only the main thread handles signals; in others, a network runs as it is called."""
    tiled(tmp_path / "bad.onnx")
    copy, bad = Stylizer(save(tmp_path / "copy.onnx", [COPY])), Stylizer(tmp_path / "bad.onnx")
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(copy, draw(64, 48)).result() == copy(draw(64, 48)) == draw(64, 48)
        with pytest.raises(WorkError, match="could not be stylized"):
            threads.submit(bad, draw(64, 48)).result()
