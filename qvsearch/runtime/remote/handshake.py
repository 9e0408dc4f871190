"""Proves that a server computes the vectors of a model, before any of its vectors is used.

No answer of a server identifies its weights. So known inputs are sent to it, and its prompts and
vectors are compared with ours: those of the library's own rows, or else of the model on this
computer, or else recorded scores of the published model. Each form of input is proven when it is
first needed in a process; texts again from time to time, as another model may be served by then.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError, ServersFailed
from qvsearch.library.library import Library
from qvsearch.models.gguf import is_gguf
from qvsearch.models.registry import MODELS
from qvsearch.runtime.remote.http import Failure
from qvsearch.runtime.remote.layouts import PIXEL_BUDGET, TEMPLATE, fault
from qvsearch.runtime.remote.references import (
    Form,
    Known,
    form_of,
    generic_known,
    model_known,
    own_inputs,
    recorded_scores,
    rows_known,
)
from qvsearch.types import Precision
from qvsearch.vectors.agreement import Agreement, agreement_of

if TYPE_CHECKING:
    from qvsearch.choices import Wire
    from qvsearch.runtime.remote.embedder import RemoteEmbedder
    from qvsearch.runtime.remote.http import Server
    from qvsearch.runtime.remote.protocol import Dialect
    from qvsearch.types import EmbedInput, Fingerprint, Vectors

SAME = 0.999  # the least cosine of two computations of one kind; bfloat16 and float32 have 0.9999
NEAR = 0.02  # how far a score may be from the recorded one, which had other numbers and pixels
CHANGED = 0.9  # a cosine below is that of another model, and not of changed weights
AGAIN = 600.0  # seconds after which a server's texts are compared again: it may have been replaced
FEW_QUERIES, FEW_ROWS = 4, 3  # compared if both computations are of one kind
MANY_ROWS = 32  # compared otherwise, and all generic queries

_QUANTISED = re.compile(
    r"(?<![a-z0-9])(awq|gptq|(nv|mx)?fp[48]|int[48]|w[48]a(8|16)|[48]-?bit|bnb|[it]?q[1-8](_\w+)?|gguf)"
    r"(?![a-z0-9])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A form of inputs on one server, which was compared and is close enough.

    `cosine` is the lowest of `inputs` vectors and those of `origin`; `error` is the largest
    difference of scores instead. `layout` is whether the prompts were compared, too. `agreement` is
    there if the two computations are of different kinds.
    """

    server: str
    form: Form
    origin: str
    inputs: int
    cosine: float | None = None
    error: float | None = None
    layout: bool = False
    agreement: Agreement | None = None

    @property
    def figures(self) -> str | None:
        """What a user should read; None if the vectors are the same."""
        if self.agreement is not None:
            return str(self.agreement)
        if self.cosine is None and self.error is None and self.form is Form.TEXT:
            return (
                f"compared by {self.origin} alone, because there are no vectors of its model here"
            )
        return None


