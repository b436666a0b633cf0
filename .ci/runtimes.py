"""What .ci/runtimes does in Python: exports variants, runs them in a runtime, tries tools, and prints the table.

`run` works in environments that have a runtime and NumPy, and nothing else.
"""

import collections
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
PAGE, WEB_PAGE = ROOT / "docs/guide/runtimes.md", ROOT / "docs/guide/web.md"
STYLE, STRENGTH = "great_wave", 0.7
ODD, EVEN = (250, 381), (256, 384)  # height and width of the photo; the latter for files that take multiples of 8
BUNDLED = {"styles": ODD, "styles_fp16": ODD, "johnson_great_wave": ODD, "johnson_wheat_field": ODD}
BAKE = {STYLE: STRENGTH}
EXPORTED: dict[str, tuple[dict, dict | None, tuple[int, int]]] = {
    "opset 17": ({"opset": 17}, None, ODD),
    "bytes": ({"io": "uint8-nhwc"}, None, ODD),
    "fixed size": ({"fixed_size": "250x381"}, None, ODD),
    "baked": ({}, BAKE, EVEN),
    "baked, fixed size": ({"fixed_size": "250x381"}, BAKE, ODD),
    "all options": (
        {"fixed_size": "250x381", "io": "uint8-nhwc", "precision": "float16", "opset": 17},
        BAKE,
        ODD,
    ),
}
"""Options, baked style and size of the variants that are exported; `styles` is the plain file."""

FLOAT, HALF = 1e-3, 3e-2
"""The largest differences allowed, for values in [0, 1], as between ONNX Runtime and torch when files are exported."""
ROUNDING = 0.5 / 255
TAKEN = {"OpenCV 4": {"baked, fixed size", "all options"}, "classic engine": {"baked, fixed size"}}
"""What runtimes whose names have these words have to take; others take everything."""
LEAST_PSNR = 25  # of the quantized file's picture, in dB
SAME_PSNR = 40  # of pictures that look the same
LEVELS = {"styles": 2, "styles_fp16": 6, "johnson_great_wave": 6}  # of 255 by which providers' pictures may differ


def export(folder: Path) -> None:
    """Write the files, and for each its photo and the picture of the plain file in today's ONNX Runtime."""
    from nst_lightning.export import Variant, export_onnx
    from nst_lightning.networks import load_network

    network, metadata = load_network("styles")
    variants = []
    for name, size in BUNDLED.items():
        shutil.copy(ROOT / f"export/{name}.onnx", folder / f"{name}.onnx")
        plain = name if name.startswith("johnson") else "styles"
        variants.append(_prepare(folder, name, plain, size=size, half="fp16" in name))
    for name, (options, bake, size) in EXPORTED.items():
        variant = Variant(**options)
        export_onnx(network, folder / f"{name}.onnx", metadata=metadata, variant=variant, bake=bake)
        variants.append(_prepare(folder, name, "styles", size=size, half=variant.precision == "float16"))
    (folder / "variants.json").write_text(json.dumps(variants))


def _prepare(folder: Path, name: str, plain: str, *, size: tuple[int, int], half: bool) -> dict:
    """Write NAME.photo and NAME.picture, raw numbers, and describe the variant."""
    import onnxruntime
    from skimage import data

    pixels, photo = _resized(data.coffee(), size)
    session = onnxruntime.InferenceSession(folder / f"{plain}.onnx")
    (picture,) = session.run(None, {"photo": photo, **_controls(session)})
    session = onnxruntime.InferenceSession(folder / f"{name}.onnx")
    in_bytes = session.get_inputs()[0].type == "tensor(uint8)"
    given = pixels[None] if in_bytes else photo
    given.tofile(folder / f"{name}.photo")
    (picture.transpose(0, 2, 3, 1) if in_bytes else picture).astype(np.float32).tofile(folder / f"{name}.picture")
    controls = {control: value.tolist() for control, value in _controls(session).items()}
    limit = (HALF if half else FLOAT) + ROUNDING * in_bytes
    return {"name": name, "bytes": in_bytes, "shape": given.shape, "controls": controls, "limit": limit}


def _resized(image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A picture's bytes, of shape (H, W, 3), and the same as numbers in [0, 1], of shape (1, 3, H, W)."""
    from PIL import Image

    pixels = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.LANCZOS))
    return pixels, pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255


def _controls(session: Any) -> dict[str, np.ndarray]:
    """The style and its strength for an ONNX Runtime session, if it asks for them."""
    inputs = [node.name for node in session.get_inputs()[1:]]
    if not inputs:
        return {}
    styles = json.loads(session.get_modelmeta().custom_metadata_map["styles"])
    values = {"style": [name == STYLE for name in styles], "strength": [STRENGTH], "preserve_color": [0]}
    return {name: np.array(values[name], np.float32) for name in inputs}


