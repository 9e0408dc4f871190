"""The endpoints that say what the libraries hold: their state, and what can be filtered by."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.indexing.status import library_status
from qvsearch.library.library import Library
from qvsearch.library.names import option
from qvsearch.models.registry import DEMO
from qvsearch.published.opening import is_published
from qvsearch.records.served import lost_record, shelf_record
from qvsearch.version import __version__
from qvsearch.web.asking import check_names
from qvsearch.web.problems import Json

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from qvsearch.retrieval.shelf import Opened
    from qvsearch.web.services import Services

CURRENT_SECONDS = 300.0  # after which the disk is looked at again


async def status(request: Request) -> Response:
    """Answer `GET /api/status`."""
    services: Services = request.app.state.services
    check_names(request.query_params, ())
    return await services.lanes.lookups.run(_status, services)


def _status(services: Services) -> Response:
    chosen = services.shelf.now()
    names = {folder: name for name, folder in services.shelf.folders().items()}
    records: dict[str, dict[str, object]] = {}
    for opened in chosen.opened:
        try:
            records[opened.name] = _shelf(services, opened)
        except QvsearchError as error:  # e.g. a table whose storage is away now
            records[opened.name] = lost_record(opened.name, opened.library.folder, str(error))
    for each in chosen.lost:
        name = names[each.folder]
        records[name] = lost_record(name, each.folder, str(each.error))
    return Json(
        {
            "libraries": [records[name] for name in names.values()],
            "demo": any(each.library.fingerprint.model == DEMO for each in chosen.opened),
            "version": __version__,
        }
    )


def _shelf(services: Services, opened: Opened) -> dict[str, object]:
    library = opened.library
    pending = sum(run.files for run in library.load_pending())
    kinds = services.kinds.of(opened)
    changes = None
    published = is_published(library)  # its publisher looks for changes
    # or every commit of a running `index` would be looked at
    if kinds and not pending and not published:
        changes = services.surveys.outcome(
            ("changes", library.folder),
            opened.state,
            lambda: _changes(library),
            CURRENT_SECONDS,
        )
    changed, gone = (None, None) if changes is None or changes.result is None else changes.result
    folder = "" if library.roots else " FOLDER"
    command = f"qvsearch index{folder}{option(library.folder)}"
    return shelf_record(
        opened.name,
        library.folder,
        library.fingerprint.model,
        kinds,
        files_left=pending or None,
        changed=changed,
        gone=gone,
        command=f"qvsearch publish {quote(str(library.folder))}" if published else command,
        missing=opened.missing_words(),
    )


def _changes(library: Library) -> tuple[int, int]:
    """Return the numbers of changed and of missing files; the library is opened anew."""
    now = library_status(Library.open(library.folder))
    return len(now.changed), len(now.gone)


async def fields(request: Request) -> Response:
    """Answer `GET /api/fields`."""
    services: Services = request.app.state.services
    check_names(request.query_params, ())
    return await services.lanes.lookups.run(_fields, services)


def _fields(services: Services) -> Response:
    return Json([services.fields.of(each) for each in services.shelf.now().opened])
