"""Records that only the server of `serve` sends; the docstrings describe their fields."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.formats import path_fields, present
from qvsearch.library.places import place_name
from qvsearch.types import place_fields

if TYPE_CHECKING:
    from qvsearch.library.searches import SavedSearch
    from qvsearch.retrieval.missing_words import MissingWords
    from qvsearch.types import Hit, Item, Segment


def answer_record(
    hits: Iterable[Mapping[str, object]],
    left_out: Mapping[str, str],
    *,
    relevant: bool,
    more: bool,
    seconds: float,
) -> dict[str, object]:
    """Return the answer of `/api/search`.

    hits (list of objects): hits, as `search --json` prints them; their `duplicates` have an `id`
    relevant (boolean): false if no file is relevant, and these are only the nearest
    more (boolean): whether there are hits behind these
    seconds (number): time that the search took
    left_out (object): why a library could not be searched, by its name; absent if all were
    """
    record: dict[str, object] = {
        "hits": list(hits),
        "relevant": relevant,
        "more": more,
        "seconds": round(seconds, 4),
    }
    return {**record, "left_out": dict(left_out)} if left_out else record


def album_record(
    search: SavedSearch, library: str, address: str | None, command: str | None
) -> dict[str, object]:
    """Return a saved search of `/api/saved`, which is a list.

    name (string): its name
    library (string): name of its library
    last_used (string, ISO 8601 in UTC): when the command line last used it
    address (string): the search as parameters of the page; absent if the page cannot show it
    command (string): command that repeats it
    problem (string): why it cannot be read
    """
    return present(
        {
            "name": search.name,
            "library": library,
            "last_used": search.used,
            "address": address,
            "command": command,
            "problem": search.problem,
        }
    )


def item_record(
    hit: Hit, segments: Sequence[Segment], duplicates: Iterable[Segment], library: Path
) -> dict[str, object]:
    """Return a file of `/api/items/ID`; fields of a hit that need a query are absent.

    id, kind, path, path_b64, width, height (as of a hit): and all other fields of the file
    bytes (integer): size of the file
    gone (boolean): true if the file is no longer where it was indexed
    place (string): name of where it was taken, e.g. `Vienna, Austria`
    segments (list of objects): its moments, pages or passages in order: `start` and `end`, `page`,
        `lines` or `section`, and the `snippet`
    duplicates (list of objects): its near-duplicates in the library: `id`, and `path` or `path_b64`
    """
    record = hit.to_dict() | path_fields("library", os.fsencode(library))
    del record["rank"]
    return present(
        {
            **record,
            "bytes": hit.segment.item.size,
            "place": place_name(hit.segment.metadata),
            "segments": [_segment_record(each) for each in segments],
            "duplicates": [
                {"id": each.item_id, **path_fields("path", each.item.location)}
                for each in duplicates
            ]
            or None,
        }
    )


def _segment_record(segment: Segment) -> dict[str, object]:
    return present(
        {
            **place_fields(segment.start, segment.end, segment),
            "clip": segment.clip or None,
            "snippet": segment.snippet,
        }
    )


def duplicate_record(item: Item, item_id: str | None) -> dict[str, object]:
    """Return a near-duplicate of a hit, with its identity if the library still has it."""
    return present({"id": item_id, **path_fields("path", item.location)})


def passage_record(
    text: str, lines: tuple[int, int] | None = None, section: str | None = None
) -> dict[str, object]:
    """Return the answer of `/api/items/ID/text`.

    lines (two integers): first and last line of the text, from 1; absent for a section
    section (string): section of the text, e.g. `slide 3`, if it has no lines
    text (string): these lines, each but the last ends with a newline; or the section's passages
    """
    shown = None if lines is None else list(lines)
    return present({"lines": shown, "section": section, "text": text})


def shelf_record(
    name: str,
    folder: Path,
    model: str,
    kinds: Mapping[str, tuple[int, int]],
    *,
    files_left: int | None,
    changed: int | None,
    gone: int | None,
    command: str,
    missing: MissingWords | None,
) -> dict[str, object]:
    """Return a library of `/api/status`.

    name (string): name of the library
    library, library_b64 (string): its folder
    model (string): its model
    kinds (object): `items` and `segments` of each kind
    empty (boolean): whether there is nothing to search
    indexing (object): `files_left`, the number of files of an unfinished run; absent without one
    changed, gone (integer or null): numbers of files that have changed or are gone since the last
        `index`; null until that is known
    command (string): command that brings the library up to date
    missing_words (object): words that no search finds yet: of `all` files or only some (boolean),
        the `command` that adds them, and the `publishers` of a shared table who have to run it;
        absent if all are found
    """
    record: dict[str, object] = {
        "name": name,
        **path_fields("library", os.fsencode(folder)),
        "model": model,
        "kinds": {
            kind: {"items": items, "segments": segments}
            for kind, (items, segments) in kinds.items()
        },
        "empty": not kinds,
        "changed": changed,
        "gone": gone,
        "command": command,
    }
    if missing is not None:
        names = list(missing.publishers)
        words = {"all": missing.is_all, "command": missing.command, "publishers": names or None}
        record["missing_words"] = present(words)
    return record if files_left is None else {**record, "indexing": {"files_left": files_left}}


def lost_record(name: str, folder: Path, problem: str) -> dict[str, object]:
    """Return a library of `/api/status` that cannot be read.

    name (string): name of the library
    library, library_b64 (string): its folder
    problem (string): why it cannot be read
    """
    return {"name": name, **path_fields("library", os.fsencode(folder)), "problem": problem}


def upload_record(token: str, width: int, height: int) -> dict[str, object]:
    """Return the answer of `POST /api/uploads`.

    upload (string): token of the picture, for the parameter of that name
    width, height (integer, pixels): of the upright picture
    """
    return {"upload": token, "width": width, "height": height}
