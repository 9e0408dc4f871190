"""The endpoint of a search: a page of hits, as the command line prints them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from qvsearch.library.aliases import is_there
from qvsearch.library.identity import id_of
from qvsearch.records.library import hit_record
from qvsearch.records.served import answer_record, duplicate_record
from qvsearch.retrieval.scrolling import hits_one_by_one
from qvsearch.retrieval.several import answer_all
from qvsearch.web.asking import MOST_AT_ONCE, read_number, read_search
from qvsearch.web.problems import Json
from qvsearch.web.rankings import Ranking

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams
    from starlette.requests import Request
    from starlette.responses import Response

    from qvsearch.types import Hit
    from qvsearch.web.asking import Asked
    from qvsearch.web.served import Opened
    from qvsearch.web.services import Services

NEAREST = 12  # hits that are shown if none is relevant
AT_ONCE = 60  # hits of a page by default
FARTHEST = 10_000_000  # offset


async def search(request: Request) -> Response:
    """Answer `GET /api/search`."""
    services: Services = request.app.state.services
    return await services.lanes.queries.run(_search, services, request.query_params)


def _search(services: Services, parameters: QueryParams) -> Response:
    started = time.perf_counter()
    offset = read_number(parameters, "offset", 0, FARTHEST)
    limit = read_number(parameters, "limit", AT_ONCE, MOST_AT_ONCE)
    asked = read_search(
        parameters, services.locate, services.uploads.path, others=("offset", "limit")
    )
    libraries = services.served.libraries(asked.libraries)
    state = [(each.library.folder, each.state) for each in libraries]
    with ExitStack() as stack:
        for each in libraries:
            stack.enter_context(each.lock)
        ranking = services.rankings.get(asked.key, state, is_first=offset == 0)
        if ranking is None:
            ranking = _ranking(libraries, asked)
            services.rankings.keep(asked.key, state, ranking)
        hits, more = ranking.page(offset, limit)
    for each in libraries:
        each.remember([hit.segment for hit in hits if hit.library == each.library.folder])
    return Json(
        answer_record(
            [_record(hit, libraries) for hit in hits],
            relevant=ranking.is_relevant,
            more=more,
            seconds=time.perf_counter() - started,
        )
    )


def _ranking(libraries: Sequence[Opened], asked: Asked) -> Ranking:
    """Return the list of a search; if nothing is relevant, that of the nearest hits."""
    searched = [each.searched() for each in libraries]
    ranking = Ranking(hits_one_by_one(searched, asked.query, asked.options))
    ranking.page(0, 0)
    if ranking.hits or asked.query is None:
        return ranking
    nearest = replace(asked.options, top=NEAREST, nearest=NEAREST)
    return Ranking(iter(answer_all(searched, asked.query, nearest)), is_relevant=False)


def _record(hit: Hit, libraries: Iterable[Opened]) -> dict[str, object]:
    """Return the record of a hit; its duplicates have their identities as well."""
    opened = next(each for each in libraries if hit.library == each.library.folder)
    gone = not is_there(hit.segment.item.location)  # the list may be of some time ago
    record = hit_record(replace(hit, gone=gone), opened.library.folder)
    if hit.duplicates:
        with opened.lock:
            ids = [id_of(opened.library, each) for each in hit.duplicates]
        record["duplicates"] = list(map(duplicate_record, hit.duplicates, ids))
    return record
