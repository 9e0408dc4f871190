"""Which shards a commit writes again, as one or without their dead rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from qvsearch.files import MIB

if TYPE_CHECKING:
    from qvsearch.library.shards import Shard

TIERS = (1 * MIB, 8 * MIB, 64 * MIB)  # sizes that divide small shards into classes
MERGE = 8  # so many shards at the end, none of a higher class than the last, become one
MOST_DEAD = 0.25  # of a shard's rows; a shard with more is rewritten
_LINE = 256  # bytes of a row's line, roughly


def merge_plan(shards: Iterable[Shard]) -> list[list[Shard]]:
    """Return the shards that have live rows, in order, grouped by the file they should share.

    Only shards at the end are merged, and only when MERGE of them have gathered. So a row is
    written a few times in its life, however many commits there are.
    """
    groups = [[shard] for shard in shards if shard.live]
    while groups:
        tiers = [_tier(group) for group in groups]
        run = 0
        while run < len(groups) and tiers[-1 - run] <= tiers[-1] < len(TIERS):
            run += 1
        if run < MERGE:
            break
        groups[-run:] = [[shard for group in groups[-run:] for shard in group]]
    return groups


def needs_writing(group: Sequence[Shard]) -> bool:
    """Return whether a group of the plan is anything but one shard on disk with few dead rows.

    A shard on disk without the present backgrounds is rewritten, too: once in a library's life.
    """
    shard = group[0]
    return (
        len(group) > 1
        or shard.file is None
        or shard.file.bank != shard.baseline
        or len(shard.store) - shard.live > MOST_DEAD * len(shard.store)
    )


def _tier(group: Sequence[Shard]) -> int:
    size = sum(shard.live * (shard.store.form.row_size + _LINE) for shard in group)
    return sum(size >= limit for limit in TIERS)
