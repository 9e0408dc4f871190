"""Matches models and libraries: the model of a new library, and the one that an old one needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.library.library import Library
from qvsearch.library.manifest import read_committed
from qvsearch.library.names import default_folder, library_folder
from qvsearch.models import registry
from qvsearch.models.gguf import is_gguf
from qvsearch.models.registry import (
    DEFAULT_MODEL,
    DEFAULT_RERANKER,
    DEMO,
    DEMO_RERANKER,
    EMBEDDER,
    GENERATOR,
    RERANKER,
    Weights,
    check_dim,
    check_inputs,
    describe,
    resolve,
    role_of,
)
from qvsearch.published.opening import fingerprint_at, open_at
from qvsearch.runtime import backends, opened
from qvsearch.runtime.choice import Choice as Choice
from qvsearch.runtime.chosen import (
    adapter_of,
    new_detail,
    new_document_detail,
    new_model,
    new_video_mode,
    precision_of,
    weights_of,
)
from qvsearch.runtime.client import ServerKey, WarmEmbedder, WarmReranker, find_server
from qvsearch.runtime.query_cache import CachedEmbedder
from qvsearch.types import Precision

if TYPE_CHECKING:
    from qvsearch.types import Embedder, Fingerprint, Reranker


def open_library(folder: Path, choice: Choice) -> Library:
    """Open a library; raises QvsearchError without one, or if it was made with other options."""
    library = open_at(folder)
    fingerprint = library.fingerprint
    pages = fingerprint.document_detail or fingerprint.detail
    for option, chosen, own in (
        # a folder may hold the library's model by another name: load_embedder looks inside
        ("--model", backends.other_name(choice.model, fingerprint.model), fingerprint.model),
        ("--dim", choice.dim, fingerprint.dim),
        ("--detail", choice.detail, fingerprint.detail),
        ("--document-detail", choice.document_detail, pages),
        ("--video-mode", choice.video_mode, fingerprint.video_mode),
        ("--store", choice.store, library.store),
    ):
        _check_option(folder, option, chosen, own)
    check_version(library)
    if adapter_of(choice) is not None:  # compared by content: it may have been moved
        _check_revision(fingerprint, choice)
    opened.remember(library)
    return library


def _check_option(folder: Path, option: str, chosen: object, own: object) -> None:
    if chosen not in (None, own):
        raise QvsearchError(
            f"the library {folder} was made with {option} {own}, not {chosen};"
            " leave the option out, or name another --library"
        )


def check_version(library: Library) -> None:
    """Raise QvsearchError for a library whose vectors this version of qvsearch cannot compute."""
    check_fingerprint(library.fingerprint, f"the library {library.folder}", "--library")


def check_fingerprint(fingerprint: Fingerprint, what: str, other: str) -> None:
    """Raise QvsearchError for vectors that this version of qvsearch cannot compute.

    `what` has the vectors; the remedy is a new `other`.
    """
    if (backend := backends.backend_of(fingerprint.model)) is not None:
        backend.check_version(fingerprint)
        return
    check_inputs(fingerprint, what, other)


def embedder_key(folder: Path | None, choice: Choice) -> tuple[ServerKey, Weights]:
    """Return the key of the server to start for queries, and the model's files.

    With a folder it is the server that a search of that library looks for; only the manifest is
    read. Without one it is the chosen model's, or the default library's. Raises QvsearchError if
    there is no such library, or if it was made with another model than the chosen one.
    """
    place = library_folder(None) if folder is None else folder
    if folder is not None or (choice.model is None and choice.adapter is None):
        own = fingerprint_at(place)
        _check_option(place, "--model", backends.other_name(choice.model, own.model), own.model)
        if (kept := backends.server_key(own.model, choice, own)) is not None:
            return kept
        weights = _chosen(own, choice)
        _check_weights(own, weights)
        return _key(own, choice), weights
    if (kept := backends.server_key(new_model(choice), choice)) is not None:
        return kept
    weights = resolve(new_model(choice), choice.hub, adapter_of(choice))
    if Library.exists(place):
        own = read_committed(place).fingerprint
        if own.revision == weights.revision:  # its precision may be int8
            return _key(own, choice), weights
    return ServerKey(EMBEDDER, weights.revision, choice.device, choice.dtype), weights


def reranker_key(model: str, choice: Choice) -> tuple[ServerKey, Weights]:
    """Return the key of the server to start for `--rerank`, and the reranker's files."""
    weights = _reranker(model, choice)
    return ServerKey(RERANKER, weights.revision, choice.device, choice.dtype), weights