def in_onnxruntime() -> Iterator[tuple[str, Callable]]:
    """ONNX Runtime, on the CPU."""
    import onnxruntime

    def paint(path: str, feed: dict[str, np.ndarray]) -> np.ndarray:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return session.run(None, feed)[0]

    yield f"ONNX Runtime {onnxruntime.__version__}", paint


def in_openvino() -> Iterator[tuple[str, Callable]]:
    """OpenVINO, on the CPU, in float32: by default, it computes in half precision where the processor can."""
    import openvino

    def paint(path: str, feed: dict[str, np.ndarray]) -> np.ndarray:
        model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return model(feed)[0]

    yield f"OpenVINO {openvino.__version__.split('-')[0]}", paint


def in_opencv() -> Iterator[tuple[str, Callable]]:
    """OpenCV's dnn, with the new engine and the classic one where there are both."""
    import cv2

    engines = {"": ()}
    if hasattr(cv2.dnn, "ENGINE_NEW"):
        engines = {" new engine": (cv2.dnn.ENGINE_NEW,), " classic engine": (cv2.dnn.ENGINE_CLASSIC,)}
    for name, engine in engines.items():

        def paint(path: str, feed: dict[str, np.ndarray], engine: tuple = engine) -> np.ndarray:
            network = cv2.dnn.readNetFromONNX(path, *engine)
            for control, value in feed.items():
                network.setInput(value, control)
            return network.forward()

        yield f"OpenCV {cv2.__version__}{name}", paint


def run(folder: Path, runtime: str) -> None:
    """Run all files in a runtime, and append to results.jsonl how far the pictures are from the plain file's."""
    for label, paint in globals()[f"in_{runtime}"]():
        for variant in json.loads((folder / "variants.json").read_text()):
            name = variant["name"]
            kind = np.uint8 if variant["bytes"] else np.float32
            feed = {"photo": np.fromfile(folder / f"{name}.photo", kind).reshape(variant["shape"])}
            feed |= {control: np.array(value, np.float32) for control, value in variant["controls"].items()}
            result = {"runtime": label, "variant": name}
            try:
                picture = np.asarray(paint(str(folder / f"{name}.onnx"), feed), np.float32)
                expected = np.fromfile(folder / f"{name}.picture", np.float32).reshape(variant["shape"])
                result["difference"] = float(np.abs(picture / (255 if variant["bytes"] else 1) - expected).max())
            except Exception as error:  # of any class, by runtime
                result["error"] = " ".join(str(error).split())[:200]
            with (folder / "results.jsonl").open("a") as results:
                results.write(json.dumps(result) + "\n")


