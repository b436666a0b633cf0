"""Networks on the Hugging Face Hub: checkpoints to train on, and ONNX files."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from nst_lightning.extras import require_extra
from nst_lightning.hub.cards import CardEntry, build_card
from nst_lightning.hub.folder import write_publication
from nst_lightning.hub.models import GIT_ATTRIBUTES, config_file, model_files
from nst_lightning.hub.upload import check_repository, explaining, upload_folder
from nst_lightning.serving import read_models

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = "model.safetensors"
_USAGE = """\
With the Python package nst-lightning and its extras `train` and `hub`:

```python
from nst_lightning.hub import from_pretrained

network, metadata = from_pretrained("{repo_id}")
```

Of the file `model.safetensors`, its command `export` makes an ONNX file, and `fit --model.init_from` starts a training.
"""


def push_to_hub(
    source: str | Path,
    repo_id: str,
    *,
    title: str = "Neural style transfer",
    private: bool = False,
    token: str | None = None,
    endpoint: str | None = None,
) -> str:
    """Upload a network to a model repository, with a card from its metadata, and return the repository's address.

    A checkpoint becomes `model.safetensors`, which `from_pretrained` loads; an ONNX file keeps its name.

    Args:
        source: a checkpoint that `fit` wrote, the name of one that comes with the package, or an ONNX file.
        repo_id: the repository, `OWNER/NAME`, which is made if it doesn't exist.
        title: title of the card.
        private: whether a repository that is made can be seen by its owner alone.
        token: a token that may write; by default that of `hf auth login` or of the environment variable `HF_TOKEN`.
        endpoint: address of the Hub; by default that in the environment variable `HF_ENDPOINT`, or huggingface.co.

    Raises:
        ModuleNotFoundError: huggingface_hub, of the extra `hub`, is missing, or for a checkpoint, the extra `train`.
        UserError: the source is missing, damaged or something else, the name isn't allowed, or the Hub doesn't know
            the token or its right to write.
        WorkError: the Hub can't be reached, or refused the files.
    """
    check_repository(repo_id)
    if str(source).lower().endswith(".onnx"):
        files = model_files(read_models([source]), title=title)
    else:
        files = checkpoint_files(source, repo_id, title=title)
    with tempfile.TemporaryDirectory() as folder:
        write_publication(Path(folder), {"model": files})
        return upload_folder(Path(folder, "model"), repo_id, private=private, token=token, endpoint=endpoint)


def checkpoint_files(checkpoint: str | Path, repo_id: str, *, title: str) -> dict[str, Path | bytes]:
    """The files of a model repository with a checkpoint, see `push_to_hub`."""
    from nst_lightning.networks.checkpoint import RECORD, open_checkpoint, to_safetensors

    _, content = open_checkpoint(checkpoint)
    record = content[RECORD]
    metadata = record["metadata"]
    styles = (record["init_args"] or {}).get("styles", [])
    card = build_card(
        title,
        [CardEntry(WEIGHTS, styles, metadata)],
        library="nst-lightning",
        usage=_USAGE.format(repo_id=repo_id),
    )
    return {
        "README.md": card.encode(),
        "config.json": config_file(**record),
        WEIGHTS: to_safetensors(content),
        ".gitattributes": GIT_ATTRIBUTES,
    }


def from_pretrained(
    repo_id: str,
    network: "type[nn.Module] | nn.Module | None" = None,
    *,
    revision: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
) -> "tuple[nn.Module, dict[str, str]]":
    """Load a network that `push_to_hub` uploaded as a checkpoint. No code from the repository runs.

    Args:
        repo_id: the repository, `OWNER/NAME`.
        network: the network's class, if it is not one of this package, or a network of that class, into which the
            weights are loaded.
        revision: branch, tag or commit; by default the newest.
        token: a token that may read; by default that of `hf auth login` or of the environment variable `HF_TOKEN`.
        endpoint: address of the Hub; by default that in the environment variable `HF_ENDPOINT`, or huggingface.co.

    Returns:
        The network, on the CPU in evaluation mode, and its metadata.

    Raises:
        ModuleNotFoundError: a package of the extras `hub` and `train` is missing.
        UserError: there is no such repository, it has no network of this package, or `network` doesn't fit.
        WorkError: the Hub can't be reached.
    """
    from nst_lightning.networks import load_network

    check_repository(repo_id)
    require_extra("hub")
    from huggingface_hub import hf_hub_download

    with explaining(repo_id):
        path = hf_hub_download(repo_id, WEIGHTS, revision=revision, token=token, endpoint=endpoint)
    return load_network(path, network)
