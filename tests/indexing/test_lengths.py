"""Films are counted, before they are decoded, by the lengths that their headers tell."""

import os

import pytest
from support.indexer import (
    Bench,
    bench,  # noqa: F401 - fixtures
)
from support.moving_videos import moving, still
from support.videos import make

from qvsearch.media.workers import film_lengths
from qvsearch.types import Kind

__all__ = ["bench"]


def test_lengths_are_those_of_the_headers(tmp_path):
    forms = {"a.mp4": "mp4", "b.mkv": "matroska", "c.avi": "avi", "d.mpg": "mpegts"}
    for seconds, (name, form) in enumerate(forms.items(), 2):
        make(tmp_path / name, moving(1, seconds), form=form, rate=10)
    (tmp_path / "e.mp4").write_bytes(b"<html>" * 100)
    paths = sorted(tmp_path.iterdir())
    found = film_lengths([*paths, tmp_path / "gone.mp4"], 60.0)
    assert {path.name: seconds for path, seconds in found.items()} == {
        name: pytest.approx(seconds, abs=0.2) for seconds, name in enumerate(forms, 2)
    }
    assert film_lengths(paths, 0.0) == {}
    assert film_lengths([], 60.0) == {}


def test_a_plan_counts_films_as_indexing_does(bench: Bench):
    for number in range(2):
        scenes = [*moving(number, 20), *still(number, 20), *moving(number + 9, 20)]
        make(bench.root / f"{number}.mp4", scenes, rate=10)
    planned = bench.plan()
    assert bench.plan().by_kind == planned.by_kind  # which films are looked into is no lottery
    segments = bench.index().segments
    assert (
        max(os.stat(each).st_size for each in bench.root.iterdir()) < 1_000_000
    )  # each would be one moment by its size
    assert segments / 2 <= planned.by_kind[Kind.VIDEO] <= 2 * segments
