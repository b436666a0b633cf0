"""The page as a static Space."""

from collections.abc import Sequence
from pathlib import Path

from nst_lightning.hub.cards import CardEntry, describe_networks, front_matter, license_fields, plain_text
from nst_lightning.hub.models import GIT_ATTRIBUTES
from nst_lightning.serving import OfferedModel, build_site
from nst_lightning.serving.server import ISOLATION

PAGE_LICENSE = "mit"
HEADERS = {**ISOLATION, "Cross-Origin-Resource-Policy": "cross-origin"}
"""What WASM threads need. The Hub's own page has these headers, too, and shows the Space in a frame: so the Space must
allow that others embed it."""


def space_files(
    models: Sequence[OfferedModel], *, title: str, repository: str | None = None
) -> dict[str, Path | bytes]:
    """The files of a static Space by their paths: their content, or where they are on the disk.

    Args:
        models: the networks, of which the page begins with the first.
        title: title of the Space.
        repository: the model repository, `OWNER/NAME`, that the Space links to.

    Raises:
        UserError: the page isn't built.
    """
    fields = {
        "title": title,
        "emoji": "🎨",
        "colorFrom": "indigo",
        "colorTo": "yellow",
        "sdk": "static",
        "app_file": "index.html",
        "pinned": False,
        "short_description": "Repaint your photos in the browser, where they stay",
        **license_fields([PAGE_LICENSE, *(model.metadata.get("license") for model in models)]),
        "tags": ["neural-style-transfer", "onnx", "art"],
        **({"models": [repository]} if repository else {}),
        "custom_headers": {name.lower(): value for name, value in HEADERS.items()},
    }
    networks = describe_networks([CardEntry.of(model) for model in models])
    text = f"{front_matter(fields)}\n# {plain_text(title)}\n\n{networks}"
    return {**build_site(models), "README.md": text.encode(), ".gitattributes": GIT_ATTRIBUTES}
