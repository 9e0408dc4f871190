"""Records of `watch`.

The docstring of each function describes its fields; `docs/json.md` is generated from them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qvsearch.formats import path_fields, present

if TYPE_CHECKING:
    from qvsearch.freshness.followed import Notice


def notice_record(notice: Notice) -> dict[str, object]:
    """Return a notice of `watch --json`, one a line; its other lines are those of `index --json`.

    state (string): `watching` or `polling` a root, which is `away` or `back`; `lost` its changes
        and scans it; `battery` or `power`, on which it waits or goes on; `retry` what failed
    path, path_b64 (string): the root
    reason (string): why it polls, or what failed
    """
    path = {} if notice.root is None else path_fields("path", notice.root)
    return present({"state": notice.state, **path, "reason": notice.reason})
