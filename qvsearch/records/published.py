"""Records of the tables that many computers share.

The docstring of each function describes its fields; `docs/json.md` is generated from them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qvsearch.formats import present

if TYPE_CHECKING:
    from qvsearch.published.publishing import Outcome, Progress


def commit_record(progress: Progress) -> dict[str, object]:
    """Return a commit of `publish --json`: what it counts is in the table for good.

    state (string): `committed`
    rows (integer): number of rows that this run has committed
    of (integer): number of rows that it has to commit
    files (integer): number of their files
    version (integer): number of the commit in the table
    """
    return {
        "state": "committed",
        "rows": progress.rows,
        "of": progress.of,
        "files": progress.files,
        "version": progress.version,
    }


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
    interrupted (boolean): true after Ctrl-C
    """
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
            "interrupted": outcome.interrupted or None,
        }
    )
