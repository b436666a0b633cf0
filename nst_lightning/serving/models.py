"""The networks that a page or a repository offers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nst_lightning.errors import UserError
from nst_lightning.inference import DEFAULT_MODEL, InputShape, Stylizer, bundled_models, find_model
from nst_lightning.system import normalize_name


@dataclass(frozen=True)
class OfferedModel:
    """An ONNX file with what it says of itself.

    Args:
        name: the name of a bundled network, or the file's without its ending.
        path: the file.
        styles: names of its styles, if there are several.
        metadata: the file's metadata.
        input_shape: the photos that it takes.
    """

    name: str
    path: Path
    styles: list[str]
    metadata: dict[str, str]
    input_shape: InputShape


def read_models(models: Sequence[str | Path] = ()) -> list[OfferedModel]:
    """Open the networks that a page is to offer.

    Args:
        models: .onnx files, or names of bundled networks. By default all bundled networks, that of many styles first.

    Raises:
        ModelError: a file is missing, damaged or not a transfer network.
        UserError: two networks have the same name.
    """
    found: dict[str, OfferedModel] = {}
    bundled = sorted(bundled_models(), key=lambda name: (not name.startswith(DEFAULT_MODEL), name))
    for model in models or bundled:
        path, stylizer = find_model(model), Stylizer(model)
        name = normalize_name(path.stem)
        if name in found:
            raise UserError.about("model", f"two networks are called {name}; rename one of the files")
        found[name] = OfferedModel(name, path, stylizer.styles, stylizer.metadata, stylizer.input_shape)
    return [*found.values()]
