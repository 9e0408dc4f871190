"""The endpoints of one item: what is known of it, why it is a hit, and its text."""

from __future__ import annotations

import math
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from qvsearch.duplicates.repeats import repeats
from qvsearch.library.aliases import is_there
from qvsearch.library.identity import Gone
from qvsearch.media import CHANGED
from qvsearch.records.explanation import explanation_record
from qvsearch.records.served import item_record, passage_record
from qvsearch.retrieval.explain import explained_in
from qvsearch.retrieval.scrolling import FIRST
from qvsearch.types import Decoded, DecodeOptions, Hit, Kind, Segment, Skipped
from qvsearch.web.asking import check_names, read_number, read_search
from qvsearch.web.problems import Json, Problem

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams
    from starlette.requests import Request
    from starlette.responses import Response

    from qvsearch.retrieval.explain import Explanation
    from qvsearch.retrieval.options import SearchOptions
    from qvsearch.retrieval.query import Query
    from qvsearch.retrieval.shelf import Chosen
    from qvsearch.web.services import Services

NEIGHBOURS = 12  # lines that are shown before and behind a passage
LAST_LINE = 10_000_000  # no text has more bytes


async def item(request: Request) -> Response:
    """Answer `GET /api/items/ID`."""
    services: Services = request.app.state.services
    check_names(request.query_params, ())
    return await services.lanes.lookups.run(_item, services, request.path_params["id"])


def _item(services: Services, item_id: str) -> Response:
    with services.shelf.reading() as chosen:
        opened, segments = chosen.find(item_id)
        first = segments[0]
        others = repeats(opened.library, first)
    opened.remember([first, *others])
    hit = Hit(1, math.nan, math.nan, first, gone=not is_there(first.item.location))
    return Json(item_record(hit, segments, others, opened.library.folder))


async def explain(request: Request) -> Response:
    """Answer `GET /api/items/ID/explain`."""
    services: Services = request.app.state.services
    item_id = request.path_params["id"]
    return await services.lanes.queries.run(_explain, services, item_id, request.query_params)


def _explain(services: Services, item_id: str, parameters: QueryParams) -> Response:
    asked = read_search(parameters, services.locate, services.uploads.path)
    if asked.query is None:
        raise Problem(HTTPStatus.BAD_REQUEST, "nothing is explained without a query; give q")
    with services.shelf.reading() as chosen:
        _, segments = chosen.find(item_id)
    with services.shelf.reading(asked.libraries) as chosen:
        explanation = _explanation(chosen, asked.query, segments[0].item.location, asked.options)
    return Json(explanation_record(explanation))


def _explanation(
    chosen: Chosen, query: Query, location: bytes, options: SearchOptions
) -> Explanation:
    """Return why a file is or is not a hit of the page, which has no last hit."""
    found = explained_in(chosen.searched, query, location, options, chosen.lose)
    if found.rank is None or found.rank <= options.top:
        return found
    # it may be folded into one of the first hits; behind them no list is as long as its rank
    top = min(found.rank, FIRST)
    found = explained_in(chosen.searched, query, location, replace(options, top=top), chosen.lose)
    is_relevant = (found.relevance or 0.0) >= options.least
    if found.folded_into is None and not found.hidden_by and is_relevant:
        return replace(found, reason=None)
    return found


async def text(request: Request) -> Response:
    """Answer `GET /api/items/ID/text`."""
    services: Services = request.app.state.services
    check_names(request.query_params, ("line", "section"))
    line = max(1, read_number(request.query_params, "line", 1, LAST_LINE))
    section = request.query_params.get("section")
    return await services.lanes.pictures.run(
        _text, services, request.path_params["id"], line, section
    )


def _text(services: Services, item_id: str, line: int, section: str | None) -> Response:
    with services.shelf.reading() as chosen:
        _, segments = chosen.find(item_id)
    if segments[0].item.kind is not Kind.TEXT:
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "only a text has lines")
    passages = [each.lines for each in segments if each.lines is not None]
    if not passages:
        section = segments[0].section if section is None else section
        shown = _read(services, segments[0], ()).segments
        text = "\n\n".join(source.text or "" for each, source in shown if each.section == section)
        return Json(passage_record(text, section=section))
    first, last = next((each for each in passages if each[0] <= line <= each[1]), (line, line))
    span = float(max(1, first - NEIGHBOURS)), float(last + NEIGHBOURS + 1)
    [(read, source)] = _read(services, segments[0], (span,)).segments
    return Json(passage_record(source.text or "", read.lines or (1, 1)))


def _read(
    services: Services, segment: Segment, moments: tuple[tuple[float, float], ...]
) -> Decoded:
    """Return lines of a text, or all of its passages."""
    segment = services.originals.touched(segment)
    options = DecodeOptions(1, moments=moments)
    jobs = [(segment.item, segment.content_hash)]
    for outcome in services.readers.decode(jobs, options, services.is_ending):
        if isinstance(outcome, Skipped):
            if outcome.reason == CHANGED:
                raise Gone("the text has changed while it was read")
            raise Problem(HTTPStatus.BAD_REQUEST, f"no such line: {outcome.reason}")
        return outcome
    raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the server ends")
