"""Groups of a library's files that show or say the like, each with a name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.library.filters import Filters
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.retrieval.calibration import ANSWERED, CUT, evidence_of
from qvsearch.retrieval.first_pass import rank_all
from qvsearch.retrieval.query import Query, parse_query, read_terms
from qvsearch.retrieval.scoring import embed_terms
from qvsearch.retrieval.selection import allowed_rows
from qvsearch.runtime.loading import own_embedder
from qvsearch.tasks.extras import needed
from qvsearch.tasks.grouping.item_vectors import central_rows, item_vectors, library_items, space_of
from qvsearch.tasks.grouping.names import Name, group_names
from qvsearch.tasks.grouping.vector_groups import (
    NONE,
    default_size,
    density_groups,
    group_means,
    kmeans_groups,
)
from qvsearch.tasks.labelling.labels import as_labels, label_vectors
from qvsearch.types import Item, Segment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.library import Library
    from qvsearch.tasks.grouping.item_vectors import Items, Space
    from qvsearch.types import Embedder, Vectors

    Mask = NDArray[np.bool_]
    Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Which files are grouped, and how.

    `groups` is the number of groups; by default the density of the files decides. `min_files` is
    the least number of files in a group (default: by the number of files, 3 to 50). `labels` are
    possible names, perhaps with phrasings as for `classify`. `dedupe` folds near-duplicates into
    one file. Raises QvsearchError for numbers out of range and empty labels.
    """

    filters: Filters = Filters()
    groups: int | None = None
    min_files: int | None = None
    labels: Collection[str] | Mapping[str, Sequence[str]] = ()
    dedupe: bool = True

    def __post_init__(self) -> None:
        """Raise QvsearchError for numbers out of range, and for two of them."""
        if self.groups is not None and self.groups < 1:
            raise QvsearchError(f"groups is {self.groups}; it must be at least 1")
        if self.min_files is not None and self.min_files < 2:
            raise QvsearchError(f"min_files is {self.min_files}; it must be at least 2")
        if self.groups is not None and self.min_files is not None:
            raise QvsearchError("--groups and --min-files exclude each other; give one of them")
        as_labels(self.labels)


@dataclass(frozen=True, slots=True)
class ClusterItem:
    """A file of a group.

    `segment` is its only one, or the most central. `centrality` is the cosine with the mean of the
    group, apart from what all files share. `duplicates` are the near-duplicates folded into it.
    """

    segment: Segment
    centrality: float
    duplicates: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Cluster:
    """A group of files, the most central first; `id` counts from 0, and is -1 for outliers.

    Outliers are in no group; their centrality is that of the nearest one.
    """

    id: int
    name: Name | None
    items: tuple[ClusterItem, ...]

    @property
    def files(self) -> int:
        """The number of files, near-duplicates included."""
        return sum(1 + len(each.duplicates) for each in self.items)


def cluster(
    library: Library,
    query: Query | str | Path | None = None,
    embedder: Embedder | None = None,
    options: ClusterOptions | None = None,
) -> list[Cluster]:
    """Return groups of a library's files, the largest first, and the outliers last, if any.

    A query (words, a path, or both) limits them to the files, moments and passages that answer it.
    The same library gives the same groups. Without an embedder the library's own model is loaded,
    for a query or labels only. Raises QvsearchError for an empty library, for more groups than
    files, and without scikit-learn.
    """
    parsed = query if query is None or isinstance(query, Query) else parse_query(str(query))
    return find_clusters(
        library, parsed, options or ClusterOptions(), lambda: embedder or own_embedder(library)
    )


def find_clusters(
    library: Library, query: Query | None, options: ClusterOptions, load: Callable[[], Embedder]
) -> list[Cluster]:
    """Do what `cluster` does, loading a model only if there are words to embed."""
    needed("sklearn", "scikit-learn", "qvsearch cluster")
    mask = chosen_rows(library, query, options.filters, load)
    items = library_items(library, mask, dedupe=options.dedupe)
    if options.groups is not None and options.groups > len(items):
        raise QvsearchError(
            f"--groups {options.groups} is more than the {len(items)} different files;"
            " give a smaller number, or leave it out"
        )
    if not len(items):
        return []
    space = space_of(library, items)
    vectors = item_vectors(library, items, space)
    if options.groups is None:
        labels = density_groups(vectors, options.min_files or default_size(len(items)))
    else:
        labels = kmeans_groups(vectors, options.groups)
    own = as_labels(options.labels)
    # they name groups as a query would find their files
    words = label_vectors(own, load(), QUERY_INSTRUCTION) if own else np.empty((0, 0), np.float32)
    names = group_names(library, items, labels, [each.name for each in own], words)
    return _clusters(library, items, space, vectors, labels, names)


def chosen_rows(
    library: Library, query: Query | None, filters: Filters, load: Callable[[], Embedder]
) -> Mask:
    """Return the mask (size,) of rows that pass the filters and, with a query, answer it.

    A row answers from the relevance on from which `search` shows hits. Raises QvsearchError without
    rows.
    """
    mask = allowed_rows(library, filters)
    if query is None or not mask.any():
        return mask
    terms = embed_terms(read_terms(query, library.fingerprint.decode_options), load)
    evidence = np.where(mask, rank_all(library, terms, mask).evidence, -np.inf)
    answered = evidence.max() >= evidence_of(ANSWERED)
    answering: Mask = (evidence >= evidence_of(CUT)) & answered
    return answering


def _clusters(
    library: Library,
    items: Items,
    space: Space,
    vectors: Vectors,
    labels: Labels,
    names: Sequence[Name | None],
) -> list[Cluster]:
    """Return the groups as records."""
    nearest, cosines = labels, np.zeros(len(items), np.float32)
    directions = np.zeros_like(vectors)
    if names:
        grouped = labels != NONE
        means = group_means(vectors[grouped], labels[grouped], len(names))
        nearest = np.where(grouped, labels, (vectors @ means.T).argmax(axis=1))
        directions = means[nearest]
        cosines = np.einsum("nd,nd->n", vectors, directions)
    rows = central_rows(library, items, space, directions)
    clusters = []
    for number, name in [*enumerate(names), (NONE, None)]:
        members = np.flatnonzero(labels == number)
        members = members[np.argsort(-cosines[members], kind="stable")]
        listed = tuple(
            ClusterItem(
                library.segments[int(rows[place])], float(cosines[place]), items.duplicates[place]
            )
            for place in members.tolist()
        )
        if listed:
            clusters.append(Cluster(number, name, listed))
    return clusters
