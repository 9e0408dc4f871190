"""Records of the contents of a library.

The docstring of each function describes its fields; `docs/json.md` is generated from them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.display import safe_text
from qvsearch.formats import path_fields, present, rounded, utc_text
from qvsearch.records.reports import warm_record
from qvsearch.types import place_fields, skipped_fields, unreachable_root

if TYPE_CHECKING:
    from qvsearch.duplicates.groups import Group, Member
    from qvsearch.indexing.fields import Field
    from qvsearch.indexing.status import Status
    from qvsearch.library.libraries import Shelved
    from qvsearch.library.library import Library
    from qvsearch.library.repair import Problem, Repair
    from qvsearch.retrieval.recall import Recall
    from qvsearch.retrieval.similar import Similar
    from qvsearch.runtime.manager import Running
    from qvsearch.types import Hit, Segment


def hit_record(hit: Hit, library: Path, *used: Mapping[str, object]) -> dict[str, object]:
    """Return a hit of `search --json`, one a line; absent fields are left out.

    query (integer): line of the query, from 1; only with `--queries` or `-`
    rank (integer): from 1; with `--by-kind` within the kind
    relevance (number, 0 to 1): probability that the hit answers the query; comparable between
        kinds and queries. Absent without a query
    score (number, -1 to 1): cosine of query and hit; comparable only within a kind and a query.
        Absent without a query and with `--words-only`
    id (string): identity of the file in the library, for `mcp`; another content or place gets
        another one
    kind (string): `image`, `video`, `text` or `document`
    path (string): absolute path
    path_b64 (string): bytes of the path in base64, instead of `path`, if they are not UTF-8
    path_marks (list of two integers): ranges of the path that are words of the query
    root (string): name of a shared table's root that this computer does not reach;
        `path` begins with it
    start, end (number, seconds): moment of a video, from `start` up to `end`
    clip (boolean): true if the best vector is of a clip, not of one frame
    lines (two integers): first and last line of a passage, from 1
    section (string): place of a passage that has no lines, e.g. `slide 3`
    snippet (string): lines of the passage with the query's words, or its beginning, with a title,
        keyword or place before it if these have words
    marks (list of two integers): ranges of the snippet that are words of the query, as the numbers
        of the first character, from 0, and of the one after the last
    width, height (integer, pixels): of the upright image or video
    taken (string, ISO 8601): when it was taken, with a zone if the file has one; a day, a month or
        a year alone if no more is known
    taken_from (string): `xmp` or `json` if that is from a file beside it, `name` if from the name;
        absent if it is from the file itself
    camera (string): maker and model
    latitude, longitude (number, degrees): where it was taken, WGS 84
    duration (number, seconds): length of the video, or of the film within a photo
    page (integer or boolean): page of a document, from 1; of an image, true for a screenshot or a
        scanned page
    pages (integer): number of pages of a document
    pictures (integer): number of pictures within a document, which are not indexed
    partial (string): the indexed part of a text, e.g. `5,000 of 80,000 rows`, or why a photo
        lacks the film within it
    damaged (string): missing part of a damaged file, e.g. `the last 39 % is missing`
    several (boolean): true if the file has frames or pages beside the indexed one
    title, author (string): as the file has them
    keywords (list of strings): as the file has them
    rating (integer, 0 to 5): as the file has it
    language (string): tag of the language of a text, e.g. `de`
    mtime (string, ISO 8601 in UTC): last change of the file
    library, library_b64 (string): folder of the library
    rerank_score (number, 0 to 1): the reranker's probability that the hit answers; with `--rerank`
    saved, saved_b64 (string): file into which the moment was cut; with `--save-clips`
    copy, copy_b64 (string): copy of the file, or the link to it; with `--copy-to` or `--link-to`
    moments (list of objects): the best other moments or passages: `relevance`, `score`, and
        `start` with `end`, `lines`, `page` or `section`; a photo beside its film has no place
    gone (boolean): true if the file is no longer where it was indexed
    duplicates (list of objects): near-duplicates folded into the hit, as `path` or `path_b64`;
        those that are gone are last
    """
    record = {**hit.to_dict(), **path_fields("library", os.fsencode(library))}
    for fields in used:
        record.update(fields)
    return record


def similar_record(similar: Similar, library: Path | None) -> dict[str, object]:
    """Return a file of `similar --json`, one a line.

    rank (integer): from 1
    relevance (number, 0 to 1): with libraries of different models, which it orders: probability
        that a search by the file means this one
    score (number, -1 to 1): cosine of the two vectors
    reason (string): `exact`, `copy` or `burst` for a near-duplicate, as of `dupes`; of videos and
        texts only if nearly all of the file is the same; `shot` for a raw file and its picture, or
        a still and its short film
    id (string): identity of the file in the library
    kind (string): `image`, `video`, `text` or `document`
    path, path_b64 (string): absolute path
    root (string): as of a hit
    start, end (number, seconds): most similar moment of a video
    lines (two integers): first and last line of the most similar passage
    page (integer), section (string): place of the most similar page or passage
    width, height (integer, pixels): of the upright picture
    library, library_b64 (string): folder of the library
    """
    segment = similar.segment
    place = {} if library is None else path_fields("library", os.fsencode(library))
    record: dict[str, object | None] = {
        "rank": similar.rank,
        "relevance": rounded(similar.relevance),
        "score": round(similar.score, 6),
        "reason": similar.reason,
        **segment_fields(segment),
        **place,
    }
    return present(record)


def segment_fields(segment: Segment) -> dict[str, object | None]:
    """Return what records say of a segment: its file, its place in it, and its size."""
    return {
        "id": segment.item_id,
        "kind": segment.item.kind.value,
        **path_fields("path", segment.item.location),
        **unreachable_root(segment.item),
        **place_fields(segment.start, segment.end, segment),
        "width": segment.width,
        "height": segment.height,
    }


def group_record(number: int, group: Group) -> dict[str, object]:
    """Return a group of `dupes --json`, one a line; the groups of most bytes come first.

    group (integer): from 1
    kind (string): `image`, `video`, `text` or `document`
    reason (string): the weakest reason of its items
    reclaimable (integer, bytes): size of all items but the best; files that are gone count 0
    items (list of objects): files, the best original first
    """
    return {
        "group": number,
        "kind": group.kind.value,
        "reason": group.reason,
        "reclaimable": group.reclaimable,
        "items": [_member_record(each) for each in group.items],
    }


def _member_record(member: Member) -> dict[str, object]:
    """Return one of the `items` of a group.

    id (string): identity of the file in the library, as of a hit
    path, path_b64 (string): absolute path
    best (boolean): true for the first item
    reason (string): why another item repeats the best: `exact`, `copy` or `burst`
    gone (boolean): true if the file is no longer there; such items are last
    also (list of objects): other paths of the very same file, as `path` or `path_b64`
    width, height (integer, pixels): of the upright picture
    bytes (integer): size of the file
    taken (string, ISO 8601): when it was taken, if the file has a date
    mtime (string, ISO 8601 in UTC): last change of the file
    """
    segment = member.segment
    record: dict[str, object | None] = {
        "id": segment.item_id,
        **path_fields("path", segment.item.location),
        "best": True if member.reason is None else None,
        "reason": member.reason,
        "gone": member.gone or None,
        "also": [path_fields("path", each) for each in member.also] or None,
        "width": segment.width,
        "height": segment.height,
        "bytes": segment.item.size,
        "taken": segment.metadata.taken,
        "mtime": utc_text(segment.item.mtime_ns),
    }
    return present(record)


def status_record(status: Status, warm: Iterable[Running]) -> dict[str, object]:
    """Return the object of `status --json`.

    library, library_b64 (string): folder of the library
    model (object): the model and how it encodes: `model`, `revision`, `dim`, `detail`, the
        folder of its `adapter` or the file of its `mmproj` if it has one, and others
    store (string): storage type of vectors: `float16` or `int8`
    bytes (integer): size of the library
    kinds (object): `items` and `segments` of each kind
    roots (list of objects): indexed folders: `path` or `path_b64`, whether each is `reachable`, and
        its remembered `include`, `exclude`, `kinds`, `hidden` and `follow_symlinks`
    changed, gone (list of objects): files that have changed or are gone since the last `index`, as
        `path` or `path_b64`
    failed (list of objects): files that could not be indexed: `path` or `path_b64`, the `reason`
        and the number of `tries`
    touched (integer): files whose contents the next `index` will compare
    older (integer): unchanged files that an older version read; the next `index` looks at them
    older_segments (integer): number of their vectors, some of which may be embedded again
    without_words (integer): files whose words an older version did not store; `index` adds them
    left_aside (object): number of files in other formats by suffix
    vendored (integer): files of other people's code, e.g. in `node_modules`, which are left aside
    left_out (list of objects): files of the library that `index` now leaves out by their names:
        `path` or `path_b64`, and the `reason`
    not_indexed (integer): files that an unfinished `index` has not reached
    damaged (list of objects): files of which only a part is indexed: `path` or `path_b64`, and
        what is `missing`
    pictures (integer): pictures within documents, which are not indexed
    partial (list of objects): files of which a sample is indexed, or a photo without its film:
        `path` or `path_b64`, and the `indexed` part
    ocr (object): whether OCR is `installed`, how many pictures were `read` for their words, how
        many are `waiting`, and the `languages` that its model reads
    warm (list of objects): warm processes
    """
    return {
        **path_fields("library", os.fsencode(status.folder)),
        "model": present(asdict(status.fingerprint)),
        "store": status.store,
        "bytes": status.size,
        "kinds": {
            each.kind.value: {"items": each.items, "segments": each.segments}
            for each in status.holdings
        },
        "roots": [
            {
                **path_fields("path", root),
                "reachable": root not in status.unreachable,
                **(asdict(status.rules[root]) if root in status.rules else {}),
            }
            for root in status.roots
        ],
        "changed": [path_fields("path", path) for path in status.changed],
        "gone": [path_fields("path", path) for path in status.gone],
        "failed": [
            {**path_fields("path", each.path), "reason": each.reason, "tries": each.tries}
            for each in status.failures
        ],
        "touched": status.touched,
        "older": status.older,
        "older_segments": status.older_segments,
        "without_words": status.without_words,
        "left_aside": status.left_aside,
        "vendored": status.vendored,
        "left_out": skipped_fields(status.left_out),
        "not_indexed": sum(run.files for run in status.pending),
        "damaged": [
            {**path_fields("path", path), "missing": missing} for path, missing in status.damaged
        ],
        "pictures": status.pictures[0],
        "partial": [
            {**path_fields("path", path), "indexed": part} for path, part in status.partial
        ],
        "ocr": asdict(status.ocr),
        "warm": [warm_record(each) for each in warm],
    }


def fields_record(library: Library, fields: Iterable[Field]) -> dict[str, object]:
    """Return the object of `status --fields --json`.

    library, library_b64 (string): folder of the library
    fields (object): what search can filter by: `kind`, `path`, `taken`, `camera`, `place`,
        `country`, `city`, `size`, `orientation`, `duration`, `suffix`, `title`, `author`,
        `keyword`, `rating`, `page` and `language`
    """
    return {
        **path_fields("library", os.fsencode(library.folder)),
        "fields": {each.name: _field_record(each) for each in fields},
    }


def _field_record(field: Field) -> dict[str, object]:
    """Return one of the `fields` of a library.

    options (list of strings): options of `search` for this field
    files (integer): number of files that have it
    values (object): number of files for each value, the most frequent first; of all but `title`,
        `page` and those with a range; `path` has the indexed folders
    least, most (string, list or number): range, where there is one: times in ISO 8601 of `taken`,
        dates in names included; `[width, height]` of `size`, for the fewest and the most pixels;
        `[latitude, longitude]` of `place`, the south-western and north-eastern corner of the
        narrowest box around all places; seconds of `duration`
    """
    values = {safe_text(name): count for name, count in field.values.items()}
    return present(
        {
            "options": list(field.options),
            "files": field.files,
            "values": values or None,
            "least": field.least,
            "most": field.most,
        }
    )


def check_record(problems: Iterable[Problem], repaired: Repair | None) -> dict[str, object]:
    """Return the object of `check --json`.

    problems (list of objects): damage, each with the `file` of the library and the `reason`
    kept, lost (integer): segments that `--repair` kept and lost
    without_words (integer): kept segments whose words the next `index` reads again
    """
    found: dict[str, object] = {"problems": [asdict(problem) for problem in problems]}
    if repaired is None:
        return found
    words = repaired.without_words
    return found | {"kept": repaired.kept, "lost": repaired.lost, "without_words": words}


def recall_record(recall: Recall) -> dict[str, object]:
    """Return the object of `check --recall --json`.

    rows (integer): number of rows of the library
    stored_queries, generic_queries (integer): number of queries of each sort
    recall_at_10 (number, 0 to 1): mean share of a query's ten best files that the first pass finds
    relevance_apart (number): largest difference in relevance from exact search
    first_pass_ms, exact_ms (number, milliseconds): median time from the vector to ten files
    """
    return {name: round(value, 6) for name, value in asdict(recall).items()}


def library_record(library: Shelved) -> dict[str, object]:
    """Return a library of `libraries --json`, one a line.

    name (string): name of the library
    folder (string): its folder
    is_default (boolean): whether it is used without `--library`
    size (integer, bytes): size on disk
    model (string): its model
    segments (integer): number of vectors
    files (object): number of files of each kind
    changed (string, ISO 8601 in UTC): time of the last change
    failed (integer): number of files that could not be indexed; absent if it is 0
    not_indexed (integer): number of files that an unfinished `index` has not reached; absent if
        it is 0
    problem (string): why it cannot be read
    """
    return present(
        {
            "name": library.name,
            "folder": str(library.folder),
            "is_default": library.is_default,
            "size": library.size,
            "model": library.model,
            "segments": library.segments,
            "files": dict(library.files) or None,
            "changed": library.changed,
            "failed": library.failed or None,
            "not_indexed": library.not_indexed or None,
            "problem": library.problem,
        }
    )
