"""Generic queries that stand for all others: everyday ones, and those of the demo's world.

The baseline of each library is made of their vectors, and a model server is compared with these. A
changed line changes the baselines of all new libraries, and those of old ones no longer fit.
"""

from __future__ import annotations

from pathlib import Path

from qvsearch.models.registry import DEMO


def _lines(name: str) -> tuple[str, ...]:
    return tuple(Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines())


QUERIES = _lines("generic_queries.txt")


def queries(model: str) -> tuple[str, ...]:
    """Return the generic queries for a model: those of the demo's world for the demo's model."""
    return _lines("generic_queries_demo.txt") if model == DEMO else QUERIES
