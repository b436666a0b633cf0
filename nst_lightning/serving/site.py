"""The files of the page: what `make web` built, the networks, and a list of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from nst_lightning.errors import UserError
from nst_lightning.serving.models import OfferedModel

_PACKAGE = Path(__file__).parent.parent
PAGE_FOLDERS = (_PACKAGE / "page", _PACKAGE.parent / "web" / "page")
"""Where the built page may be: in an installed package, and in a clone of the repository."""


def build_site(models: Sequence[OfferedModel]) -> dict[str, Path | bytes]:
    """The files of the page by their paths, such as `models/styles.onnx`: their content, or where they are on the disk.

    Args:
        models: the networks, of which the page begins with the first.

    Raises:
        UserError: the page isn't built.
    """
    page = _find_page()
    built = {path.relative_to(page): path for path in sorted(page.rglob("[!.]*")) if path.is_file()}
    files: dict[str, Path | bytes] = {relative.as_posix(): path for relative, path in built.items()}
    listed = json.dumps([_describe(model) for model in models], ensure_ascii=False, indent=1)
    networks = {f"models/{model.name}.onnx": model.path for model in models}
    return {**files, **networks, "models.json": listed.encode()}


def _find_page() -> Path:
    for folder in PAGE_FOLDERS:
        if (folder / "index.html").is_file():
            return folder
    raise UserError("the page is not built here; `make web`, in a clone of the repository, builds it")


def _describe(model: OfferedModel) -> dict[str, str | int]:
    """What the page is told of a network before it loads it."""
    title = {} if model.styles else {"title": model.metadata.get("style", model.name)}
    return {"name": model.name, "file": f"models/{quote(model.name)}.onnx", **title, "bytes": model.path.stat().st_size}
