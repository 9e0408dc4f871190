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
    from qvsearch.tasks.evaluate import evaluate
    from qvsearch.tasks.evaluation_results import EvaluateOptions
    from qvsearch.tasks.read_sets import read_set
    from qvsearch.types import EmbedInput, Kind

__all__ = [
    "EmbedInput",
    "Embedder",
    "EvaluateOptions",
    "Filters",
    "Kind",
    "Library",
    "Query",
    "Reranker",
    "SearchOptions",
    "duplicate_groups",
    "evaluate",
    "explain",
    "parse_filters",
    "read_set",
    "search",
    "similar",
]

_PUBLIC = {
    "EmbedInput": ("qvsearch.types", "EmbedInput"),
    "Embedder": ("qvsearch.runtime.local", "LocalEmbedder"),
    "EvaluateOptions": ("qvsearch.tasks.evaluation_results", "EvaluateOptions"),
    "Filters": ("qvsearch.library.filters", "Filters"),
    "Kind": ("qvsearch.types", "Kind"),
    "Library": ("qvsearch.library.library", "Library"),
    "Query": ("qvsearch.retrieval.query", "Query"),
    "Reranker": ("qvsearch.runtime.local", "LocalReranker"),
    "SearchOptions": ("qvsearch.retrieval.pipeline", "SearchOptions"),
    "duplicate_groups": ("qvsearch.duplicates.groups", "duplicate_groups"),
    "evaluate": ("qvsearch.tasks.evaluate", "evaluate"),
    "explain": ("qvsearch.retrieval.explain", "explain"),
    "parse_filters": ("qvsearch.library.filters", "parse_filters"),
    "read_set": ("qvsearch.tasks.read_sets", "read_set"),
    "search": ("qvsearch.retrieval.pipeline", "search"),
    "similar": ("qvsearch.retrieval.similar", "similar"),
}


def __getattr__(name: str) -> object:
    """Load a public name at its first use, so that `import qvsearch` costs nothing."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'qvsearch' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    return getattr(import_module(module), attribute)
