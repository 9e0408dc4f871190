"""Local, private search over your own photos, videos, documents and texts.

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
    from qvsearch.runtime.inputs import prepare_picture
    from qvsearch.runtime.local import LocalEmbedder as Embedder
    from qvsearch.runtime.local import LocalReranker as Reranker
    from qvsearch.tasks.answers.ask import ask
    from qvsearch.tasks.answers.chat import ChatServer
    from qvsearch.tasks.answers.local_generator import LocalGenerator as Generator
    from qvsearch.tasks.embedding import embed
    from qvsearch.tasks.evaluation.evaluate import evaluate
    from qvsearch.tasks.evaluation.read_sets import read_set
    from qvsearch.tasks.evaluation.results import EvaluateOptions
    from qvsearch.tasks.export import export
    from qvsearch.tasks.grouping.cluster import ClusterOptions, cluster
    from qvsearch.tasks.grouping.outliers import outliers
    from qvsearch.tasks.labelling.classify import ClassifyOptions, classify
    from qvsearch.tasks.similarity import similarity
    from qvsearch.tasks.vector_files import write_vectors
    from qvsearch.types import EmbedInput, Kind, Skipped

__all__ = [
    "ChatServer",
    "ClassifyOptions",
    "ClusterOptions",
    "EmbedInput",
    "Embedder",
    "EvaluateOptions",
    "Filters",
    "Generator",
    "Kind",
    "Library",
    "Query",
    "Reranker",
    "SearchOptions",
    "Skipped",
    "ask",
    "classify",
    "cluster",
    "duplicate_groups",
    "embed",
    "evaluate",
    "explain",
    "export",
    "outliers",
    "parse_filters",
    "prepare_picture",
    "read_set",
    "search",
    "similar",
    "similarity",
    "write_vectors",
]

_PUBLIC = {
    "ChatServer": ("qvsearch.tasks.answers.chat", "ChatServer"),
    "ClassifyOptions": ("qvsearch.tasks.labelling.classify", "ClassifyOptions"),
    "ClusterOptions": ("qvsearch.tasks.grouping.cluster", "ClusterOptions"),
    "EmbedInput": ("qvsearch.types", "EmbedInput"),
    "Embedder": ("qvsearch.runtime.local", "LocalEmbedder"),
    "EvaluateOptions": ("qvsearch.tasks.evaluation.results", "EvaluateOptions"),
    "Filters": ("qvsearch.library.filters", "Filters"),
    "Generator": ("qvsearch.tasks.answers.local_generator", "LocalGenerator"),
    "Kind": ("qvsearch.types", "Kind"),
    "Library": ("qvsearch.library.library", "Library"),
    "Query": ("qvsearch.retrieval.query", "Query"),
    "Reranker": ("qvsearch.runtime.local", "LocalReranker"),
    "SearchOptions": ("qvsearch.retrieval.pipeline", "SearchOptions"),
    "Skipped": ("qvsearch.types", "Skipped"),
    "ask": ("qvsearch.tasks.answers.ask", "ask"),
    "classify": ("qvsearch.tasks.labelling.classify", "classify"),
    "cluster": ("qvsearch.tasks.grouping.cluster", "cluster"),
    "duplicate_groups": ("qvsearch.duplicates.groups", "duplicate_groups"),
    "embed": ("qvsearch.tasks.embedding", "embed"),
    "evaluate": ("qvsearch.tasks.evaluation.evaluate", "evaluate"),
    "explain": ("qvsearch.retrieval.explain", "explain"),
    "export": ("qvsearch.tasks.export", "export"),
    "outliers": ("qvsearch.tasks.grouping.outliers", "outliers"),
    "parse_filters": ("qvsearch.library.filters", "parse_filters"),
    "prepare_picture": ("qvsearch.runtime.inputs", "prepare_picture"),
    "read_set": ("qvsearch.tasks.evaluation.read_sets", "read_set"),
    "search": ("qvsearch.retrieval.pipeline", "search"),
    "similar": ("qvsearch.retrieval.similar", "similar"),
    "similarity": ("qvsearch.tasks.similarity", "similarity"),
    "write_vectors": ("qvsearch.tasks.vector_files", "write_vectors"),
}


def __getattr__(name: str) -> object:
    """Load a public name at its first use, so that `import qvsearch` costs nothing."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'qvsearch' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    return getattr(import_module(module), attribute)
