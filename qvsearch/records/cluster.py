"""Records of `cluster --json`; the docstrings describe their fields."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.formats import path_fields, present
from qvsearch.records.library import segment_fields

if TYPE_CHECKING:
    from qvsearch.tasks.grouping.cluster import Cluster, ClusterItem
    from qvsearch.tasks.grouping.outliers import Outlier


def cluster_record(cluster: Cluster, library: Path) -> dict[str, object]:
    """Return a group of `cluster --json`, one a line; the largest is first, the outliers are last.

    id (integer): from 0; -1 for the files in no group
    name (string): what sets the group apart; absent if nothing does
    confidence (number, 0 to 1): how well the name separates the group from all other files: 0 as by
        chance, 1 if each of its files fits better than each other file
    name_from (string): `label`, `phrase`, `folder` or `word`
    size (integer): number of its items
    files (integer): number of its files, near-duplicates included
    items (list of objects): its files, the most central first
    library, library_b64 (string): folder of the library
    """
    name = cluster.name
    return present(
        {
            "id": cluster.id,
            "name": None if name is None else name.text,
            "confidence": None if name is None else round(name.confidence, 4),
            "name_from": None if name is None else name.source.value,
            "size": len(cluster.items),
            "files": cluster.files,
            "items": [_cluster_item_record(each) for each in cluster.items],
            **path_fields("library", os.fsencode(library)),
        }
    )


def _cluster_item_record(item: ClusterItem) -> dict[str, object]:
    """Return one of the `items` of a group of `cluster`.

    id (string): identity of the file in the library, as of a hit
    kind (string): `image`, `video`, `text` or `document`
    path, path_b64 (string): absolute path
    start, end (number, seconds): most central moment of a video
    lines (two integers): first and last line of the most central passage
    page (integer), section (string): place of the most central page or passage
    width, height (integer, pixels): of the upright picture
    centrality (number, -1 to 1): cosine with the mean of the group, apart from what all files have
        in common; of a file in no group with the nearest
    duplicates (list of objects): near-duplicates folded into the file, as `path` or `path_b64`
    """
    return present(
        {
            **segment_fields(item.segment),
            "centrality": round(item.centrality, 6),
            "duplicates": [path_fields("path", each.location) for each in item.duplicates] or None,
        }
    )


def outlier_record(outlier: Outlier, library: Path) -> dict[str, object]:
    """Return a file of `cluster --outliers --json`, one a line; the furthest is first.

    rank (integer): from 1
    factor (number): local outlier factor: the density around its neighbours as a multiple of its
        own; 1 is usual
    id (string): identity of the file in the library, as of a hit
    kind (string): `image`, `video`, `text` or `document`
    path, path_b64 (string): absolute path
    start, end (number, seconds): first moment of a video
    lines (two integers): first and last line of the first passage
    page (integer), section (string): place of the first page or passage
    width, height (integer, pixels): of the upright picture
    duplicates (list of objects): near-duplicates folded into the file, as `path` or `path_b64`
    library, library_b64 (string): folder of the library
    """
    return present(
        {
            "rank": outlier.rank,
            "factor": round(outlier.factor, 4),
            **segment_fields(outlier.segment),
            "duplicates": [path_fields("path", each.location) for each in outlier.duplicates]
            or None,
            **path_fields("library", os.fsencode(library)),
        }
    )
