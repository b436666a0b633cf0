"""What the README.md of a repository says, from the metadata of its networks."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from nst_lightning.serving import OfferedModel
from nst_lightning.system import normalize_keys

LICENSES = (
    *("mit", "apache-2.0", "bsd", "bsd-2-clause", "bsd-3-clause", "isc", "zlib", "unlicense", "wtfpl", "artistic-2.0"),
    *("cc", "cc0-1.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nd-4.0"),
    *("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
    *("gpl", "gpl-2.0", "gpl-3.0", "agpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "mpl-2.0", "epl-2.0", "eupl-1.2"),
    *("openrail", "openrail++", "creativeml-openrail-m", "bigscience-openrail-m", "pddl", "unknown"),
)
"""Licenses by the names that the Hub knows them by, https://huggingface.co/docs/hub/repositories-licenses; it refuses
others, but for `other` with a `license_name`."""


@dataclass(frozen=True)
class CardEntry:
    """A network in a card.

    Args:
        file: its file in the repository.
        styles: names of its styles, if there are several.
        metadata: its metadata, as in its file.
    """

    file: str
    styles: list[str]
    metadata: dict[str, str]

    @classmethod
    def of(cls, model: OfferedModel) -> "CardEntry":
        """The entry of an ONNX file."""
        return cls(f"{model.name}.onnx", model.styles, model.metadata)


def front_matter(values: Mapping[str, Any]) -> str:
    """The YAML between two lines of dashes that a card begins with."""
    return f"---\n{yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=1000)}---\n"


def license_fields(licenses: Sequence[str | None]) -> dict[str, str]:
    """The license of a repository, in the Hub's terms; nothing if the license of a network in it isn't known.

    >>> license_fields(["MIT", "mit"]), license_fields(["mit", None])
    ({'license': 'mit'}, {})
    >>> license_fields(["mit", "The Studio's Own"])
    {'license': 'other', 'license_name': 'mit-and-the-studio-s-own'}
    """
    if not all(licenses):
        return {}
    names = [*dict.fromkeys(re.sub(r"[^a-z0-9.+]+", "-", name.lower()).strip("-") for name in licenses if name)]
    if len(names) == 1 and names[0] in LICENSES:
        return {"license": names[0]}
    return {"license": "other", "license_name": "-and-".join(names)}


def build_card(title: str, entries: Sequence[CardEntry], *, library: str, usage: str) -> str:
    """The card of a model repository.

    Args:
        title: its title.
        entries: the networks in it.
        library: the library that loads them, in the Hub's terms.
        usage: how to use them, in Markdown.
    """
    fields = {
        **license_fields([entry.metadata.get("license") for entry in entries]),
        "library_name": library,
        "pipeline_tag": "image-to-image",
        "tags": ["neural-style-transfer", "art", *(["onnx"] if library == "onnxruntime" else [])],
    }
    return f"{front_matter(fields)}\n# {plain_text(title)}\n\n{describe_networks(entries)}\n## Use\n\n{usage}"


def describe_networks(entries: Sequence[CardEntry]) -> str:
    """Tables of networks and of their styles, with credits and licenses."""
    rows = [
        (f"`{entry.file}`", str(len(entry.styles) or 1), entry.metadata.get("license", "not stated"))
        for entry in entries
    ]
    styles = dict.fromkeys(row for entry in entries for row in _style_rows(entry))
    return (
        "Each network repaints a photo in a single pass, and was trained with nst-lightning.\n\n"
        f"{_table(('network', 'styles', 'license'), rows)}\n"
        f"## Styles\n\n{_table(('style', 'picture', 'trained at'), [*styles])}"
    )


def _style_rows(entry: CardEntry) -> list[tuple[str, str, str]]:
    metadata = entry.metadata
    credits, sizes = (normalize_keys(json.loads(metadata.get(key, "{}"))) for key in ("credits", "sizes"))
    if not entry.styles:
        sides = [metadata.get("size"), *sizes.values()]
        return [(metadata.get("style", entry.file), metadata.get("painter", ""), _pixels(sides[0]))]
    return [(name, credits.get(name, ""), _pixels(sizes.get(name, metadata.get("size")))) for name in entry.styles]


def _pixels(short_side: Any) -> str:
    return f"{short_side} pixels" if short_side else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([plain_text(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def plain_text(value: object) -> str:
    """Text on one line, in which nothing is HTML or ends the cell of a table."""
    return re.sub(r"[|<]", r"\\\g<0>", " ".join(str(value).split()))
