"""What an ONNX file says of itself: text that may be anything."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime

from nst_lightning.inference.models import ModelError
from nst_lightning.system import normalize_keys, normalize_name


def read_styles(metadata: Mapping[str, str], style: onnxruntime.NodeArg, path: Path) -> list[str]:
    """The names of the styles, in the order of their weights."""
    names = _parse(metadata.get("styles", ""))
    known = isinstance(names, list) and all(isinstance(name, str) and name.isprintable() for name in names)
    if known and style.shape == [len(names)]:
        return [normalize_name(name) for name in names]
    raise ModelError(f"model: {path} takes weights of styles, {style.shape}, but its metadata doesn't name them")


def parse_object(text: str) -> dict[str, Any]:
    """A JSON object; an empty one if the text is something else."""
    found = _parse(text)
    return normalize_keys(found) if isinstance(found, dict) else {}


def _parse(text: str) -> Any:
    """What a text in JSON says; None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