class Handshake:
    """The comparisons of several servers, which all of this process share.

    `embedder` returns an embedder on some servers, with its function that proves them. `folder`
    is the library whose vectors they are compared with. `notice` is called with the figures of a
    comparison that is no proof by itself.
    """

    # each with the time when it was made
    _made: dict[tuple[object, ...], tuple[Comparison, float]] = {}  # noqa: RUF012 - shared
    _lock = threading.Lock()

    def __init__(
        self,
        servers: Mapping[Server, Dialect],
        embedder: Callable[
            [Mapping[Server, Dialect], Callable[[Sequence[EmbedInput]], None]], RemoteEmbedder
        ],
        fingerprint: Fingerprint,
        folder: Path | None,
        wire: Wire,
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.servers, self.embedder = dict(servers), embedder
        self._fingerprint, self._folder = fingerprint, folder
        self._wire, self._notice = wire, notice
        self._proven: set[Form] = set()
        self._looked = -math.inf  # when texts were last compared

    def require(self, inputs: Sequence[EmbedInput]) -> None:
        """Prove the forms of some inputs; raises ServersFailed, which names server and cause."""
        self.prove({form_of(each) for each in inputs})

    def prove(self, forms: Collection[Form]) -> list[Comparison]:
        """Return the comparisons of all servers for some forms, texts first; raises as `require`.

        Texts are always among them, because without them nothing is sure.
        """
        if time.monotonic() - self._looked > AGAIN:
            self._proven.clear()
        wanted = [each for each in Form if each in {Form.TEXT, *forms}]
        if self._proven.issuperset(wanted):
            return []
        with self._lock:
            made = [self._comparison(each, form) for form in wanted for each in self.servers]
        self._proven.update(wanted)
        self._looked = time.monotonic()
        return made

    def _comparison(self, server: Server, form: Form) -> Comparison:
        dialect, fingerprint = self.servers[server], self._fingerprint
        name = getattr(dialect, "model", "")
        space, detail = fingerprint.space, fingerprint.detail
        key = (server.url, name, space, detail, self._folder, self._wire, form)
        before, since = self._made.get(key, (None, -math.inf))
        if before is not None and (form is not Form.TEXT or time.monotonic() - since <= AGAIN):
            return before
        embedder = self.embedder({server: dialect}, lambda _: None)
        trial = _Trial(embedder, server, name, fingerprint, self._folder, self._wire)
        comparison = trial.compare(form)
        if comparison.figures and before is None:
            self._notice(f"{server.url}: {comparison.figures}")
        self._made[key] = comparison, time.monotonic()
        return comparison


@dataclass(frozen=True, slots=True)
class _Trial:
    """One server beside what is known."""

    embedder: RemoteEmbedder
    server: Server
    name: str
    fingerprint: Fingerprint
    folder: Path | None
    wire: Wire

    def compare(self, form: Form) -> Comparison:
        """Compare prompts, then vectors; raises ServersFailed with the likely cause."""
        own = own_inputs(form, self.fingerprint.detail)
        layout = self._check_layout(own)
        is_other = other_kind(self.name, self.fingerprint)
        known, generic = self._known(form, is_other=is_other)
        if known is None:
            return self._compare_scores(form, layout=layout)
        vectors = self._embed(known.inputs, form)
        if is_other:
            queries = generic if form is not Form.TEXT else None
            agreement = self._agreement(known, vectors, queries)
            return Comparison(
                self.server.url,
                form,
                known.origin,
                len(known.inputs),
                agreement.cosine,
                layout=layout,
                agreement=agreement,
            )
        lengths = np.linalg.norm(known.vectors, axis=1)  # a library stores rounded vectors
        cosine = float(((vectors * known.vectors).sum(axis=1) / lengths).min())
        if not cosine >= SAME:
            raise self._refusal(
                f"the lowest cosine of its vectors of {_count(known.inputs, form)} with those of"
                f" {known.origin} is {cosine:.4f}, and at least {SAME} is required;"
                f" {self._cause(form, cosine, layout=layout)}"
            )
        return Comparison(
            self.server.url, form, known.origin, len(known.inputs), cosine, layout=layout
        )

    def _known(self, form: Form, *, is_other: bool) -> tuple[Known | None, Known | None]:
        """Return inputs with known vectors, and generic queries beside them."""
        library = None
        if self.folder is not None and Library.exists(self.folder):
            library = Library.open(self.folder)
        if library is None:
            return model_known(self.fingerprint, form), None
        generic = generic_known(library)
        if form is Form.TEXT and generic is not None:
            return (generic if is_other else generic.some(FEW_QUERIES)), generic
        rows = rows_known(library, form, MANY_ROWS if is_other else FEW_ROWS)
        return rows or model_known(self.fingerprint, form), generic

    def _agreement(self, known: Known, vectors: Vectors, queries: Known | None) -> Agreement:
        none = np.empty((0, self.embedder.dim), np.float32)
        exact, other = none, none
        if queries is not None:
            exact, other = queries.vectors, self._embed(queries.inputs, Form.TEXT)
        agreement = agreement_of(
            (known.vectors, exact), (vectors, other), f"its vectors against {known.origin} on"
        )
        try:
            agreement.require(f"serve {self.fingerprint.model} with its own weights and --dtype")
        except QvsearchError as error:
            raise self._refusal(str(error)) from error
        return agreement

    def _compare_scores(self, form: Form, *, layout: bool) -> Comparison:
        """Compare scores of texts with recorded ones; of other forms only the prompts can be."""
        model, url = self.fingerprint.model, self.server.url
        recorded = recorded_scores(model, self.fingerprint.revision)
        if not recorded:
            self._check_name()
        if not recorded or form is not Form.TEXT:
            origin = "its prompts" if recorded else "its name, dimension and prompts"
            return Comparison(url, form, origin, 0, layout=layout)
        pairs = [each for pair in recorded for each in (pair.query, pair.document)]
        vectors = self._embed(pairs, form)
        scores = (vectors[::2] * vectors[1::2]).sum(axis=1)
        error = float(np.abs(scores - [each.score for each in recorded]).max())
        if not error <= NEAR:
            raise self._refusal(
                f"its score of two texts is {scores[0]:.4f}, and {model} gives"
                f" {recorded[0].score:.4f} (within {NEAR}): it serves another model"
            )
        origin = f"recorded scores of {model}"
        return Comparison(url, form, origin, len(pairs), error=error, layout=layout)

    def _check_name(self) -> None:
        """Raise ServersFailed unless the server names a published model of this revision."""
        model = self.fingerprint.model
        published = MODELS.get(model)
        if published is None or published.revision != self.fingerprint.revision:
            raise self._refusal(
                f"there is nothing to compare its vectors of {model} with: no library of it is"
                " open, and it is not on this computer; copy its folder here"
            )
        if self.name != model:
            raise self._refusal(
                f"it names its model {self.name}, and {model} is not on this computer to compare"
                f" vectors with; download it with: qvsearch models pull {model}"
            )

    def _check_layout(self, inputs: Sequence[EmbedInput]) -> bool:
        """Return whether the server's prompts are ours; False if it does not show them."""
        dialect, texts = self.embedder.servers[self.server], self.embedder.texts
        are_shown = True
        for source in inputs:
            prepared = texts.document(source)
            try:
                with self.server.connection() as connection:
                    shown, cause = fault(connection, dialect, texts, prepared, self.wire)
            except Failure as error:
                raise ServersFailed(str(self.server.error(error))) from error
            if cause is not None:
                raise self._refusal(cause)
            are_shown = are_shown and shown
        return are_shown

    def _embed(self, inputs: Sequence[EmbedInput], form: Form) -> Vectors:
        try:
            return self.embedder.embed(list(inputs))
        except QvsearchError as error:
            raise self._refusal(f"it computes no vectors of {form}s: {error}") from error

    def _cause(self, form: Form, cosine: float, *, layout: bool) -> str:
        """Return the likely cause of a low cosine, with the remedy."""
        model = self.fingerprint.model
        if form is not Form.TEXT:  # texts are as they must be
            return (
                f"its {form}s differ though its texts do not: it may resize them; start it with"
                f" --mm-processor-kwargs '{PIXEL_BUDGET}'"
                + (" and --trust-request-mm-kwargs" if form is Form.CLIP else "")
            )
        if cosine < CHANGED and layout:
            return f"it serves another model; serve {model} at {self.fingerprint.revision}"
        if layout:
            return (
                f"its weights are not those of {model} at {self.fingerprint.revision}: they may be"
                " quantised, or of another version; serve that one with --dtype bfloat16 or float32"
            )
        return f"its template may be another, or it serves another model; {TEMPLATE}"

    def _refusal(self, reason: str) -> ServersFailed:
        return ServersFailed(str(self.server.error(f"it is not used: {reason}")))


def other_kind(name: str, fingerprint: Fingerprint) -> bool:
    """Return whether one of a server, by its model's name, and a library has rounded weights."""
    if is_gguf(fingerprint.model):
        name = f"{name} {fingerprint.revision}"  # which begins with the types of its weights
    return fingerprint.precision is Precision.INT8 or bool(_QUANTISED.search(name))


def _count(inputs: Sequence[object], form: Form) -> str:
    return f"{len(inputs)} {form}{'' if len(inputs) == 1 else 's'}"
