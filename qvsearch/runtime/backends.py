"""Engines beside our own that make vectors, by the form of their models' names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from qvsearch.errors import QvsearchError
from qvsearch.models.gguf import is_gguf
from qvsearch.models.registry import ST

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.models.registry import Weights
    from qvsearch.runtime.choice import Choice
    from qvsearch.runtime.client import ServerKey
    from qvsearch.types import Embedder, Fingerprint


class Backend(Protocol):
    """An engine with models of its own; a library of such a model is made with it alone."""

    def new_fingerprint(self, model: str, choice: Choice) -> Fingerprint:
        """Return what decides the vectors of a chosen model, which is downloaded if necessary.

        Raises QvsearchError for a model that it cannot run, and for options that it does not have.
        """
        ...

    def check_version(self, fingerprint: Fingerprint) -> None:
        """Raise QvsearchError for vectors that this version of qvsearch cannot compute."""
        ...

    def load(self, fingerprint: Fingerprint, choice: Choice) -> Embedder:
        """Return the model of a library; raises QvsearchError if the files are another model's."""
        ...


def backend_of(model: str) -> Backend | None:
    """Return the engine that runs a model by its name; None for our own."""
    if is_gguf(model):
        from qvsearch.runtime.llama.backend import GgufBackend

        return GgufBackend()
    if model.startswith(ST):
        from qvsearch.runtime.sentence_transformers import SENTENCE_TRANSFORMERS

        return SENTENCE_TRANSFORMERS
    return None


def loading(model: str, choice: Choice) -> Backend | None:
    """Return the engine that loads a model; None if our own does, or servers of a GGUF file."""
    return None if choice.servers and is_gguf(model) else backend_of(model)


def server_key(
    model: str, choice: Choice, library: Fingerprint | None = None
) -> tuple[ServerKey, Weights] | None:
    """Return the key of the server to start for an engine's model, and its files.

    `library` is that of a library of this model. None for our own models. Raises QvsearchError if
    the files are another model's, and for a model that `warm` does not keep loaded.
    """
    if is_gguf(model):
        raise QvsearchError(
            f"warm keeps only folders and models of a hub loaded, and {model} has its own engine;"
            " keep a server of it running, and give its URL: --server URL"
        )
    if not model.startswith(ST):
        return None
    from qvsearch.runtime import sentence_transformers

    return sentence_transformers.server_key(model, choice, library)


def other_name(chosen: str | None, own: str) -> str | None:
    """Return a chosen model if its name decides; None for one that is compared by its content.

    That is a folder, or a GGUF file instead of another: it may be the same in another place.
    """
    if (
        chosen is None
        or (is_gguf(chosen) and is_gguf(own))
        or Path(chosen.removeprefix(ST)).is_dir()
    ):
        return None
    return chosen


def make_anew(library: Library, choice: Choice) -> bool:
    """Return whether a library's model has an engine of its own.

    If the library never had a row, e.g. after a failed comparison, it takes the chosen model.
    """
    backend = backend_of(library.fingerprint.model)
    if backend is None:
        return False
    if choice.model is not None and not library.generation:
        library.make_anew(backend.new_fingerprint(choice.model, choice))
    return True


def notes(fingerprint: Fingerprint) -> list[str]:
    """Return what a person should know before files are indexed with a library's model."""
    if not fingerprint.model.startswith(ST):
        return []
    from qvsearch.runtime.sentence_transformers import notes_of

    return notes_of(fingerprint)
