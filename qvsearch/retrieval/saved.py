"""Saves searches in a library, asks them again, and finds what came since."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from shlex import quote
from typing import TYPE_CHECKING, Any, cast

from qvsearch.choices import RerankScope, Sort, Task
from qvsearch.errors import QvsearchError
from qvsearch.library import searches
from qvsearch.library.filters import filters_by_name
from qvsearch.library.names import option
from qvsearch.library.searches import Options, SavedSearch, check_name, read_search, read_searches
from qvsearch.library.seen import NOTHING, Arrivals, Seen, arrivals, extended, read_seen, write_seen
from qvsearch.models.prompt import QUERY_INSTRUCTION, TASK_INSTRUCTIONS
from qvsearch.retrieval.options import SearchOptions, parse_rerank
from qvsearch.retrieval.query import Query, compared_by

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.types import Hit

MOST_NEW = 1000  # new hits that are found at once; the others wait for the next time

Ask = Callable[[SearchOptions], "list[Hit]"]


def saved_searches(library: Library) -> list[SavedSearch]:
    """Return the saved searches of a library by name, with those that are damaged."""
    return read_searches(library.folder)


def save_search(library: Library, name: str, options: Options) -> SavedSearch:
    """Save a query with its options; all files of the library count as seen by it.

    Raises QvsearchError for options that are no search, and for a name that another search has.
    """
    name = check_name(name)
    parsed_search(options)
    if before := same_search(library, name, options):
        return before
    search = SavedSearch(name, options, searches.now())
    searches.write_search(library.folder, search)
    write_seen(
        searches.seen_path(library.folder, name), extended(NOTHING, arrivals(library, NOTHING))
    )
    return search


def same_search(library: Library, name: str, options: Options) -> SavedSearch | None:
    """Return the search that is saved under a name; None if there is none.

    Raises QvsearchError if its options are others.
    """
    try:
        before = read_search(library.folder, name)
    except searches.NoSuchSearch:
        return None
    if before.options == options:
        return before
    raise QvsearchError(
        f"there is a saved search {name} already; give --save another name, or delete it with:"
        f" qvsearch searches delete {quote(name)}{option(library.folder)}"
    )


def parsed_search(options: Options) -> tuple[Query | None, SearchOptions]:
    """Return the query and the options of a saved search; the query is None if it lists files.

    Raises QvsearchError for values that cannot be read.
    """
    given = cast("dict[str, Any]", dict(options))
    try:
        query, wanted = _query(given), _wanted(given)
    except (ValueError, TypeError) as error:
        raise QvsearchError(f"it is no search: {error}") from error
    if query is None and not wanted.lists:
        raise QvsearchError("the search has neither a query nor filters; give one of them")
    return query, wanted


def _query(given: dict[str, Any]) -> Query | None:
    if not any(given.get(name) for name in ("words", "file", "image", "like")):
        return None
    task = None if "task" not in given else TASK_INSTRUCTIONS[Task(given["task"])]
    return Query(
        words=given.get("words"),
        file=_path(given.get("file")),
        image=_path(given.get("image")),
        without=tuple(given.get("not", ())),
        like=tuple(map(os.fsencode, given.get("like", ()))),
        unlike=tuple(map(os.fsencode, given.get("unlike", ()))),
        like_weight=given.get("like-weight", 1.0),
        not_weight=given.get("not-weight", 1.0),
        instruction=given.get("instruction") or task or QUERY_INSTRUCTION,
        lacking=tuple(given.get("without", ())),
        by=compared_by(
            words_only=given.get("words-only", False), meaning_only=given.get("meaning-only", False)
        ),
    )


def _wanted(given: dict[str, Any]) -> SearchOptions:
    rerank = parse_rerank(
        RerankScope(given["rerank"]) if "rerank" in given else None,
        given.get("rerank-top"),
        given.get("rerank-budget"),
        given.get("reranker"),
    )
    return SearchOptions(
        top=given.get("top", 10),
        filters=filters_by_name(given),
        min_relevance=0.0 if given.get("all") else given.get("min-relevance"),
        by_kind=given.get("by-kind", False),
        dedupe=not given.get("no-dedupe", False),
        rerank=rerank,
        exact=given.get("exact", False),
        sort=Sort(given["sort"]) if "sort" in given else None,
    )


def _path(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


@dataclass(frozen=True, slots=True)
class Answer:
    """The hits of a search; once those of a saved one were shown, `mark_used` keeps `seen`.

    `more` is the number of new hits that are not among them. Their files stay new.
    """

    hits: list[Hit]
    more: int = 0
    seen: Seen = NOTHING


def ask_saved(
    library: Library, name: str, options: SearchOptions, ask: Ask, *, only_new: bool = False
) -> Answer:
    """Return the hits of a saved search, or only those that came since it was last used.

    `ask` returns the hits for options; the query is in it. A file is new if neither its place nor
    its content was in the library then. Raises QvsearchError if the list of seen files is damaged.
    """
    try:
        seen = read_seen(searches.seen_path(library.folder, name))
    except QvsearchError as error:
        if only_new:
            raise QvsearchError(
                f"{error}; to begin anew, search once without --new-since"
            ) from error
        seen = extended(NOTHING, arrivals(library, NOTHING))
    come = arrivals(library, seen)
    hits = [] if only_new else ask(options)
    fresh = _new_hits(come, options, ask) if come.is_new.any() else []
    if only_new:
        hits = [hit for hit in fresh if hit.rank <= options.top]
    shown = {number for hit in hits for number in _numbers(hit)}
    waiting = {n for hit in fresh for n in _numbers(hit) if not shown & _numbers(hit)}
    if len(fresh) >= _most_new(options):  # there may be more, which were not found
        waiting |= come.new - shown
    more = sum(not shown & _numbers(hit) for hit in fresh)
    return Answer(hits, more, extended(seen, come, waiting))


def _new_hits(come: Arrivals, options: SearchOptions, ask: Ask) -> list[Hit]:
    """Return the hits among new files: those that the whole search would show."""
    filters = replace(options.filters, items=come.new)
    # the best hit decides whether anything is shown, and it may be an older file
    usual = ask(replace(options, top=1, nearest=0, rerank=None))
    least = options.least if usual else options.min_relevance
    return ask(
        replace(
            options,
            filters=filters,
            top=_most_new(options),
            min_relevance=least,
            nearest=0,
        )
    )


def _most_new(options: SearchOptions) -> int:
    """Return how many new hits are looked for."""
    return max(options.top, MOST_NEW)


def _numbers(hit: Hit) -> set[int]:
    return {hit.segment.item.number, *(each.number for each in hit.duplicates)}


def mark_used(library: Library, name: str, answer: Answer) -> None:
    """Keep that a saved search was used; callers must call it once its answer was shown."""
    saved = read_search(library.folder, name)
    write_seen(searches.seen_path(library.folder, name), answer.seen)
    searches.write_search(library.folder, replace(saved, used=searches.now()))