def task_fingerprint(folder: Path | None, choice: Choice) -> Fingerprint:
    """Return what decides the vectors of inputs that no library holds; `load_embedder` takes it.

    `folder` is the library whose vectors they are compared with. Without one it is the chosen
    model, downloaded if necessary, else that of the default library or of a new one.
    """
    is_chosen = choice.model is not None or choice.adapter is not None
    if folder is None and not is_chosen and Library.exists(default_folder()):
        folder = default_folder()
    if folder is not None:
        return open_library(folder, choice).fingerprint
    model = new_model(choice)
    if role_of(model) == RERANKER:
        raise QvsearchError(f"{model} is a reranker, which makes no vectors; give an embedder")
    return model_fingerprint(model, choice)


def model_fingerprint(model: str, choice: Choice) -> Fingerprint:
    """Return what decides the vectors of a new library; the model is downloaded if necessary."""
    if (backend := backends.backend_of(model)) is not None:
        return backend.new_fingerprint(model, choice)
    weights = weights_of(model, choice, adapter_of(choice))
    precision = precision_of(choice.dtype) or Precision.FLOAT
    dim = check_dim(weights, choice.dim)
    detail, mode = new_detail(choice), new_video_mode(choice)
    pages = new_document_detail(choice, detail)
    return registry.fingerprint(weights, dim, detail, mode, precision, pages)


def other_dim(fingerprint: Fingerprint, choice: Choice) -> int:
    """Return the chosen dimension for a library's model; raises QvsearchError if it has fewer."""
    dim = fingerprint.dim if choice.dim is None else choice.dim
    if backends.backend_of(fingerprint.model) is None:
        find = describe if choice.servers else resolve
        return check_dim(find(fingerprint.model, choice.hub), dim)
    if not 0 < dim <= fingerprint.dim:
        raise QvsearchError(f"--dim {dim} is outside 1 to {fingerprint.dim} of the library")
    return dim


def query_embedder(
    fingerprint: Fingerprint, choice: Choice, cold: Callable[[float], None] = lambda _: None
) -> CachedEmbedder:
    """Return the embedder for a library's queries, which loads its model for uncached ones only.

    Vectors are cached by what computes them. `cold` is called with the seconds that loading took,
    if the model was loaded in this process.
    """
    _check_revision(fingerprint, choice)
    return CachedEmbedder(
        lambda: load_embedder(fingerprint, choice, cold),
        fingerprint.dim,
        # only a query's pixels depend on the detail, which are a part of the name; nothing depends
        # on how files are cut into segments, and the revision has the adapter's hash
        fingerprint.space,
        *choice.computes,
        decode_options=fingerprint.decode_options,
    )


def own_embedder(library: Library) -> Embedder:
    """Return the embedder for a library's queries; raises QvsearchError for another version's."""
    check_version(library)
    return query_embedder(library.fingerprint, Choice())


