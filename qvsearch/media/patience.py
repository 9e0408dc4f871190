"""How long a file may take to be decoded."""

from __future__ import annotations

from qvsearch.types import Item, Kind

# seconds by the wall clock, on a machine whose cores all compute vectors meanwhile: 100 megapixels
# of PNG took 50 there, and 4 on an idle one
PATIENCE = {Kind.IMAGE: 120.0, Kind.VIDEO: 120.0, Kind.TEXT: 60.0}
# a second more for each: what a slow network drive delivers, and what plays in that second
PATIENT_BYTES = 1_000_000
MOST_PATIENCE = 600.0  # meanwhile the files behind it wait


def patience(item: Item) -> float:
    """Return the seconds after which a file's decoder is taken to hang."""
    return min(PATIENCE[item.kind] + item.size / PATIENT_BYTES, MOST_PATIENCE)
