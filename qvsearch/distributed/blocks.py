"""Blocks of files to blocks of rows: the work of one node of a cluster."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from qvsearch.distributed.buckets import fetched, is_bucket
from qvsearch.distributed.messages import Outcome, items_of, outcome_block
from qvsearch.errors import QvsearchError
from qvsearch.indexing.baseline_queries import baseline_vectors
from qvsearch.indexing.batching import Embedded, embed_files
from qvsearch.indexing.contents import HASH_THREADS, hashed
from qvsearch.indexing.reading import Pictures, with_pictures_read
from qvsearch.indexing.session import as_read_now
from qvsearch.library.aliases import is_there
from qvsearch.media import ocr
from qvsearch.media.picture_reader import PictureReader
from qvsearch.media.workers import Decoders
from qvsearch.runtime.loading import load_embedder
from qvsearch.types import Item, Skipped
from qvsearch.version import __version__

if TYPE_CHECKING:
    from qvsearch.runtime.choice import Choice
    from qvsearch.types import Embedder, EmbedInput, Fingerprint, Vectors


@dataclass(frozen=True, slots=True)
class Job:
    """What all nodes of a run have in common.

    `decoders` is the number of decode processes beside each model. With `ocr` the words in pictures
    are read. `version` is the driver's qvsearch.
    """

    fingerprint: Fingerprint
    choice: Choice
    decoders: int
    ocr: bool = False
    version: str = __version__


class BlockEmbedder:
    """Embeds blocks of files with one model, which is loaded for the first of them.

    Two threads may call it at once: it decodes the files of one block while it embeds those of
    another.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._decoders = Decoders(job.decoders)
        self._threads = ThreadPoolExecutor(HASH_THREADS, "hash")
        self._embedder = _OneAtATime(job)
        self._reader = PictureReader()  # its process starts with the first picture
        self._reading = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End its processes; in a cluster they end with the actor."""
        self._reader.__exit__()
        self._decoders.__exit__()
        self._threads.shutdown()

    def __call__(self, block: Any) -> Any:  # noqa: ANN401 - pyarrow has no types
        """Return the outcomes of a block's files, which `messages.outcomes_of` reads."""
        outcomes: list[Outcome | QvsearchError] = []
        try:
            outcomes.extend(self.outcomes(items_of(block)))
        except QvsearchError as error:  # of the model or the node, not of a file
            outcomes.append(error)
        return outcome_block(outcomes)

    def outcomes(self, items: Sequence[Item]) -> Iterator[Outcome]:
        """Yield the outcome of each file; raises QvsearchError if the model fails."""
        self._check_node(items)
        unread: list[Skipped] = []
        with fetched(items, self._threads, unread) as (files, back):
            decoded = self._decoders.decode(
                _readable(hashed(files, self._threads), unread),
                self._job.fingerprint.decode_options,
                in_parts=True,
            )
            embedded = embed_files(decoded, self._embedder.loaded, lambda: False)
            for outcome in self._with_words(embedded) if self._job.ocr else embedded:
                if isinstance(outcome, Embedded):
                    outcome = as_read_now(outcome)
                yield outcome if isinstance(outcome, Pictures) else back(outcome)
            yield from map(back, unread)

    def _with_words(self, files: Iterable[Embedded | Skipped]) -> Iterator[Outcome]:
        """Yield files with the words in their pictures, and how many pictures were read.

        An error of the model or the reader is raised last. Files whose pictures were not read
        because of it are left out, so that the next run embeds and reads them.
        """
        embedded: list[Embedded | Skipped] = []
        failure: QvsearchError | None = None
        try:
            # words are read when all files are embedded, so that the model waits for none of them
            embedded.extend(files)
        except QvsearchError as error:
            failure = error
        reader = self._reader if ocr.is_installed() else None
        has_failed = False
        read = unread = 0
        for file in embedded:
            if isinstance(file, Skipped):
                yield file
                continue
            try:
                with self._reading:  # for one file at a time: two processes take twice the memory
                    file, pictures = with_pictures_read(
                        file, self._job.fingerprint.video_mode, reader
                    )
            except QvsearchError as error:
                failure, reader, has_failed = failure or error, None, True
                continue
            if not (has_failed and pictures.unread):
                read, unread = read + pictures.read, unread + pictures.unread
                yield file
        yield Pictures(read, unread)
        if failure is not None:
            raise failure

    def _check_node(self, items: Sequence[Item]) -> None:
        """Raise QvsearchError for a node on which all files would be missing, or read otherwise."""
        if self._job.version != __version__:
            raise QvsearchError(
                f"the node {platform.node()} has qvsearch {__version__}, and the driver"
                f" {self._job.version}; install the same version on all nodes"
            )
        for root in {item.root for item in items}:
            if not (is_bucket(root) or is_there(root)):
                raise QvsearchError(
                    f"the node {platform.node()} does not see {os.fsdecode(root)};"
                    " mount it at the same path on all nodes"
                )


def _readable(
    hashes: Iterable[tuple[Item, str | Skipped]], unread: list[Skipped]
) -> Iterator[tuple[Item, str]]:
    """Yield the files that have a content hash; failures of the others are added to `unread`."""
    for item, digest in hashes:
        if isinstance(digest, Skipped):
            unread.append(digest)
        else:
            yield item, digest


class _OneAtATime:
    """The model of a job, loaded when it is first needed, for one thread after another."""

    def __init__(self, job: Job) -> None:
        self.dim = job.fingerprint.dim
        self._job = job
        self._lock = threading.Lock()
        self._model: Embedder | None = None

    def loaded(self) -> Embedder:
        """Load the model; raises QvsearchError if that fails, which no file is the reason of.

        Servers take several batches at once, from several threads.
        """
        model = self._load()
        return model if self._job.choice.servers else self

    def embed(self, inputs: Sequence[EmbedInput]) -> Vectors:
        """Return unit rows (n, dim), float32, row i for input i."""
        model = self._load()
        with self._lock:
            return model.embed(inputs)

    def _load(self) -> Embedder:
        with self._lock:
            if self._model is None:
                self._model = load_embedder(self._job.fingerprint, self._job.choice)
            return self._model


def job_baseline(job: Job) -> Vectors | str:
    """Return the vectors of the generic queries, or why the model fails."""
    try:
        return baseline_vectors(load_embedder(job.fingerprint, job.choice), job.fingerprint)
    except QvsearchError as error:
        return str(error)
