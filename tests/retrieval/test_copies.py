"""A query by a file finds the file itself and its copies first, as good as certain."""

import json
import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from qvsearch.cli.app import main
from qvsearch.demo.world import draw, random_scene, recoloured
from qvsearch.library.library import Library
from qvsearch.retrieval.calibration import CUT
from qvsearch.retrieval.pipeline import SearchOptions, search
from qvsearch.retrieval.query import Query, parse_query

SIZE = (640, 480)
PHOTOS = 16
SURE = 0.99
NOTES = {
    "bread.txt": "Mix flour, water, salt and yeast. Let the dough rest overnight.\nBake it hot.\n",
    "hike.txt": "We left the hut at six and reached the ridge before the clouds came.\n",
    "bill.txt": "The electrician repaired two sockets in the kitchen and sent a bill.\n",
}


def photo_like(seed):
    """Smooth patches of several sizes in a main colour, lit from one side, as photos are."""
    rng = np.random.default_rng(seed)
    width, height = SIZE
    total = np.full((height, width, 3), rng.uniform(30, 225, 3))
    for cells, strength in ((2, 60), (4, 40), (8, 25), (20, 12)):
        patches = rng.normal(0, 1, (cells * 3 // 4 + 1, cells + 1, 3))
        planes = [
            np.asarray(Image.fromarray(patches[..., n].astype(np.float32)).resize(SIZE, 3))
            for n in range(3)
        ]
        total += strength * np.stack(planes, axis=-1)
    light = np.linspace(-1, 1, width)[None, :, None] * rng.normal(0, 30)
    return Image.fromarray((total + light).clip(0, 255).astype(np.uint8))


def write_film(path, pictures, seconds=3, rate=6):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for picture in pictures:
            for _ in range(seconds * rate):
                container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())


def frame_of(path, second):
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.time >= second:
                return frame.to_image()
    raise AssertionError("the film is shorter")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Photos, notes and a film of two scenes, indexed with the demo's model."""
    folder = tmp_path_factory.mktemp("copies") / "files"
    folder.mkdir()
    for seed in range(PHOTOS):
        photo_like(seed).save(folder / f"photo-{seed}.jpg", quality=90)
    for name, text in NOTES.items():
        (folder / name).write_text(text)
    write_film(folder / "film.mp4", [photo_like(100), photo_like(101)])
    write_film(folder / "other.mp4", [photo_like(102), photo_like(103)])
    library = str(folder.parent / "library")
    assert main(["index", str(folder), "--model", "demo", "-l", library, "-q"]) == 0
    return folder


@pytest.fixture(scope="module")
def library(files):
    return Library.open(files.parent / "library")


@pytest.fixture
def hits(library, demo_embedder):
    def hits(query, **options):
        if not isinstance(query, Query):
            query = parse_query(str(query))
        return search(library, query, demo_embedder, SearchOptions(top=100, **options))

    return hits


def names(hit):
    items = [hit.segment.item, *hit.duplicates]
    return {Path(os.fsdecode(item.location)).name for item in items}


def relevance_by_name(found):
    return {name: hit.relevance for hit in found for name in names(hit)}


def halved(picture):
    return picture.resize((SIZE[0] // 2, SIZE[1] // 2), Image.Resampling.LANCZOS), 90


def saved_again(picture):
    return picture, 40


def cropped(picture):
    """Without 2 % on each side."""
    x, y = round(SIZE[0] * 0.02), round(SIZE[1] * 0.02)
    return picture.crop((x, y, SIZE[0] - x, SIZE[1] - y)), 90


@pytest.mark.parametrize(
    "name",
    [*(f"photo-{seed}.jpg" for seed in range(0, PHOTOS, 5)), *NOTES, "film.mp4", "other.mp4"],
)
def test_a_file_finds_itself_first(files, hits, name):
    first, *others = hits(files / name)
    assert names(first) == {name}
    assert first.relevance >= SURE
    assert all(hit.relevance < first.relevance for hit in others)


@pytest.mark.parametrize("name", ["photo-3.jpg", "bread.txt", "film.mp4"])
def test_a_file_is_found_under_another_name(files, hits, tmp_path, name):
    copy = tmp_path / f"renamed{Path(name).suffix}"
    shutil.copy(files / name, copy)
    first = hits(copy)[0]
    assert names(first) == {name}
    assert first.relevance >= SURE


@pytest.mark.parametrize("change", [halved, saved_again, cropped])
@pytest.mark.parametrize("seed", [2, 7, 9, 12])
def test_a_changed_copy_finds_the_picture_first(files, hits, tmp_path, seed, change):
    with Image.open(files / f"photo-{seed}.jpg") as picture:
        picture.load()
    made, quality = change(picture)
    made.save(tmp_path / "copy.jpg", quality=quality)
    first, *others = hits(tmp_path / "copy.jpg")
    assert names(first) == {f"photo-{seed}.jpg"}
    assert first.relevance >= SURE
    assert all(hit.relevance < SURE for hit in others)


@pytest.mark.parametrize(("name", "second"), [("film.mp4", 1), ("film.mp4", 4), ("other.mp4", 4)])
def test_a_frame_saved_from_a_video_finds_the_moment(files, hits, tmp_path, name, second):
    frame_of(files / name, second).save(tmp_path / "frame.jpg", quality=85)
    first = hits(tmp_path / "frame.jpg")[0]
    assert names(first) == {name}
    assert first.relevance >= SURE
    assert first.segment.start <= second <= first.segment.end


@pytest.mark.parametrize("seed", [50, 51, 52, 53])
def test_a_different_picture_is_no_copy(hits, tmp_path, seed):
    photo_like(seed).save(tmp_path / "new.jpg", quality=90)
    found = hits(tmp_path / "new.jpg", min_relevance=0, dedupe=False)
    assert len(found) == PHOTOS + len(NOTES) + 2
    assert max(hit.relevance for hit in found) < SURE


def test_a_drawing_in_another_colour_is_no_copy(tmp_path, demo_embedder):
    """Its hash is the same: what tells them apart is the vector."""
    rng = np.random.default_rng(8)
    folder = tmp_path / "drawn"
    folder.mkdir()
    drawn = [random_scene(rng) for _ in range(40)]
    for number, scene in enumerate(drawn):
        Image.fromarray(draw(scene, rng)).save(folder / f"{number}.png")
    assert main(["index", str(folder), "-l", str(tmp_path / "library"), "--model", "demo"]) == 0
    library = Library.open(tmp_path / "library")
    wrong = 0
    for number, scene in enumerate(drawn[:20]):
        path = tmp_path / "asked.png"
        Image.fromarray(draw(recoloured(scene, rng)[0], rng)).save(path)
        hits = search(
            library, Query(file=os.fsencode(path)), demo_embedder, SearchOptions(min_relevance=0)
        )
        first = hits[0].segment.item.location
        wrong += hits[0].relevance >= SURE and not first.endswith(b"/%d.png" % number)
    assert wrong == 0, "of 20, another scene is taken for a copy"


def test_a_different_note_is_no_copy(hits, tmp_path):
    (tmp_path / "new.txt").write_text("The train to the coast leaves every second hour.\n")
    found = hits(tmp_path / "new.txt", min_relevance=0, dedupe=False)
    assert max(hit.relevance for hit in found) < SURE


def test_an_example_finds_its_copy_as_a_query_does(files, hits):
    query = Query(like=(os.fsencode(files / "photo-2.jpg"),))
    first = hits(query)[0]
    assert (names(first), first.relevance >= SURE) == ({"photo-2.jpg"}, True)


@pytest.mark.parametrize("name", ["photo-4.jpg", "bread.txt", "film.mp4"])
def test_a_copy_of_what_is_not_wanted_is_left_out(files, hits, tmp_path, name):
    copy = tmp_path / f"unwanted{Path(name).suffix}"
    shutil.copy(files / name, copy)
    wanted = os.fsencode(files / name)
    found = relevance_by_name(hits(Query(file=wanted), min_relevance=0, dedupe=False))
    assert found[name] >= SURE
    query = Query(file=wanted, unlike=(os.fsencode(copy),))
    assert name not in relevance_by_name(hits(query, dedupe=False))
    found = relevance_by_name(hits(query, min_relevance=0, dedupe=False))
    assert found[name] < 0.02 < CUT


def test_a_file_that_has_changed_since_is_not_taken_for_itself(tmp_path, demo_embedder):
    folder = tmp_path / "files"
    folder.mkdir()
    for seed in range(6):
        photo_like(seed).save(folder / f"photo-{seed}.jpg", quality=90)
    (folder / "note.txt").write_text(NOTES["bread.txt"])
    assert main(["index", str(folder), "--model", "demo", "-l", str(tmp_path / "l"), "-q"]) == 0
    library = Library.open(tmp_path / "l")
    options = SearchOptions(top=100, min_relevance=0, dedupe=False)
    photo_like(60).save(folder / "photo-2.jpg", quality=90)
    (folder / "note.txt").write_text(NOTES["hike.txt"])
    for name in ("photo-2.jpg", "note.txt"):
        found = search(library, parse_query(str(folder / name)), demo_embedder, options)
        assert relevance_by_name(found)[name] < SURE
    shutil.copy(folder / "photo-5.jpg", folder / "photo-2.jpg")
    found = search(library, parse_query(str(folder / "photo-2.jpg")), demo_embedder, options)
    assert names(found[0]) == {"photo-5.jpg"}
    assert found[0].relevance >= SURE
    assert relevance_by_name(found)["photo-2.jpg"] < SURE


def test_a_removed_file_is_no_copy(tmp_path, demo_embedder):
    folder = tmp_path / "files"
    folder.mkdir()
    for seed in range(4):
        photo_like(seed).save(folder / f"photo-{seed}.jpg", quality=90)
    index = ["index", str(folder), "--model", "demo", "-l", str(tmp_path / "l"), "-q"]
    assert main(index) == 0
    shutil.move(folder / "photo-1.jpg", tmp_path / "away.jpg")
    assert main(index) == 0
    found = search(
        Library.open(tmp_path / "l"),
        parse_query(str(tmp_path / "away.jpg")),
        demo_embedder,
        SearchOptions(top=100, min_relevance=0, dedupe=False),
    )
    assert len(found) == 3
    assert max(hit.relevance for hit in found) < SURE


def test_the_command_line_puts_the_copy_first(files, tmp_path, capfdbinary):
    shutil.copy(files / "photo-7.jpg", tmp_path / "mine.jpg")
    library = str(files.parent / "library")
    assert main(["search", str(tmp_path / "mine.jpg"), "-l", library, "--json"]) == 0
    first = json.loads(capfdbinary.readouterr().out.splitlines()[0])
    assert Path(first["path"]).name == "photo-7.jpg"
    assert first["relevance"] >= SURE
