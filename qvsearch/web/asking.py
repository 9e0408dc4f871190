"""The parameters of a search as a query and options; they have the names of the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from qvsearch.choices import Sort, Task
from qvsearch.errors import QvsearchError
from qvsearch.library.filters import FILTERS, LISTS, filters_by_name
from qvsearch.models.prompt import QUERY_INSTRUCTION, TASK_INSTRUCTIONS
from qvsearch.retrieval.options import SearchOptions
from qvsearch.retrieval.query import Query, compared_by
from qvsearch.web.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.datastructures import QueryParams


Choice = TypeVar("Choice", bound=StrEnum)

MOST_AT_ONCE = 200  # hits of one page
QUERY = {
    *("q", "not", "without", "like", "unlike", "upload", "task", "all", "min_relevance", "sort"),
    *("words_only", "meaning_only", "library"),
    *FILTERS,
}
PARTS = ("not", "without", "like", "unlike")
MOST_PARTS = 32  # each is a file to decode or words to embed
FLAGS = {"": False, "0": False, "false": False, "1": True, "true": True}
REPEATED = {"library", "not", "without", "like", "unlike", *LISTS}


@dataclass(frozen=True, slots=True)
class Asked:
    """A search: the query, None to list files, its options, and the names of libraries if given.

    `key` is equal for two searches with the same ranking.
    """

    query: Query | None
    options: SearchOptions
    libraries: tuple[str, ...]
    key: tuple[object, ...]


def read_search(
    parameters: QueryParams,
    locate: Callable[[str], bytes],
    uploaded: Callable[[str], bytes],
    others: Iterable[str] = (),
) -> Asked:
    """Return the search that parameters ask for.

    `locate` returns the path of an item, `uploaded` that of an upload. `others` are parameters that
    are not of the search itself. Raises QvsearchError for a value that cannot be read. Words are
    never taken for a path.
    """
    given = _given(parameters, {*QUERY, *others})
    if sum(len(given.get(each, ())) for each in PARTS) > MOST_PARTS:
        raise Problem(HTTPStatus.BAD_REQUEST, f"a query has at most {MOST_PARTS} examples and nots")
    words = _one(given, "q").strip() or None
    token = _one(given, "upload")
    picture = uploaded(token) if token else None
    likes = tuple(map(locate, given.get("like", [])))
    unlikes = tuple(map(locate, given.get("unlike", [])))
    without = tuple(each.strip() for each in given.get("not", []))
    lacking = tuple(given.get("without", ()))
    task = _choice("--task", Task, _one(given, "task"))
    query = None
    if (unlikes or without or lacking) and not (words or picture or likes):
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "the query looks for nothing; give words, a picture or an example as well",
        )
    if words or picture or likes:
        query = Query(
            words=words,
            file=None if words else picture,
            image=picture if words else None,
            without=without,
            like=likes,
            unlike=unlikes,
            instruction=QUERY_INSTRUCTION if task is None else TASK_INSTRUCTIONS[task],
            lacking=lacking,
            by=compared_by(
                words_only=_flag(given, "words_only"), meaning_only=_flag(given, "meaning_only")
            ),
        )
    options = SearchOptions(
        filters=filters_by_name(
            {
                name: values if name in REPEATED else values[0] or None
                for name, values in given.items()
            }
        ),
        min_relevance=None if query is None else _min_relevance(given),
        sort=_choice("--sort", Sort, _one(given, "sort")),
    )
    libraries = tuple(given.get("library", ()))
    return Asked(query, options, libraries, (query, options, libraries))


def _min_relevance(given: dict[str, list[str]]) -> float | None:
    text = _one(given, "min_relevance")
    if _flag(given, "all") or not text:
        return 0.0 if _flag(given, "all") else None
    try:
        least = float(text)
    except ValueError:
        least = -1.0
    if not 0 <= least <= 1:  # also refuses NaN
        raise QvsearchError(f"min_relevance {text!r} must be a number from 0 to 1")
    return least


def read_number(parameters: QueryParams, name: str, default: int, most: int) -> int:
    """Return a whole number from 0 to `most`; raises Problem for another value."""
    text = parameters.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 12 and int(text) <= most):
        raise Problem(
            HTTPStatus.BAD_REQUEST, f"{name} {text!r} must be a whole number from 0 to {most}"
        )
    return int(text)


def read_seconds(parameters: QueryParams, name: str) -> float | None:
    """Return seconds from 0 on, None without the parameter; raises Problem for another value."""
    text = parameters.get(name)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e7:  # also refuses NaN
        raise Problem(HTTPStatus.BAD_REQUEST, f"{name} {text!r} must be a time in seconds")
    return seconds


def check_names(parameters: QueryParams, known: Iterable[str]) -> None:
    """Raise Problem for a parameter that the endpoint does not have."""
    _given(parameters, {*known})


def _given(parameters: QueryParams, known: set[str]) -> dict[str, list[str]]:
    """Return the values of each parameter; `min-size` is `min_size`."""
    given: dict[str, list[str]] = {}
    for name, value in parameters.multi_items():
        name = name.replace("-", "_")
        if name not in known:
            raise Problem(
                HTTPStatus.BAD_REQUEST,
                f"unknown parameter {name!r}; there are: {', '.join(sorted(known))}",
            )
        given.setdefault(name, []).append(value)
        if len(given[name]) > 1 and name not in REPEATED:
            raise Problem(HTTPStatus.BAD_REQUEST, f"{name} is given twice; give it once")
    return given


def _one(given: dict[str, list[str]], name: str) -> str:
    return given.get(name, [""])[0]


def _flag(given: dict[str, list[str]], name: str) -> bool:
    text = _one(given, name)
    if text.lower() not in FLAGS:
        raise Problem(HTTPStatus.BAD_REQUEST, f"{name} {text!r} must be true or false")
    return FLAGS[text.lower()]


def _choice(option: str, names: type[Choice], text: str) -> Choice | None:
    if not text:
        return None
    try:
        return names(text)
    except ValueError as error:
        raise QvsearchError(f"{option} {text!r} is unknown; give {' or '.join(names)}") from error
