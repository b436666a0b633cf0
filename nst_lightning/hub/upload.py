"""Uploading to the Hugging Face Hub, and downloading, with errors in one line."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from nst_lightning import __version__
from nst_lightning.errors import UserError, WorkError, require
from nst_lightning.extras import require_extra

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def upload_folder(
    folder: Path,
    repo_id: str,
    *,
    kind: Literal["model", "space"] = "model",
    private: bool = False,
    token: str | None = None,
    endpoint: str | None = None,
) -> str:
    """Upload a folder as a repository, which is made if it doesn't exist, and return its address.

    Args:
        folder: the folder. Other files that the repository has stay.
        repo_id: the repository, `OWNER/NAME`.
        kind: whether it is a model repository or a static Space.
        private: whether a repository that is made can be seen by its owner alone.
        token: a token that may write; by default that of `hf auth login` or of the environment variable `HF_TOKEN`.
        endpoint: address of the Hub; by default that in the environment variable `HF_ENDPOINT`, or huggingface.co.

    Raises:
        ModuleNotFoundError: huggingface_hub, of the extra `hub`, is missing.
        UserError: the name isn't allowed, or the Hub doesn't know the token or its right to write.
        WorkError: the Hub can't be reached, or refused the files.
    """
    check_repository(repo_id)
    require_extra("hub")
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint, token=token, library_name="nst-lightning", library_version=__version__)
    sdk: dict[str, Any] = {"space_sdk": "static"} if kind == "space" else {}
    with explaining(repo_id):
        address = api.create_repo(repo_id, repo_type=kind, private=private or None, exist_ok=True, **sdk)
        api.upload_folder(
            repo_id=repo_id,
            repo_type=kind,
            folder_path=folder,
            commit_message=f"Upload with nst-lightning {__version__}",
        )
    return str(address)


def check_repository(repo_id: str, argument: str = "repo_id") -> None:
    """Refuse what can't be the name of a repository.

    Raises:
        UserError: it can't; the message names the argument.
    """
    require(argument, repo_id, bool(REPOSITORY.fullmatch(repo_id)), "OWNER/NAME, of letters, digits, `-`, `_` and `.`")


@contextlib.contextmanager
def explaining(repo_id: str) -> Iterator[None]:
    """Say in one line what the Hub's errors mean for a repository."""
    from huggingface_hub import errors as hub

    try:
        yield
    except hub.HFValidationError as error:
        raise UserError.about("repo_id", _one_line(error)) from None
    except hub.RemoteEntryNotFoundError as error:
        raise UserError.about("repo_id", f"{repo_id} has no network of this package ({_one_line(error)})") from None
    except hub.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403, 404):
            advice = "log in with `hf auth login`, or set HF_TOKEN, as somebody who may read or write it"
            raise UserError.about("repo_id", f"the Hub says {status} of {repo_id}: {advice}") from None
        raise WorkError(f"{repo_id}: {_one_line(error)}") from None
    except (hub.HTTPError, hub.LocalEntryNotFoundError, ConnectionError) as error:
        raise WorkError(f"{repo_id}: the Hub can't be reached ({_one_line(error)})") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
