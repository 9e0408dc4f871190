"""The endpoint of saved searches, each with the parameters that repeat it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from qvsearch.errors import QvsearchError
from qvsearch.library.filters import FILTERS
from qvsearch.library.identity import id_at
from qvsearch.library.searches import MARK, option_texts
from qvsearch.records.served import album_record
from qvsearch.retrieval.saved import parsed_search, saved_searches
from qvsearch.web.asking import check_names
from qvsearch.web.problems import Json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.responses import Response

    from qvsearch.library.library import Library
    from qvsearch.library.searches import SavedSearch
    from qvsearch.retrieval.shelf import Opened
    from qvsearch.web.services import Services

# options of the command line, and the parameters that do the same
SAME = {
    "words": "q",
    **dict.fromkeys(("file", "image", "like"), "like"),
    **{name: name for name in ("unlike", "not", "task", "sort", "all", "min_relevance", *FILTERS)},
}
EXAMPLES = {"file", "image", "like", "unlike"}  # paths, for which parameters have identities
NEEDLESS = {"top", "exact"}  # a page shows more when it is scrolled


async def saved(request: Request) -> Response:
    """Answer `GET /api/saved`."""
    services: Services = request.app.state.services
    check_names(request.query_params, ())
    return await services.lanes.lookups.run(_saved, services)


def _saved(services: Services) -> Response:
    chosen = services.shelf.now()
    several = len(services.shelf.folders()) > 1
    with services.shelf.turn:
        return Json(
            [
                _record(opened, search, several=several)
                for opened in chosen.opened
                for search in saved_searches(opened.library)
            ]
        )


def _record(opened: Opened, search: SavedSearch, *, several: bool) -> dict[str, object]:
    query, problem, left = None, search.problem, []
    if problem is None:
        try:
            parsed_search(search.options)
            parameters = list(_parameters(opened.library, search))
            query = urlencode([*parameters, *([("library", opened.name)] if several else [])])
        except QvsearchError as error:
            problem = str(error)
        left = [each for each in search.options if _name(each) not in {*SAME, *NEEDLESS}]
    texts = " ".join(option_texts(search))
    return album_record(search, opened.name, query, texts, left, problem)


def _parameters(library: Library, search: SavedSearch) -> Iterator[tuple[str, str]]:
    """Yield the parameters of a saved search; raises QvsearchError for an example that is away."""
    for option, value in search.options.items():
        if (name := SAME.get(_name(option))) is None:
            continue
        if value is True:
            yield name, "1"
            continue
        for each in value if isinstance(value, list) else [value]:
            yield name, _id(library, str(each), search) if option in EXAMPLES else str(each)


def _id(library: Library, path: str, search: SavedSearch) -> str:
    item_id = id_at(library, os.fsencode(path))
    if item_id is None:
        raise QvsearchError(
            f"its example {path} is not in the library; in a terminal:"
            f" qvsearch search {MARK}{search.name}"
        )
    return item_id


def _name(option: str) -> str:
    return option.replace("-", "_")
