"""The command `publish`: the page and the networks as repositories for the Hugging Face Hub."""

from nst_lightning.commands.pictures import expand_argument
from nst_lightning.errors import renaming
from nst_lightning.extras import require_extra
from nst_lightning.hub import model_files, space_files, upload_folder, write_publication
from nst_lightning.hub.upload import check_repository
from nst_lightning.serving import read_models


def publish(
    folder: str,
    model: list[str] | None = None,
    title: str = "Neural style transfer",
    push: str | None = None,
    private: bool = False,
) -> None:
    """Write what the Hugging Face Hub needs: the page as a static Space, and the networks as a model repository.

    Nothing leaves this computer, unless `push` is given.

    Args:
        folder: the folder to write, with the folders `space` and `model`. It must be new or empty, or be from an
            earlier `publish`, whose files are replaced unless one of them was changed.
        model: a network to publish: an .onnx file, or the name of a bundled network. May be repeated; the page begins
            with the first. By default all bundled networks, with their cards; for others, cards are written from their
            metadata.
        title: title of the Space, and of the card that is written.
        push: upload both to the Hub, as a Space and a model repository of this name, `OWNER/NAME`. Needs the extra
            `hub`, and a login by `hf auth login` or the environment variable HF_TOKEN.
        private: let only the owner see repositories that are made.
    """
    if push is not None:
        check_repository(push, "push")
        require_extra("hub")
    target, models = expand_argument("folder", folder), read_models(model or [])
    repositories = {
        "model": model_files(models, title=title),
        "space": space_files(models, title=title, repository=push),
    }
    write_publication(target, repositories)
    for name in repositories:
        print(target / name)
    if push is not None:
        with renaming(repo_id="push"):
            print(upload_folder(target / "model", push, kind="model", private=private))
            print(upload_folder(target / "space", push, kind="space", private=private))
