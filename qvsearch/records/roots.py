"""Records of the folders that a library follows, and of what `watch` reports.

The docstring of each function describes its fields; `docs/json.md` is generated from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qvsearch.formats import path_fields, present, utc_text

if TYPE_CHECKING:
    from qvsearch.freshness.followed import Notice
    from qvsearch.indexing.roots import Root
    from qvsearch.library.moving import Match


def root_record(root: Root, last_run: float | None) -> dict[str, object]:
    """Return a root of `roots --json`, one a line.

    path, path_b64 (string): absolute path of the folder or file
    reachable (boolean): whether it is there now
    items (object): number of its files in the library, by kind
    file_system (string): type of its file system, e.g. `ext4`, if the system has a list of mounts
    include, exclude (list of strings): its remembered patterns
    kinds (list of strings): the only kinds that its runs took; absent for all
    hidden, follow_symlinks (boolean): true if one of its runs took such files
    last_run (string, ISO 8601 in UTC): when a command last changed or checked the library
    """
    rules = root.rules
    return present(
        {
            **path_fields("path", root.path),
            "reachable": root.reachable,
            "items": {kind.value: count for kind, count in root.items.items() if count},
            "file_system": root.file_system,
            "include": list(rules.include) or None,
            "exclude": list(rules.exclude) or None,
            "kinds": [kind.value for kind in rules.kinds] or None,
            "hidden": rules.hidden or None,
            "follow_symlinks": rules.follow_symlinks or None,
            "last_run": None if last_run is None else utc_text(int(last_run * 1e9)),
        }
    )


def move_record(moves: Mapping[bytes, bytes], match: Match) -> dict[str, object]:
    """Return the object of `roots move --json`.

    moved (list of objects): the roots that have new paths: `path` or `path_b64` now, and `before`
        or `before_b64`
    compared (integer): number of files that were compared
    same (integer): those that are the same at the new place, by size and time or by content
    """
    return {
        "moved": [
            {**path_fields("path", new), **path_fields("before", old)} for old, new in moves.items()
        ],
        "compared": match.compared,
        "same": match.same,
    }


def notice_record(notice: Notice) -> dict[str, object]:
    """Return a notice of `watch --json`, one a line; its other lines are those of `index --json`.

    state (string): `watching` or `polling` a root, which is `away` or `back`; `lost` its changes
        and scans it; `battery` or `power`, on which it waits or goes on; `retry` what failed
    path, path_b64 (string): the root
    reason (string): why it polls, or what failed
    """
    path = {} if notice.root is None else path_fields("path", notice.root)
    return present({"state": notice.state, **path, "reason": notice.reason})
