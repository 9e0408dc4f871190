"""Find the pairs of rows that may be near-duplicates: what the rule asks for leaves traces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qvsearch.sameness import ABSENT, BURST_SECONDS, COPY_BITS

if TYPE_CHECKING:
    from qvsearch.sameness import Numbers, Traits


def few(of: Traits) -> tuple[Numbers, Numbers]:
    """Return all pairs (i, j), i before j, of a few hundred rows that may be the same."""
    near = np.bitwise_count(of.dhash[:, None] ^ of.dhash) <= COPY_BITS
    near &= of.hashed[:, None] & of.hashed
    near |= np.abs(of.taken[:, None] - of.taken) <= BURST_SECONDS
    near |= (of.content[:, None] == of.content) & (of.content != ABSENT)
    near |= (of.words[:, None] == of.words) & (of.words != ABSENT)
    near |= of.clip[:, None] & of.clip
    i, j = np.nonzero(np.triu(near, 1))
    return i, j
