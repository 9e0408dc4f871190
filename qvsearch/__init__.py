"""Local, private search over your own photos, videos and texts.

The names of `__all__` are public. Each is loaded at its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from qvsearch.version import __version__ as __version__

if TYPE_CHECKING:
    from qvsearch.duplicates.groups import duplicate_groups
    from qvsearch.library.filters import Filters, parse_filters
    from qvsearch.library.library import Library
    from qvsearch.retrieval.explain import explain
    from qvsearch.retrieval.pipeline import SearchOptions, search
    from qvsearch.retrieval.query import Query
    from qvsearch.retrieval.similar import similar
    from qvsearch.runtime.local import LocalEmbedder as Embedder
    from qvsearch.runtime.local import LocalReranker as Reranker
    from qvsearch.tasks.cluster import ClusterOptions, cluster
    from qvsearch.tasks.outliers import outliers
    from qvsearch.types import EmbedInput, Kind

__all__ = [
    "ClusterOptions",
    "EmbedInput",
    "Embedder",
    "Filters",
    "Kind",
    "Library",
    "Query",
    "Reranker",
    "SearchOptions",
    "cluster",
    "duplicate_groups",
    "explain",
    "outliers",
    "parse_filters",
    "search",
    "similar",
]

_PUBLIC = {
    "ClusterOptions": ("qvsearch.tasks.cluster", "ClusterOptions"),
    "EmbedInput": ("qvsearch.types", "EmbedInput"),
    "Embedder": ("qvsearch.runtime.local", "LocalEmbedder"),
    "Filters": ("qvsearch.library.filters", "Filters"),
    "Kind": ("qvsearch.types", "Kind"),
    "Library": ("qvsearch.library.library", "Library"),
    "Query": ("qvsearch.retrieval.query", "Query"),
    "Reranker": ("qvsearch.runtime.local", "LocalReranker"),
    "SearchOptions": ("qvsearch.retrieval.pipeline", "SearchOptions"),
    "cluster": ("qvsearch.tasks.cluster", "cluster"),
    "duplicate_groups": ("qvsearch.duplicates.groups", "duplicate_groups"),
    "explain": ("qvsearch.retrieval.explain", "explain"),
    "outliers": ("qvsearch.tasks.outliers", "outliers"),
    "parse_filters": ("qvsearch.library.filters", "parse_filters"),
    "search": ("qvsearch.retrieval.pipeline", "search"),
    "similar": ("qvsearch.retrieval.similar", "similar"),
}


def __getattr__(name: str) -> object:
    """Load a public name at its first use, so that `import qvsearch` costs nothing."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'qvsearch' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    return getattr(import_module(module), attribute)