def load_embedder(
    fingerprint: Fingerprint, choice: Choice, cold: Callable[[float], None] = lambda _: None
) -> Embedder:
    """Return the model that a library was made with, on a server if there is one.

    With chosen servers these compute, and no weights are read or downloaded.
    The chosen model may be another place of the same weights. The precision is that of the
    library's vectors, unless the user chose another dtype, or a device without int8, which is for
    queries only. `cold` is as for `query_embedder`.
    """
    if (backend := backends.loading(fingerprint.model, choice)) is not None:
        return backend.load(fingerprint, choice)
    _check_revision(fingerprint, choice)
    if choice.servers:
        from qvsearch.runtime.remote.loading import load_remote_embedder

        def texts() -> Path:  # all GGUF files have the tokenizer of the published model
            is_file = is_gguf(fingerprint.model)
            files = weights_of(DEFAULT_MODEL, choice, None) if is_file else None
            return (files or _chosen(fingerprint, choice)).folder

        return load_remote_embedder(fingerprint, choice, texts)

    def load() -> Embedder:
        started = time.monotonic()
        weights = _chosen(fingerprint, choice)
        _check_weights(fingerprint, weights)
        from qvsearch.models.devices import own_dtype
        from qvsearch.runtime.local import LocalEmbedder

        dtype = choice.dtype or own_dtype(fingerprint.precision, choice.device)
        dim, detail = fingerprint.dim, fingerprint.detail
        embedder = LocalEmbedder(weights.name, choice.device, dtype, dim, detail, weights.adapter)
        embedder.decode_options = fingerprint.decode_options
        cold(time.monotonic() - started)
        return embedder

    connection = find_server(_key(fingerprint, choice))
    if connection is None:
        return load()
    return WarmEmbedder(connection, fingerprint.dim, load, fingerprint.decode_options)


def _key(fingerprint: Fingerprint, choice: Choice) -> ServerKey:
    """Return the key of the server for a library."""
    precision = fingerprint.precision if choice.dtype is None else Precision.FLOAT
    return ServerKey(EMBEDDER, fingerprint.revision, choice.device, choice.dtype, precision)


def find_reranker(
    model: str | None, fingerprint: Fingerprint, choice: Choice
) -> Callable[[], Reranker]:
    """Download a reranker if necessary; return a function that loads it, or finds its server.

    `model` is a hub's id or a local folder (default: the demo's reranker for a library of the
    demo's model, the 2B one for any other). Raises QvsearchError if there is no such reranker,
    before anything else takes time.
    """
    model = model or (DEMO_RERANKER if fingerprint.model == DEMO else DEFAULT_RERANKER)
    if choice.rerank_servers:
        from qvsearch.runtime.remote.loading import load_remote_reranker

        return lambda: load_remote_reranker(
            model, choice, lambda: describe(model, choice.hub).folder
        )
    weights = _reranker(model, choice)

    def load_here() -> Reranker:
        from qvsearch.runtime.local import LocalReranker

        return LocalReranker(model, choice.device, choice.dtype)

    def load() -> Reranker:
        connection = find_server(ServerKey(RERANKER, weights.revision, choice.device, choice.dtype))
        return load_here() if connection is None else WarmReranker(connection, load_here)

    return load


def _reranker(model: str, choice: Choice) -> Weights:
    """Return a reranker's files, which are downloaded if necessary."""
    if role_of(model) in (EMBEDDER, GENERATOR):
        raise QvsearchError(f"{model} is no reranker; leave out --reranker, or name one")
    weights = resolve(model, choice.hub)
    if role_of(weights.name) == EMBEDDER:
        raise QvsearchError(f"{model} is an adapter of {weights.name}, which is not a reranker")
    return weights


def _check_revision(fingerprint: Fingerprint, choice: Choice) -> None:
    """Raise QvsearchError if the chosen model is not the library's."""
    if backends.backend_of(fingerprint.model) is not None:
        return  # its backend compares the files when it loads them
    if choice.model is not None or choice.adapter is not None:
        _check_weights(fingerprint, _chosen(fingerprint, choice))


def _chosen(fingerprint: Fingerprint, choice: Choice) -> Weights:
    """Return the files of a library's model, or of the chosen one."""
    adapter = adapter_of(choice)
    model = fingerprint.model if choice.model in (None, adapter) else choice.model
    return weights_of(str(model), choice, adapter or fingerprint.adapter)


def _check_weights(fingerprint: Fingerprint, weights: Weights) -> None:
    if weights.revision != fingerprint.revision:
        raise QvsearchError(
            f"the library was made with {_named(fingerprint.model, fingerprint.adapter)} at"
            f" revision {fingerprint.revision}, not {_named(weights.name, weights.adapter)} at"
            f" {weights.revision}; index into a new --library"
        )


def _named(model: str, adapter: Path | str | None) -> str:
    return model if adapter is None else f"{model} with the adapter {adapter}"
