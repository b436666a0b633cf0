"""Writes what the tests of the painting code compare with: networks, photos, and the pictures that `Stylizer` paints.

The folder's `cases.json` lists the pictures; `scaled.json` lists pictures that Pillow has scaled. Pixels are raw bytes,
red, green, blue and opacity of each. Networks that are there already are kept, for it takes seconds to export one.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from nst_lightning.export import Variant, export_onnx
from nst_lightning.images import resize_array
from nst_lightning.inference import Stylizer, bundled_models
from nst_lightning.networks import JohnsonNet, MultiStyleNet

METADATA = {"size": "128", "style": "ink", "painter": "A painter"}
IN_STRIPS = {"memory": 1}
COARSE_TO_FINE = {"strokes": 4}
BLEND = {"style": {"ink": 1, "wood": 2}, "strength": 0.6, "preserveColor": 0.5}
SCALINGS = [
    ((97, 62), (181, 124)),
    ((97, 62), (40, 31)),
    ((97, 62), (97, 31)),
    ((64, 48), (127, 48)),
    ((97, 62), (34, 22)),
]


class Darkened(nn.Module):
    """A network that sees the whole photo without an instance normalization."""

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        """Darken photos, shape (N, 3, H, W)."""
        return photos * photos.mean((2, 3), keepdim=True)


class Numbered(nn.Module):
    """A network that numbers rows by `Range`."""

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        """Shade photos, shape (N, 3, H, W), in bands of 51 rows."""
        return photos * (torch.arange(photos.shape[2])[:, None] % 51) / 51


@dataclass(frozen=True)
class File:
    """A network's file.

    Args:
        network: the network.
        variant: the file's variant.
        bake: styles to bake into it.
    """

    network: nn.Module
    variant: Variant = Variant()
    bake: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Case:
    """A picture to compare with.

    Args:
        file: name of the network's file.
        size: width and height of the photo.
        options: those of `Network.paint`, with names in place of weights.
    """

    file: str
    size: tuple[int, int]
    options: Mapping[str, Any] = field(default_factory=dict)


def files() -> dict[str, File]:
    """The networks, by the names of their files."""
    torch.manual_seed(0)
    one = JohnsonNet(4, 1, 3)
    many = MultiStyleNet(["ink", "glass", "wood"], [4, 6, 8], 5, [1, 3])
    with torch.no_grad():
        for parameter in many.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    deep = JohnsonNet(4, 1, 5, downsamplings=3, dilations=[3])
    return {
        "one": File(one),
        "many": File(many),
        "deep": File(deep),
        "linear": File(JohnsonNet(4, 1, 3, upsampling="bilinear")),
        "bytes": File(many, Variant(io="uint8-nhwc")),
        "baked": File(many, Variant(batch=1), {"wood": 0.5}),
        "half": File(many, Variant("float16", "uint8-nhwc", opset=17), {"wood": 0.4, "ink": 0.2}),
        "fixed": File(one, Variant(fixed_size="96x128")),
        "batch": File(many, Variant(fixed_size="64x64", batch=3, io="uint8-nhwc")),
        "darkened": File(Darkened()),
        "numbered": File(Numbered()),
    }


def cases() -> list[Case]:
    """The pictures."""
    small, large = (97, 61), (401, 355)
    made = [Case(name, small) for name in files()]
    made += [Case(name, size) for name in ("fixed", "batch") for size in ((200, 120), (80, 150))]
    made += [Case(name, large, {**IN_STRIPS, **COARSE_TO_FINE}) for name in files() if name not in ("fixed", "batch")]
    for options in (BLEND, {"strength": 0}, {"preserveColor": 1}):
        made.append(Case("many", (131, 171), {**options, "strokes": "native"}))
        made.append(Case("many", (701, 500), {**options, **IN_STRIPS}))
    for name in bundled_models():
        made += [Case(name, (700, 500), options) for options in ({"strokes": 2}, {**IN_STRIPS, "strokes": "native"})]
    return [*made, Case("styles", (1030, 701), {**IN_STRIPS, **BLEND, "style": {"udnie": 1, "ink_wash": 3}})]


def write_networks(folder: Path) -> dict[str, Path]:
    """Export the networks; their paths by their names, and those of the bundled ones."""
    for name, file in files().items():
        path = folder / f"{name}.onnx"
        if not path.exists():
            export_onnx(file.network.eval(), path, metadata=METADATA, variant=file.variant, bake=file.bake)
    return {**bundled_models(), **{name: folder / f"{name}.onnx" for name in files()}}


def paint(stylizer: Stylizer, photo: Image.Image, options: Mapping[str, Any]) -> Image.Image:
    """Paint a photo with the options of `Network.paint` as `Stylizer` has them."""
    names = {"style": "style", "strokes": "strokes", "strength": "strength", "preserveColor": "preserve_color"}
    return stylizer(photo, **{names[key]: value for key, value in options.items() if key in names})


def with_weights(options: Mapping[str, Any], styles: list[str]) -> dict[str, Any]:
    """Options with weights of styles in place of their names."""
    named = options.get("style")
    return {**options, **({"style": [named.get(style, 0) for style in styles]} if named else {})}


def draw(size: tuple[int, int]) -> Image.Image:
    """A photo with smooth areas, edges, noise and colors."""
    random = np.random.default_rng(size[0])
    y, x = np.mgrid[0 : size[1], 0 : size[0]] / max(size)
    waves = np.stack([np.sin(9 * (a * x + b * y) + c) for a, b, c in random.normal(size=(3, 3))], -1)
    pixels = 90 * waves + 128 + random.normal(0, 6, waves.shape)
    pixels[size[1] // 3 : size[1] // 2, size[0] // 5 : size[0] // 2] = random.integers(0, 256, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def save(image: Image.Image, path: Path) -> str:
    """Write an image's pixels, and return the file's name."""
    path.write_bytes(image.convert("RGBA").tobytes())
    return path.name


def main() -> None:
    """Write all of it to a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    networks = write_networks(folder)
    for i, case in enumerate(cases()):
        stylizer, photo = Stylizer(networks[case.file], threads=1), draw(case.size)
        picture = paint(stylizer, photo, case.options)
        written.append(
            {
                "network": case.file,
                "file": str(networks[case.file].resolve()),
                "width": case.size[0],
                "height": case.size[1],
                "options": with_weights(case.options, stylizer.styles),
                "photo": save(photo, folder / f"photo_{case.size[0]}x{case.size[1]}.rgba"),
                "picture": save(picture, folder / f"picture_{i}.rgba"),
            }
        )
    (folder / "cases.json").write_text(json.dumps(written, indent=1))
    write_scaled(folder)


def write_scaled(folder: Path) -> None:
    """Scale pictures with Pillow: bytes as they are, and the same in floats, whose values are little-endian."""
    written = []
    for i, (size, to) in enumerate(SCALINGS):
        photo = draw(size)
        floats = resize_array(np.asarray(photo, np.float32).transpose(2, 0, 1) / 255, to)
        (folder / f"floats_{i}.f32").write_bytes(floats.astype("<f4").tobytes())
        photo_name = save(photo, folder / f"scaled_from_{i}.rgba")
        bytes_name = save(photo.resize(to, Image.Resampling.LANCZOS), folder / f"scaled_to_{i}.rgba")
        written.append({"from": size, "to": to, "photo": photo_name, "bytes": bytes_name, "floats": f"floats_{i}.f32"})
    (folder / "scaled.json").write_text(json.dumps(written, indent=1))


if __name__ == "__main__":
    main()
