"""Files of one shot are one hit, and no copies of each other."""

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.commands import run  # noqa: F401 - a fixture
from support.near_duplicates import SHOT, row
from support.raw_files import dng, halves, jpeg
from support.videos import make

from qvsearch.cli.app import main
from qvsearch.demo.world import draw, scenes
from qvsearch.duplicates.groups import fold, same
from qvsearch.duplicates.shots import behind, is_one_shot, names_in_shot
from qvsearch.types import Kind, Metadata

LATER = replace(SHOT, taken="2024-05-01T11:00:00")
LIVE, LONG = Metadata(duration=2.9), Metadata(duration=60.0)


def film(name, metadata=LIVE):
    return row(name, Kind.VIDEO, start=0.0, end=2.9, metadata=metadata)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (row("IMG_1.CR2"), row("IMG_1.JPG")),
        (row("IMG_1.CR3", metadata=SHOT), row("img_1.heic", metadata=SHOT)),
        (row("PXL_1.RAW-01.COVER.jpg"), row("PXL_1.RAW-02.ORIGINAL.dng")),
        (row("PXL_1.RAW-01.MP.COVER.jpg"), row("PXL_1.RAW-02.ORIGINAL.dng")),
        (row("IMG_1.HEIC"), film("IMG_1.MOV")),
        (row("IMG_1.JPG", metadata=SHOT), film("IMG_1.mp4", replace(LIVE, taken="2024"))),
        (row("IMG_1.DNG"), film("IMG_1.MOV")),
    ],
)
def test_files_of_one_shot(one, other):
    assert is_one_shot(one, other)
    assert is_one_shot(other, one)
    assert same(one, other, cosine=0.0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (row("IMG_1.CR2"), row("IMG_2.JPG")),
        (row("a/IMG_1.CR2"), row("b/IMG_1.JPG")),
        (row("IMG_1.CR2", metadata=SHOT), row("IMG_1.JPG", metadata=LATER)),  # a second camera
        (row("IMG_1.CR2"), row("IMG_1.DNG")),
        (row("IMG_1.JPG"), row("IMG_1.PNG")),
        (row("IMG_1.JPG"), row("IMG_1.HEIC")),
        (row("IMG_1.PNG"), film("IMG_1.MOV")),
        (row("IMG_1.HEIC"), film("IMG_1.MOV", LONG)),
        (row("IMG_1.HEIC"), film("IMG_1.MOV", Metadata())),
        (row("IMG_1.HEIC"), film("IMG_1.avi")),
        (row("IMG_1.CR2"), row("IMG_1.txt", Kind.TEXT)),
    ],
)
def test_files_of_two_shots(one, other):
    assert not is_one_shot(one, other)


def test_a_shot_folds_whatever_its_vectors_are():
    rows = [row("b.JPG", dhash=1), film("a.MOV"), row("a.DNG"), row("a.JPG", dhash=2)]
    assert fold(rows, np.eye(4, dtype=np.float32)) == [0, 1, 1, 1]


def test_the_picture_is_shown_before_what_belongs_to_it():
    items = [each.item for each in (row("a.DNG"), row("a.JPG"), film("a.MOV"), row("b.DNG"))]
    assert behind(items) == {items[0], items[2]}
    assert behind(items[:1]) == set()


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """A raw file with its picture, and another picture, in a library of the demo model."""
    folder = tmp_path_factory.mktemp("shots") / "files"
    folder.mkdir()
    picture = jpeg(halves(600, 400))
    (folder / "IMG_1.DNG").write_bytes(dng(1200, 800, preview=picture))
    (folder / "IMG_1.JPG").write_bytes(picture)
    Image.effect_mandelbrot((320, 240), (-2, -1, 1, 1), 50).save(folder / "OTHER.png")
    options = ["--model", "demo", "--no-ocr", "-q", *where(folder)]
    assert main(["index", str(folder), *options]) == 0
    return folder


def where(folder):
    return ["-l", str(folder.parent / "library")]


def records(run, *command):
    return [json.loads(line) for line in run(*command, "--json")[1].splitlines()]


def test_a_raw_file_and_its_picture_are_one_hit(run, shots):
    hits = records(run, "search", "a red star", "--all", *where(shots))
    found = {Path(each["path"]).name: each for each in hits}
    assert found.keys() == {"IMG_1.JPG", "OTHER.png"}
    [raw] = found["IMG_1.JPG"]["duplicates"]
    assert raw["path"] == str(shots / "IMG_1.DNG")


@pytest.mark.parametrize("name", ["IMG_7.JPG", "IMG_7.MOV"])
def test_a_live_photo_is_one_hit_for_its_still_and_for_its_film(run, tmp_path, name):
    """Also if the film shows other things than the still."""
    rng = np.random.default_rng(5)
    still, shown, *others = (draw(each, rng) for each in islice(scenes(rng, held_out=True), 8))
    folder = tmp_path / "files"
    folder.mkdir()
    Image.fromarray(still).save(folder / "IMG_7.JPG")
    make(folder / "IMG_7.MOV", [shown] * 20, form="mov")
    for number, each in enumerate(others):
        Image.fromarray(each).save(folder / f"{number}.png")
    assert main(["index", str(folder), "--model", "demo", "--no-ocr", "-q", *where(folder)]) == 0
    first, *rest = records(run, "search", folder / name, *where(folder))
    assert first["path"] == str(folder / "IMG_7.JPG")
    assert [each["path"] for each in first["duplicates"]] == [str(folder / "IMG_7.MOV")]
    assert not {first["path"], str(folder / "IMG_7.MOV")} & {each["path"] for each in rest}


@pytest.mark.parametrize(
    ("path", "other"),
    [
        (b"a/IMG_1.MOV", b"a/IMG_1.heic"),
        (b"IMG_1.heic", b"IMG_1.MOV"),
        (b"IMG_1.dng", b"IMG_1.JPG"),
    ],
)
def test_the_names_that_files_of_one_shot_may_have(path, other):
    assert other in names_in_shot(path)
    assert names_in_shot(b"notes.txt") == names_in_shot(b"") == []


def test_a_raw_file_is_no_copy_to_delete(run, shots):
    assert records(run, "dupes", *where(shots)) == []
    raw, other = records(run, "similar", shots / "IMG_1.JPG", *where(shots))
    assert (raw["path"], raw["reason"]) == (str(shots / "IMG_1.DNG"), "shot")
    assert "reason" not in other
