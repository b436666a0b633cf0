"""Model repositories: ONNX files with a card, and with what transformers.js reads."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nst_lightning import __version__
from nst_lightning.hub.cards import CardEntry, build_card
from nst_lightning.inference import DEFAULT_MODEL, bundled_models
from nst_lightning.serving import OfferedModel

GIT_ATTRIBUTES = b"".join(
    f"*.{ending} filter=lfs diff=lfs merge=lfs -text\n".encode()
    for ending in ("onnx", "safetensors", "wasm", "jpg", "png", "webp", "ico", "woff2")
)
"""Lets Git push binary files in the way that the Hub demands."""
_USAGE = """\
With the Python package nst-lightning, the file is all that is needed:

```python
from PIL import Image

from nst_lightning.inference import Stylizer

stylizer = Stylizer({file})
stylizer(Image.open("photo.jpg"){style}).save("picture.png")
```
"""


def model_files(models: Sequence[OfferedModel], *, title: str) -> dict[str, Path | bytes]:
    """The files of a model repository by their paths: their content, or where they are on the disk.

    All bundled networks together have the cards and pictures that come with them; others have a card from their
    metadata.

    Args:
        models: the networks. `preprocessor_config.json` describes the first one's photos.
        title: title of the card.
    """
    bundled = bundled_models()
    files: dict[str, Path | bytes] = {".gitattributes": GIT_ATTRIBUTES}
    if {model.path for model in models} == {*bundled.values()}:
        folder = bundled[DEFAULT_MODEL].parent
        files |= {path.name: path for path in sorted(folder.iterdir()) if path.suffix in (".md", ".jpg")}
    else:
        entries = [CardEntry.of(model) for model in models]
        style = f", style={_quote(models[0].styles[0])}" if models[0].styles else ""
        usage = _USAGE.format(file=_quote(entries[0].file), style=style)
        files["README.md"] = build_card(title, entries, library="onnxruntime", usage=usage).encode()
    preprocessor = _describe_photos(models[0])
    return {
        **files,
        **{f"{model.name}.onnx": model.path for model in models},
        "config.json": config_file(networks={model.name: _describe_network(model) for model in models}),
        **({"preprocessor_config.json": to_json(preprocessor)} if preprocessor else {}),
    }


def config_file(**content: Any) -> bytes:
    """A repository's `config.json`, by whose downloads the Hub counts those of the repository."""
    return to_json({"model_type": "nst_lightning", "nst_lightning_version": __version__, **content})


def to_json(content: Mapping[str, Any]) -> bytes:
    """JSON to read and to compare."""
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _describe_network(model: OfferedModel) -> dict[str, Any]:
    controls = ["style", "strength", "preserve_color"] if model.styles else []
    return {
        "file": f"{model.name}.onnx",
        "inputs": ["photo", *controls],
        "output": "picture",
        "styles": model.styles,
        "license": model.metadata.get("license"),
    }


def _describe_photos(model: OfferedModel) -> dict[str, Any] | None:
    """What an image processor of transformers and transformers.js has to do; none makes bytes in a network's order."""
    shape = model.input_shape
    if shape.in_bytes:
        return None
    fixed = {"do_resize": True, "size": {"height": shape.height, "width": shape.width}, "resample": 3}
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_convert_rgb": True,
        **(fixed if shape.height and shape.width else {"do_resize": False}),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": False,
    }
