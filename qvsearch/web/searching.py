"""The endpoint of a search: a page of hits, as the command line prints them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from qvsearch.library.aliases import is_there
from qvsearch.library.identity import id_of
from qvsearch.published.opening import with_file
from qvsearch.records.library import hit_record
from qvsearch.records.served import answer_record, duplicate_record
from qvsearch.retrieval.scrolling import hits_one_by_one
from qvsearch.retrieval.several import answer_all
from qvsearch.web.asking import MOST_AT_ONCE, read_number, read_search
from qvsearch.web.problems import Json, Problem
from qvsearch.web.rankings import Ranking

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams
    from starlette.requests import Request
    from starlette.responses import Response

    from qvsearch.retrieval.shelf import Chosen
    from qvsearch.runtime.several import Lost
    from qvsearch.types import Hit, Item
    from qvsearch.web.asking import Asked
    from qvsearch.web.services import Services

NEAREST = 12  # hits that are shown if none is relevant
AT_ONCE = 60  # hits of a page by default
FARTHEST = 10_000_000  # offset that is read
MOST_SHOWN = 100_000  # hits of a list, which take 300 MB


async def search(request: Request) -> Response:
    """Answer `GET /api/search`."""
    services: Services = request.app.state.services
    return await services.lanes.queries.run(_search, services, request.query_params)


def _search(services: Services, parameters: QueryParams) -> Response:
    started = time.perf_counter()
    offset = read_number(parameters, "offset", 0, FARTHEST)
    if offset > MOST_SHOWN:
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            f"only the first {MOST_SHOWN:,} files are shown; narrow the search by filters",
        )
    limit = read_number(parameters, "limit", AT_ONCE, MOST_AT_ONCE)
    folders = services.shelf.folders()
    asked = read_search(
        parameters, services.locate, services.uploads.path, others=("offset", "limit")
    )
    with services.shelf.reading(asked.libraries) as chosen:
        ranking = services.rankings.get(asked.key, chosen.state, is_first=offset == 0)
        if ranking is None:
            ranking = _ranking(chosen, asked)
            services.rankings.keep(asked.key, chosen.state, ranking)
        hits, more = ranking.page(offset, limit)
        ids = {each: _id(chosen, each) for hit in hits for each in hit.duplicates}
    for each in chosen.opened:
        each.remember([hit.segment for hit in hits if hit.library == each.library.folder])
    lost = {each.folder: str(each.error) for each in (*chosen.lost, *ranking.lost)}
    return Json(
        answer_record(
            [_record(hit, chosen, ids) for hit in hits],
            {name: lost[folder] for name, folder in folders.items() if folder in lost},
            relevant=ranking.is_relevant,
            more=more,
            seconds=time.perf_counter() - started,
        )
    )


def _ranking(chosen: Chosen, asked: Asked) -> Ranking:
    """Return the list of a search; if nothing is relevant, that of the nearest hits."""
    lost: list[Lost] = []
    hits = hits_one_by_one(chosen.searched, asked.query, asked.options, lost.append)
    ranking = Ranking(hits, lost)
    ranking.page(0, 0)
    if ranking.hits or asked.query is None:
        return ranking
    nearest = replace(asked.options, top=NEAREST, nearest=NEAREST)
    lost.clear()
    found = answer_all(chosen.searched, asked.query, nearest, lost=lost.append)
    return Ranking(iter(found), lost, is_relevant=False)


def _id(chosen: Chosen, item: Item) -> str | None:
    """Return the identity of an item in whichever library has it."""
    ids = (id_of(with_file(each.library, item), item) for each in chosen.opened)
    return next(filter(None, ids), None)


def _record(hit: Hit, chosen: Chosen, ids: Mapping[Item, str | None]) -> dict[str, object]:
    """Return the record of a hit; its duplicates have their identities as well."""
    gone = not is_there(hit.segment.item.location)  # the list may be of some time ago
    folder = hit.library or chosen.opened[0].library.folder
    record = hit_record(replace(hit, gone=gone), folder)
    if hit.duplicates:
        record["duplicates"] = [duplicate_record(each, ids[each]) for each in hit.duplicates]
    return record
