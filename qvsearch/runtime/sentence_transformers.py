"""Models of sentence-transformers as a backend: `--model st:OWNER/NAME` or `st:FOLDER`.

Prompts, pooling and pixels are the model's own, as `encode_query` and `encode_document` of
sentence-transformers 6 apply them. Only models that run without code of their own are loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.media.passages import PASSAGE_TOKENS
from qvsearch.models import st_files
from qvsearch.models.patches import KNOWN_PREPROCESSING, PREPROCESSING
from qvsearch.models.registry import EMBEDDER, ST, Weights
from qvsearch.runtime.chosen import new_detail, new_document_detail, new_video_mode
from qvsearch.runtime.client import ServerKey, WarmEmbedder, find_server
from qvsearch.runtime.st_embedder import StEmbedder
from qvsearch.types import Dtype, Fingerprint, Kind, VideoMode

if TYPE_CHECKING:
    from qvsearch.runtime.choice import Choice
    from qvsearch.types import Embedder

LAYOUT = 1  # of a library's fingerprint: raise it when inputs are passed on in another way


class SentenceTransformersBackend:
    """Loads models by `st:` names; a new library's model, once looked at, is not loaded twice."""

    def __init__(self) -> None:
        self._looked_at: StEmbedder | None = None

    def new_fingerprint(self, model: str, choice: Choice) -> Fingerprint:
        """Return what decides the vectors of a chosen model, which is loaded to look at it.

        Raises QvsearchError for a model that cannot be run or embeds no text, and for options that
        only Qwen3-VL has.
        """
        _check_options(model, choice)
        weights = st_files.resolve(model, choice.hub)
        embedder = self._load(weights, choice)
        self._looked_at = embedder
        kinds = _kinds(weights.name, embedder.modalities)
        embedder.check_batches()
        mode = new_video_mode(choice)
        if mode is not VideoMode.FRAMES and "video" not in embedder.modalities:
            raise QvsearchError(
                f"{weights.name} embeds no clips, only single frames; leave out --video-mode {mode}"
            )
        dim = embedder.dim if choice.dim is None else choice.dim
        if not 0 < dim <= embedder.dim:
            raise QvsearchError(f"--dim {dim} is outside 1 to {embedder.dim} of {weights.name}")
        detail = new_detail(choice)
        return Fingerprint(
            model=weights.name,
            revision=weights.revision,
            dim=dim,
            detail=detail,
            instruction=embedder.document_prompt,
            prompt_layout=LAYOUT,
            preprocessing=PREPROCESSING,
            video_mode=mode,
            kinds=kinds,
            document_detail=new_document_detail(choice, detail),
        )

    def check_version(self, fingerprint: Fingerprint) -> None:
        """Raise QvsearchError for vectors of a later version."""
        known = fingerprint.preprocessing in KNOWN_PREPROCESSING
        if fingerprint.prompt_layout != LAYOUT or not known:
            raise QvsearchError(
                f"the library was made with {fingerprint.model} by another version of qvsearch;"
                " index into a new --library"
            )

    def load(self, fingerprint: Fingerprint, choice: Choice) -> Embedder:
        """Return the model of a library, on the server of `warm` if there is one.

        Raises QvsearchError if the files are another model's.
        """
        _check_options(fingerprint.model, choice)
        if choice.model is None or choice.model == fingerprint.model:
            connection = find_server(_key(fingerprint.revision, choice))
            if connection is not None:
                return WarmEmbedder(
                    connection,
                    fingerprint.dim,
                    lambda: self._load_here(fingerprint, choice),
                    fingerprint.decode_options,
                )
        return self._load_here(fingerprint, choice)

    def _load_here(self, fingerprint: Fingerprint, choice: Choice) -> StEmbedder:
        name, revision = fingerprint.model, fingerprint.revision
        if choice.model is None or choice.model == name:
            weights = st_files.resolve(name, choice.hub, revision)
        elif choice.model.startswith(ST):  # another place of the same files
            weights = st_files.resolve(choice.model, choice.hub)
        else:
            raise _other_model(fingerprint, choice.model)
        if weights.revision != revision:
            raise _other_model(fingerprint, f"{weights.name} at {weights.revision}")
        embedder = self._load(weights, choice)
        embedder.dim = fingerprint.dim
        embedder.decode_options = fingerprint.decode_options
        return embedder

    def _load(self, weights: Weights, choice: Choice) -> StEmbedder:
        """Return the model that was looked at before if it is the same one, or load it."""
        looked_at, self._looked_at = self._looked_at, None
        how = (weights, choice.device, choice.dtype)
        if looked_at is not None and looked_at.how == how:
            return looked_at
        del looked_at  # freed before another one is loaded
        return StEmbedder(weights, choice.device, choice.dtype)


def server_key(
    model: str, choice: Choice, library: Fingerprint | None = None
) -> tuple[ServerKey, Weights]:
    """Return the key of the server to start for a model, e.g. that of a library, and its files.

    Raises QvsearchError if the files are not the library's.
    """
    _check_options(model, choice)
    weights = st_files.resolve(model, choice.hub, None if library is None else library.revision)
    if library is not None and weights.revision != library.revision:
        raise _other_model(library, f"{weights.name} at {weights.revision}")
    return _key(weights.revision, choice), weights


def _key(revision: str, choice: Choice) -> ServerKey:
    """Return the key of a model's server; our own model of the same commit has another one."""
    return ServerKey(EMBEDDER, f"{ST}{revision}", choice.device, choice.dtype)


def notes_of(fingerprint: Fingerprint) -> list[str]:
    """Return what a model leaves out of a library, a line each; the model is not loaded."""
    notes = []
    if fingerprint.kinds:
        others = [kind for kind in Kind if kind not in fingerprint.kinds]
        notes.append(
            f"{fingerprint.model} embeds only {_listed(fingerprint.kinds)}:"
            f" files of the kinds {_listed(others)} are left out"
        )
    folder = st_files.find(fingerprint.model, fingerprint.revision)
    limit = None if folder is None else st_files.longest_text(folder)
    if limit is not None and limit < PASSAGE_TOKENS:
        notes.append(f"{fingerprint.model} reads only the first {limit} tokens of each passage")
    return notes


def _listed(kinds: Sequence[Kind]) -> str:
    *first, last = kinds
    return f"{', '.join(first)} and {last}" if first else last


def _check_options(model: str, choice: Choice) -> None:
    """Raise QvsearchError for options that only our own models have."""
    if choice.dtype == Dtype.INT8:
        raise QvsearchError(f"--dtype int8 is for Qwen3-VL; leave it out for {model}")
    if choice.adapter is not None:
        raise QvsearchError(f"--adapter is for Qwen3-VL; leave it out for {model}")
    if choice.servers:
        raise QvsearchError(f"--server is for Qwen3-VL; {model} runs in this process")


def _kinds(name: str, modalities: frozenset[str]) -> tuple[Kind, ...]:
    """Return the kinds of files that a model embeds; empty for all."""
    if "text" not in modalities:
        raise QvsearchError(
            f"{name} embeds no text, so that words would find nothing; give another"
        )
    return () if "image" in modalities else (Kind.TEXT,)


def _other_model(fingerprint: Fingerprint, other: str) -> QvsearchError:
    return QvsearchError(
        f"the library was made with {fingerprint.model} at revision {fingerprint.revision},"
        f" not {other}; index into a new --library"
    )


SENTENCE_TRANSFORMERS = SentenceTransformersBackend()