def operators(folder: Path) -> None:
    """Check which operators the guide's page marks for three files."""
    import onnx

    rows = [line.split("|")[1:-1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    for column, name in enumerate(("styles", "baked", "baked, fixed size"), start=1):
        marked = {row[0].strip(" `") for row in rows if row[column].strip() == "x"}
        differing = marked ^ {node.op_type for node in onnx.load(folder / f"{name}.onnx").graph.node}
        if differing:
            sys.exit(f"{PAGE.name}: the operators of {name} differ: {', '.join(sorted(differing))}")


def tools(folder: Path) -> None:
    """Infer shapes symbolically, prepare for quantization, and quantize the baked file of a fixed size."""
    import onnx
    from onnxruntime.quantization import quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process
    from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

    for variant in json.loads((folder / "variants.json").read_text()):
        name = variant["name"]
        merge = name == "baked"  # nothing in it computes shapes, so that the tools have to guess that some are equal
        path, prepared = folder / f"{name}.onnx", folder / f"{name}.prepared"
        SymbolicShapeInference.infer_shapes(onnx.load(path), auto_merge=merge)
        quant_pre_process(str(path), str(prepared), auto_merge=merge)
        print(f"shape inference and quant_pre_process take {name}")
    quantized = folder / "quantized.onnx"
    quantize_static(folder / "baked, fixed size.prepared", quantized, _Photos())
    psnr = _psnr(folder, quantized)
    print(f"quantize_static makes of baked, fixed size {quantized.stat().st_size / 1e6:.1f} MB, PSNR {psnr:.1f} dB")
    if not psnr >= LEAST_PSNR:
        sys.exit(f"the PSNR of the quantized file is below {LEAST_PSNR} dB")


class _Photos:
    """The photos for calibration, as `quantize_static` asks for them; none is the one that is then painted."""

    def __init__(self) -> None:
        from skimage import data
        from sklearn.datasets import load_sample_images

        images = [data.astronaut(), data.chelsea(), data.rocket(), *load_sample_images().images]
        self.left = [{"photo": _resized(image, ODD)[1]} for image in images]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.left.pop() if self.left else None


def _psnr(folder: Path, path: Path) -> float:
    import onnxruntime

    photo = np.fromfile(folder / "styles.photo", np.float32).reshape(1, 3, *ODD)
    (picture,) = onnxruntime.InferenceSession(path).run(None, {"photo": photo})
    expected = np.fromfile(folder / "styles.picture", np.float32).reshape(picture.shape)
    return -10 * np.log10(np.square(picture - expected).mean())


def provider(folder: Path, name: str) -> None:
    """Paint with a provider, in one pass and in several, by `Stylizer` and `stylize`; compare with the CPU."""
    import onnxruntime
    from PIL import Image

    from nst_lightning.cli import main
    from nst_lightning.inference import Stylizer

    for file, limit in LEVELS.items():
        for side in (250, 600):
            arguments = ["photo.jpg", "--model", str(folder / f"{file}.onnx"), "--short-side", str(side)]
            if main(["stylize", *arguments, "--output", "painted.png", "--provider", name]):
                sys.exit(1)
            photo, painted = Image.open("photo.jpg"), np.asarray(Image.open("painted.png"))
            stylizers = [Stylizer(folder / f"{file}.onnx", providers=chosen) for chosen in (name, "cpu")]
            own, expected = (np.asarray(stylizer(photo, short_side=side), int) for stylizer in stylizers)
            largest = np.abs(own - expected).max()
            label = f"onnxruntime-{name} {onnxruntime.__version__}, {file}, {own.shape[1]}x{own.shape[0]} pixels"
            print(f"{label}: {stylizers[0].providers}, {largest} of 255 from the CPU's picture")
            if stylizers[0].providers[0] != name or largest > limit or (painted != own).any():
                sys.exit("that is not as it should be")


def snippets(folder: Path) -> None:
    """Write the guide's examples, each named after the package that it imports, and what they open."""
    from PIL import Image
    from skimage import data

    text = PAGE.read_text(encoding="utf-8")
    for language, code in re.findall(r"^```(py|js)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        (package,) = re.findall(r"openvino|cv2|onnxruntime-web", code)[:1]
        (folder / f"example_{package}.{language.replace('js', 'mjs')}").write_text(code, encoding="utf-8")
    Image.fromarray(data.coffee()).save(folder / "photo.jpg")
    for source, name in {"styles": "styles", "bytes": "bytes", "baked, fixed size": "baked"}.items():
        shutil.copy(folder / f"files/{source}.onnx", folder / f"{name}.onnx")


def repository(folder: Path) -> None:
    """Write a model repository as transformers.js finds it on the disk, and the guide's example, which loads it."""
    from nst_lightning.hub import model_files, write_publication
    from nst_lightning.serving import read_models

    write_publication(folder / "repositories/OWNER", {"NAME": model_files(read_models(), title="")})
    (example,) = re.findall(r"^```js\n(.*?)^```", WEB_PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    local = 'import { env } from "@huggingface/transformers";\nenv.localModelPath = "./repositories/";\n'
    text = f"{local}env.allowRemoteModels = false;\n{example}"
    (folder / "example_transformers.mjs").write_text(text, encoding="utf-8")


def compare(folder: Path) -> None:
    """Compare the picture of that example with the one by `Stylizer`; each decodes the JPEG by itself."""
    from PIL import Image

    from nst_lightning.inference import Stylizer

    made = np.asarray(Image.open(folder / "picture.png").convert("RGB"), float)
    expected = np.asarray(Stylizer("styles")(Image.open(folder / "photo.jpg"), style="udnie"), float)
    psnr = -10 * np.log10(np.square((made - expected) / 255).mean())
    print(f"transformers.js: PSNR {psnr:.1f} dB")
    assert psnr >= SAME_PSNR


def table(folder: Path) -> None:
    """Print the results as Markdown, and fail if one is above its limit, or missing without being expected to."""
    limits = {variant["name"]: variant["limit"] for variant in json.loads((folder / "variants.json").read_text())}
    cells: dict[str, dict[str, dict]] = collections.defaultdict(dict)
    for line in (folder / "results.jsonl").read_text().splitlines():
        result = json.loads(line)
        cells[result["runtime"]][result["variant"]] = result
    print("| largest difference |", " | ".join(cells), "|")
    print("|---" * (len(cells) + 1) + "|")
    bad = []
    for name, limit in limits.items():
        row = [results[name] for results in cells.values()]
        print(f"| {name} |", " | ".join(_cell(result) for result in row), "|")
        for runtime, result in zip(cells, row):
            if "error" in result:
                if all(name in taken for words, taken in TAKEN.items() if words in runtime):
                    bad.append(f"{runtime} doesn't take {name}: {result['error']}")
            elif not result["difference"] <= limit:
                bad.append(f"{runtime}, {name}: {result['difference']:.1e} is above {limit:.1e}")
    if bad:
        sys.exit("\n".join(bad))


def _cell(result: dict) -> str:
    return "no" if "error" in result else f"{result['difference']:.1e}"


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    globals()[command](Path(rest[0]), *rest[1:])
