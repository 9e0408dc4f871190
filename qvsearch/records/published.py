"""Records of the tables that many computers share.

The docstring of each function describes its fields; `docs/json.md` is generated from them.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING

from qvsearch.formats import path_fields, present
from qvsearch.types import skipped_fields

if TYPE_CHECKING:
    from qvsearch.published.mapped_roots import PublishedRoot
    from qvsearch.published.publishing import Outcome, Progress
    from qvsearch.published.status import TableStatus


def commit_record(progress: Progress) -> dict[str, object]:
    """Return a commit of `publish --json`: what it counts is in the table for good.

    state (string): `committed`, or `upkeep` if indices are built or files merged now
    rows (integer): number of rows that this run has committed
    of (integer): number of rows that it has to commit
    files (integer): number of their files
    version (integer): number of the commit in the table
    thumbnails, of_thumbnails (integer): number of thumbnails committed, and of those to commit
    """
    record: dict[str, object] = {
        "state": "upkeep" if progress.upkeep else "committed",
        "rows": progress.rows,
        "of": progress.of,
        "files": progress.files,
        "version": progress.version,
    }
    if progress.of_pictures:
        record |= {"thumbnails": progress.pictures, "of_thumbnails": progress.of_pictures}
    return record


def outcome_record(outcome: Outcome) -> dict[str, object]:
    """Return the last line of `publish --json`: files = added + changed + unchanged + left.

    state (string): `summary`
    name (string): the library's name in the table
    files (integer): number of files of the library; 0 with `--remove`
    added, changed, unchanged (integer): number of new, changed and unchanged files
    left (integer): number of files that an interrupted run did not reach
    removed (integer): number of files that were deleted from the table
    rows (integer): number of rows that were sent, or with `--remove` deleted
    seconds (number): duration of the run
    thumbnails (integer): number of thumbnails that were sent, with `--thumbnails`
    skipped (list of objects): files without a thumbnail: `path` or `path_b64`, and `reason`
    interrupted (boolean): true after Ctrl-C
    """
    pictures = outcome.pictures
    skipped = () if pictures is None else pictures.skipped
    return present(
        {
            "state": "summary",
            "name": outcome.name,
            "files": outcome.files,
            "added": outcome.added,
            "changed": outcome.changed,
            "unchanged": outcome.unchanged,
            "left": outcome.left,
            "removed": outcome.removed,
            "rows": outcome.rows,
            "seconds": round(outcome.seconds, 3),
            "thumbnails": None if pictures is None else pictures.sent,
            "skipped": skipped_fields(skipped) or None,
            "interrupted": outcome.interrupted or None,
        }
    )


def root_record(root: PublishedRoot) -> dict[str, object]:
    """Return a root of `roots --json -l LANCE-URI`, one a line, and the object of `roots map`.

    name (string): name in the table: the publisher, a slash, and the folder's name
    files (integer): number of its files
    path, path_b64 (string): absolute path of its folder on this computer; absent if not mapped
    reachable (boolean): whether that folder is there now
    """
    path = {} if root.path is None else path_fields("path", root.path)
    return {"name": root.name, "files": root.files, **path, "reachable": root.reachable}


def table_record(status: TableStatus) -> dict[str, object]:
    """Return the object of `status --json -l LANCE-URI`.

    library, library_b64 (string): address of the table
    version (integer): number of the last commit in it
    model (object): the model and how it encodes, as of a library
    files, segments (object): numbers by kind
    indexed (boolean): whether the vectors have an index
    loose (integer): segments that are in no index yet; a search compares them one by one
    publishers (list of objects): `name`, `files`, `segments`, `published` (ISO 8601 in UTC), and
        `whole`, which is false while a run is going on, or after one was killed
    roots (list of objects): as of `roots --json -l LANCE-URI`
    """
    return {
        **path_fields("library", os.fsencode(status.folder)),
        "version": status.version,
        "model": present(asdict(status.fingerprint)),
        "files": dict(status.files),
        "segments": dict(status.rows),
        "indexed": status.indexed,
        "loose": status.loose,
        "publishers": [
            {
                "name": each.name,
                "files": each.files,
                "segments": each.rows,
                "published": each.published,
                "whole": bool(each.token),
            }
            for each in status.publishers
        ],
        "roots": [root_record(each) for each in status.roots],
    }
