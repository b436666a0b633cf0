"""The trained networks that come with the package, by name."""

from pathlib import Path

from nst_lightning.errors import UserError, naming, suggest_names
from nst_lightning.images import expand_path

DEFAULT_MODEL = "styles"
"""The bundled network of many styles."""
LARGEST = 2**31
"""Bytes that an ONNX file has at most, as its format, protobuf, can't be larger."""
_PACKAGE = Path(__file__).parent.parent
_FOLDERS = (_PACKAGE / "zoo", _PACKAGE.parent / "export")
"""The folders of bundled networks: that of an installed package, and that of a clone of the repository."""


class ModelError(UserError):
    """A file that is missing, damaged, or not an ONNX file of a transfer network."""


def bundled_models() -> dict[str, Path]:
    """Names of the trained networks that come with the package, such as `styles`, and their ONNX files."""
    return {path.stem: path for folder in reversed(_FOLDERS) for path in sorted(folder.glob("*.onnx"))}


def find_model(model: str | Path) -> Path:
    """The ONNX file that a path or a bundled network's name stands for.

    Raises:
        ModelError: there is neither such a file nor such a network, or it is a checkpoint.
    """
    with naming("model"):
        path, bundled = expand_path(model), bundled_models()
    if path.suffix.lower() in (".ckpt", ".safetensors"):
        raise ModelError(f"model: {path} is a checkpoint; the command `export` makes an ONNX file of it")
    if path.is_file():
        if path.stat().st_size > LARGEST:
            gigabytes = f"{path.stat().st_size / 1e9:.3g} GB"
            raise ModelError(f"model: {path} is no ONNX file: it has {gigabytes}, and at most 2 GB are possible")
        return path
    if str(model) in bundled:
        return bundled[str(model)]
    raise ModelError(f"model: no such file: {path}; {suggest_names(str(model), bundled, 'bundled networks')}")
