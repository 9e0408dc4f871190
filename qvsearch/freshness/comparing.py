"""Chooses what a library of rounded numbers is compared with before its first vector is stored."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.indexing.comparison import INPUTS, Comparison, WithScores, WithVectors
from qvsearch.library.names import option
from qvsearch.models import registry
from qvsearch.models.gguf import is_gguf
from qvsearch.runtime import loading
from qvsearch.runtime.choice import Choice
from qvsearch.types import Dtype, Precision

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.runtime.llama.pair import Pair

ACCEPT = "--accept-quantisation"


def comparison_of(library: Library, choice: Choice, *, accepted: bool = False) -> Comparison | None:
    """Return what the vectors of a library's first files are compared with; None for nothing.

    That is the same model in float32 for a small int8 library. For a new library of a quantised
    GGUF file it is the model's own checkpoint, or else recorded scores. With `accepted`, a large
    difference is no error. Raises QvsearchError if there is neither and the file is not accepted.
    Servers are compared by their own handshake.
    """
    if choice.servers:
        return None
    if is_gguf(library.fingerprint.model):
        return None if library.generation else _of_gguf(library, choice, accepted=accepted)
    if library.fingerprint.precision != Precision.INT8 or len(library) >= INPUTS:
        return None
    float32 = replace(choice, dtype=Dtype.FLOAT32)
    return WithVectors(
        partial(loading.load_embedder, library.fingerprint, float32),
        replace(library.fingerprint, precision=Precision.FLOAT),
        "index into a new --library with --dtype float32"
        if library.generation
        else "go on with --dtype float32",
    )


def _of_gguf(library: Library, choice: Choice, *, accepted: bool) -> Comparison | None:
    from qvsearch.runtime.llama.pair import read_pair

    own = library.fingerprint
    pair = read_pair(own.model, own.mmproj)
    weights, of = _checkpoint(pair), option(library.folder)
    way_out = f"give a file with more bits, or accept it: qvsearch index{of} with {ACCEPT}"
    if weights is None:
        return _without_checkpoint(pair, way_out, of, accepted=accepted)
    if not pair.is_quantised:
        return None
    floats = registry.fingerprint(weights, own.dim, own.detail)
    return WithVectors(
        partial(loading.load_embedder, floats, Choice(device=choice.device)),
        # the name of the GGUF file decides the generic queries, which must be the same
        replace(own, revision=weights.revision),
        way_out,
        f"{pair.numbers} against {weights.name} on the first",
        accepted,
    )


def _without_checkpoint(pair: Pair, way_out: str, of: str, *, accepted: bool) -> Comparison | None:
    """Return the recorded scores of the published model of these sizes, if there are any.

    They also tell other models of these sizes from it.
    """
    from qvsearch.runtime.remote.handshake import NEAR
    from qvsearch.runtime.remote.references import recorded_scores

    name = next((n for n, known in registry.MODELS.items() if known.dim == pair.width), None)
    recorded = recorded_scores(name, registry.MODELS[name].revision) if name else []
    if recorded:
        pairs = tuple((each.query, each.document, each.score) for each in recorded)
        what = f"{pair.numbers} against recorded scores of {name}"
        return WithScores(pairs, NEAR, way_out, what, accepted)
    if accepted or not pair.is_quantised:
        return None
    pull = "" if name is None else f"qvsearch models pull {name}, to compare with; or "
    raise QvsearchError(
        f"{pair.text.path} is quantised ({pair.numbers}), and its model is not on this computer"
        f" to see what that costs; run {pull}qvsearch index{of} with {ACCEPT}"
    )


def _checkpoint(pair: Pair) -> registry.Weights | None:
    """Return the checkpoint on this computer whose sizes are those of a GGUF file."""
    for name in (registry.DEMO, *registry.MODELS):
        if registry.role_of(name) != registry.EMBEDDER:
            continue
        weights = registry.find(name)
        if weights is not None and registry.hidden_size(weights) == pair.width:
            return weights
    return None
