"""The saved searches of the libraries, each as an address of the page."""

from __future__ import annotations

import os
from shlex import quote
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from qvsearch.library.filters import FILTERS
from qvsearch.library.identity import id_at
from qvsearch.library.names import option
from qvsearch.library.searches import MARK
from qvsearch.published.opening import with_path
from qvsearch.records.served import album_record
from qvsearch.retrieval.saved import saved_searches
from qvsearch.web.asking import check_names
from qvsearch.web.problems import Json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.responses import Response

    from qvsearch.library.library import Library
    from qvsearch.library.searches import Options, SavedSearch, Value
    from qvsearch.retrieval.shelf import Opened
    from qvsearch.web.services import Services

# parameters that have the names of options; the page has its own order of kinds and number of hits
SAME = {"not", "without", "task", "sort", "min-relevance"}
SAME |= {name.replace("_", "-") for name in FILTERS}
SET = {"all", "words-only", "meaning-only"}
EXAMPLES = {"file": "like", "image": "like", "like": "like", "unlike": "unlike"}
PASSED_OVER = {"top", "by-kind", "exact", "no-dedupe", "reranker"}
PASSED_OVER |= {"rerank", "rerank-top", "rerank-budget"}


async def saved(request: Request) -> Response:
    """Answer `GET /api/saved`."""
    services: Services = request.app.state.services
    check_names(request.query_params, ())
    return await services.lanes.lookups.run(_saved, services)


def _saved(services: Services) -> Response:
    libraries = services.shelf.now().opened
    is_alone = len(services.shelf.folders()) == 1
    return Json(
        [
            _album(services, opened, each, is_alone=is_alone)
            for opened in libraries
            for each in saved_searches(opened.library)
        ]
    )


def _album(
    services: Services, opened: Opened, search: SavedSearch, *, is_alone: bool
) -> dict[str, object]:
    address = None
    if search.problem is None:
        with services.shelf.turn:
            address = address_of(opened.library, search.options)
    if address is not None and not is_alone:
        address += "&" + urlencode({"library": opened.name})
    place = option(opened.library.folder)
    command = f"qvsearch search {quote(MARK + search.name)}{place}"
    return album_record(search, opened.name, address, None if search.problem else command)


def address_of(library: Library, options: Options) -> str | None:
    """Return the parameters of a saved search in the address of the page.

    None if the page cannot show it: its picture is not in the library or stands beside words, or
    it has weights or an instruction of its own.
    """
    if "image" in options and "words" in options:
        return None
    try:
        pairs = [pair for each in options.items() for pair in _parameters(library, *each)]
        return urlencode(pairs)
    except (LookupError, UnicodeEncodeError):  # a path that is not UTF-8
        return None


def _parameters(library: Library, name: str, value: Value) -> Iterator[tuple[str, str]]:
    """Yield the parameters of an option; raises LookupError if the page has none for it."""
    if name == "words":
        yield "q", str(value)
    elif name in SET:
        yield name.replace("-", "_"), "1"
    elif name in SAME:
        for each in value if isinstance(value, list) else [value]:
            yield name.replace("-", "_"), str(each)
    elif name in EXAMPLES:
        for each in value if isinstance(value, list) else [value]:
            path = os.fsencode(str(each))
            identity = id_at(with_path(library, path), path)
            if identity is None:
                raise LookupError(each)
            yield EXAMPLES[name], identity
    elif name not in PASSED_OVER:
        raise LookupError(name)
