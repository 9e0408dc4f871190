"""Files to committed rows: the story of an indexing run, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.indexing.baseline_queries import baseline_vectors
from qvsearch.indexing.batching import embed_files
from qvsearch.indexing.changes import resolve, scan_targets
from qvsearch.indexing.comparison import INPUTS, Comparison, first_inputs
from qvsearch.indexing.contents import HASH_THREADS, hashed
from qvsearch.indexing.counts import Event, Summary
from qvsearch.indexing.reading import Pictures, read_if_installed
from qvsearch.indexing.roots import remembered_rules
from qvsearch.indexing.session import IngestOptions, Session
from qvsearch.indexing.wordless import add_missing_words, lacks_words
from qvsearch.library.rules import lasting, of_kinds, scans_of
from qvsearch.media import words
from qvsearch.media.workers import Decoders
from qvsearch.types import Item, Skipped

if TYPE_CHECKING:
    from qvsearch.indexing.changes import Changes
    from qvsearch.library.library import Library
    from qvsearch.types import Embedder, EmbedInput

__all__ = ["IngestOptions", "Summary", "index"]


def index(
    library: Library,
    paths: Sequence[bytes],
    load_embedder: Callable[[], Embedder],
    options: IngestOptions,
    report: Callable[[Event], None],
    stop: Callable[[], bool],
    comparison: Comparison | None = None,
) -> Summary:
    """Bring a library up to date with these absolute paths, embedding only new contents.

    `load_embedder` is called when the first file needs it. With a `comparison` its vectors of the
    first files are compared with exact ones, before any is stored. `stop` is called between
    batches; after True, finished files are committed. Raises LibraryLocked, and QvsearchError if no
    path exists, if the model (and not a file) fails, or if it is too far from the exact one.
    """
    first: list[EmbedInput] = []  # to be compared
    load = partial(_load, library, load_embedder, comparison, first, report)
    with library.lock():
        session = Session(library, options, report, stop)
        # 1. Each path is matched to a root, whose rules choose the files.
        targets = resolve(library.roots, paths)
        rules = remembered_rules(library)
        roots = [target.root for target in targets]
        scans = scans_of(
            rules,
            roots,
            options.scan,
            forget=options.forget_rules,
            as_before=options.as_before,
        )
        scans = of_kinds(scans, library.fingerprint.kinds)
        # 2. The folders are scanned.
        files = scan_targets(targets, scans, session.stopped, library.roots, session.known)
        for place in options.later:
            files.items.pop(place, None)
        lasts = lasting(scans, rules, [target.path for target in targets])
        session.set_rules(lasts, [target.path for target in targets if target.path in scans])
        # 3. Sizes and times are compared with the library's.
        changes = session.begin(targets, files)
        count = options.decode_workers
        try:
            processes = Decoders() if count is None else Decoders(count)
            with ThreadPoolExecutor(HASH_THREADS) as threads, processes as decoders:
                # 4. Files that only look unchanged are looked at.
                items = _files_to_read(session, changes, threads, decoders, report)
                while items and not session.stopped():
                    # 5. Files are hashed; known contents are copied, others are decoded.
                    decoded = decoders.decode(
                        session.jobs(hashed(items, threads)),
                        library.fingerprint.decode_options,
                        session.stopped,
                        in_parts=True,
                    )
                    if comparison is not None and not first and len(library) < INPUTS:
                        inputs, decoded = first_inputs(decoded)
                        first += inputs
                    # 6. Segments are embedded in batches; finished files are stored and committed.
                    embedded = session.counts.embedded
                    for outcome in embed_files(decoded, load, session.stopped, embedded):
                        session.take(outcome)
                    items = session.second_chances()
        except QvsearchError:
            session.commit()  # a model that fails loses nothing that is finished
            raise
        # 7. Files that are gone are removed.
        if not session.stopped():
            session.remove_missing(targets, lasts)
        # 8. The last commit.
        session.commit()
        # 9. Rows of an older version, which stored no words or divided them otherwise, get them.
        if not session.stopped() and library.has_older_words:
            library.commit()
        if not session.stopped() and lacks_words(library):
            with Decoders(count, decode=words.decode) as decoders:
                add_missing_words(library, files.items, decoders, report, session.stopped)
        # 10. Words in screenshots and scanned pages are read.
        pictures = Pictures(read=0, unread=0)
        if options.ocr:
            paths = [target.path for target in targets]
            pictures = read_if_installed(library, paths, report, session.stopped)
    summary = session.summary(targets)
    return replace(summary, pictures_read=pictures.read, pictures_unread=pictures.unread)


def _files_to_read(
    session: Session,
    changes: Changes,
    threads: Executor,
    decoders: Decoders,
    report: Callable[[Event], None],
) -> list[Item]:
    """Return the files to decode: new and changed ones, and unchanged ones to be read anew.

    Unchanged files are compared if their status changed, and looked at if an older version read
    them.
    """
    items = list(changes.to_do)
    older = list(changes.older)
    if changes.touched:
        report(Event("checking", files=len(changes.touched)))
        for item in _same_content(session, changes.touched, threads, items):
            if session.known[item.location].is_older:
                older.append(item)
            else:
                session.refresh(item)
    if older and not session.stopped():
        report(Event("looking", files=len(older)))
        _look(session, older, decoders, items)
    session.plan(items)
    return items


def _same_content(
    session: Session, touched: Iterable[Item], threads: Executor, items: list[Item]
) -> Iterable[Item]:
    """Yield the files that have the content of before; those of another are added to `items`.

    A file that cannot be read now counts as unchanged, and is compared the next time.
    """
    for item, digest in hashed(touched, threads):
        if session.stopped():
            return
        if isinstance(digest, Skipped):
            session.keep(item)
        elif digest == session.known[item.location].content_hash:
            yield item
        else:
            items.append(item)


def _look(session: Session, older: Iterable[Item], decoders: Decoders, items: list[Item]) -> None:
    """Look at unchanged files that an older version read; those to read anew go to `items`.

    These are files that give other segments now, and files that cannot be looked at, whose failure
    is then stored like any other. The rest keep their vectors and get new metadata.
    """
    readings = ((item, session.known[item.location].reading) for item in older)
    for item, metadata in decoders.look(readings, session.stopped):
        if session.stopped():
            return
        if metadata is None or isinstance(metadata, Skipped):
            session.read_anew(item)
            items.append(item)
        else:
            session.refresh(item, metadata)


def _load(
    library: Library,
    load_embedder: Callable[[], Embedder],
    comparison: Comparison | None,
    first: list[EmbedInput],
    report: Callable[[Event], None],
) -> Embedder:
    """Return the model, with which a library without a baseline gets one.

    If there are `first` inputs, it is compared on them with the exact model, once.
    """
    exact = None
    if first and comparison is not None:  # this model is freed before the other one is loaded
        exact = comparison.exact(first)
    embedder = load_embedder()
    if library.baseline is None:
        library.set_baseline(baseline_vectors(embedder, library.fingerprint))
    if first and comparison is not None:
        comparison.require(
            embedder,
            library.fingerprint,
            first,
            exact,
            lambda figures: report(Event("compared", reason=figures)),
        )
        first.clear()
    return embedder
