"""The packages that parts of this package need, by the extra that brings them."""

import importlib.util

DISTRIBUTION = "nst-lightning"
"""What pip calls this package. It has another name when it is built for another build of ONNX Runtime (Makefile)."""
EXTRAS = {
    "train": (
        "torch",
        "torchvision",
        "lightning",
        "torchmetrics",
        "tensorboard",
        "safetensors",
        "filelock",
        "onnx",
        "onnxscript",
    ),
    "quickstart": ("skimage", "sklearn"),
    "heic": ("pillow_heif",),
    "video": ("av",),
    "hub": ("huggingface_hub",),
    "ray": ("ray", "pyarrow", "fsspec"),
}
"""Import names of packages, by extra."""


def install_command(extra: str) -> str:
    """The command that installs an extra.

    >>> install_command("train")
    'pip install "nst-lightning[train]"'
    """
    return f'pip install "{DISTRIBUTION}[{extra}]"'


def advise_install(package: str | None) -> str | None:
    """A missing package, and the command that installs it; None if no extra brings it.

    >>> advise_install("lightning")
    'lightning: pip install "nst-lightning[train]"'
    """
    return next((f"{package}: {install_command(extra)}" for extra, names in EXTRAS.items() if package in names), None)


def require_extra(extra: str) -> None:
    """Refuse to go on without the packages of an extra, which are found but not imported.

    Raises:
        ModuleNotFoundError: a package is missing; the message names it, and the command that installs it.
    """
    for package in EXTRAS[extra]:
        if importlib.util.find_spec(package) is None:
            problem = f"this part of nst_lightning needs {advise_install(package)}"
            raise ModuleNotFoundError(problem, name=package)
