"""Local, private search over your own photos, videos and texts; importing it loads nothing."""

from importlib import import_module
from typing import TYPE_CHECKING

from qvsearch.version import __version__ as __version__

if TYPE_CHECKING:
    from qvsearch.duplicates.groups import duplicate_groups
    from qvsearch.library.library import Library
    from qvsearch.retrieval.explain import explain
    from qvsearch.retrieval.pipeline import search
    from qvsearch.retrieval.similar import similar
    from qvsearch.runtime.local import LocalEmbedder as Embedder
    from qvsearch.runtime.local import LocalReranker as Reranker

__all__ = ["Embedder", "Library", "Reranker", "duplicate_groups", "explain", "search", "similar"]

_PUBLIC = {
    "Embedder": ("qvsearch.runtime.local", "LocalEmbedder"),
    "Library": ("qvsearch.library.library", "Library"),
    "Reranker": ("qvsearch.runtime.local", "LocalReranker"),
    "duplicate_groups": ("qvsearch.duplicates.groups", "duplicate_groups"),
    "explain": ("qvsearch.retrieval.explain", "explain"),
    "search": ("qvsearch.retrieval.pipeline", "search"),
    "similar": ("qvsearch.retrieval.similar", "similar"),
}


def __getattr__(name: str) -> object:
    """Load a public name at its first use, so that `import qvsearch` costs nothing."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'qvsearch' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    return getattr(import_module(module), attribute)
