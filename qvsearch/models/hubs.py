"""Downloads models from the hubs that publish them, with the hubs' own clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from qvsearch.choices import Hub
from qvsearch.errors import QvsearchError

PATIENCE = 10  # seconds to wait for a hub's first answer

# what describes a model without its weights
TEXTS = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
]
# without code, pickles, and copies of the weights in other formats
FILES = ["*.safetensors", "*.safetensors.index.json", *TEXTS]


class NotHere(QvsearchError):
    """A model is not in a hub's local cache, or could not be downloaded; the text is the reason."""


def find(name: str, revision: str | None, files: Sequence[str] = FILES) -> Path | None:
    """Return the folder of a model in a hub's local cache, without network; None without one.

    `files` are the patterns of the files that the model needs.
    """
    for snapshot in HUBS.values():
        try:
            return snapshot(name, revision, files, True)
        except NotHere:
            continue
    return None


def cached_files(pattern: str) -> list[Path]:
    """Return the files in Hugging Face's cache whose names match a pattern, without network."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return sorted(Path(HF_HUB_CACHE).glob(f"models--*/snapshots/*/**/{pattern}"))


def download(name: str, revision: str | None, hub: str, files: Sequence[str] = FILES) -> Path:
    """Download the missing files of a model and return its folder; raises NotHere."""
    if hub not in HUBS:
        raise QvsearchError(f"no hub {hub!r}; there are {', '.join(HUBS)}")
    return HUBS[hub](name, revision, files, False)


def _hugging_face(name: str, revision: str | None, files: Sequence[str], local_only: bool) -> Path:
    if local_only and not _is_cached(name):  # to load the client takes a third of a second
        raise NotHere("it was never downloaded from Hugging Face")
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is its client's
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        if not local_only:
            # without a network this fails at once; the download would retry for half a minute
            HfApi().model_info(name, revision=revision, timeout=PATIENCE)
        folder = snapshot_download(
            name, revision=revision, allow_patterns=list(files), local_files_only=local_only
        )
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise NotHere("Hugging Face has no model of that name that you may read") from error
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        raise NotHere(f"Hugging Face cannot be reached ({_reason(error)})") from error
    return Path(folder)


def _is_cached(name: str) -> bool:
    """Return whether Hugging Face's cache has a folder of any commit of a model."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE, f"models--{name.replace('/', '--')}", "snapshots").is_dir()


def _modelscope(name: str, _revision: str | None, files: Sequence[str], local_only: bool) -> Path:
    """Fetch from ModelScope, whose commits are its own: the model's current state is taken."""
    if find_spec("modelscope") is None:
        raise NotHere("its client is not installed: pip install modelscope")
    from modelscope import snapshot_download
    from modelscope_hub.errors import HubError

    try:
        folder = snapshot_download(name, allow_patterns=list(files), local_files_only=local_only)
    except (HubError, OSError, ValueError) as error:
        raise NotHere(f"ModelScope cannot be reached ({_reason(error)})") from error
    return Path(folder)


def _reason(error: BaseException) -> str:
    """Return the first line of an error's root cause: clients wrap the reason in advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


HUBS: dict[str, Callable[[str, str | None, Sequence[str], bool], Path]] = {
    Hub.HUGGINGFACE: _hugging_face,
    Hub.MODELSCOPE: _modelscope,
}
