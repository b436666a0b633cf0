"""Example style pictures, drawn by programs."""

from nst_lightning.examples.impasto import impasto
from nst_lightning.examples.ink_wash import ink_wash
from nst_lightning.examples.mosaic import mosaic
from nst_lightning.examples.pastel import pastel
from nst_lightning.examples.watercolor import watercolor

__all__ = ["impasto", "ink_wash", "mosaic", "pastel", "watercolor"]
