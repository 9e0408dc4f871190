import base64
import json
import os
import re
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.near_duplicates import HASH, SHOT, row, sized

from qvsearch.cli.app import main
from qvsearch.demo import world
from qvsearch.duplicates import candidates
from qvsearch.duplicates.groups import duplicate_groups, fold, same
from qvsearch.duplicates.rule import traits
from qvsearch.library.library import Library
from qvsearch.records.library import group_record
from qvsearch.retrieval.similar import find_similar, similar
from qvsearch.types import Detail, Fingerprint, Kind, Metadata

DIM = 8
FINGERPRINT = Fingerprint(
    "some/model", "abc123", DIM, Detail.LOW, "Represent the user's input.", 1, 1
)


def other(**fields):
    return row("b", **fields)


def moment(name, start=2.0, end=3.0, duration=60.0, **fields):
    about = {"width": 640, "height": 360, "dhash": HASH, "metadata": Metadata(duration=duration)}
    return row(name, Kind.VIDEO, start=start, end=end, **about | fields)


def flipped(bits):
    """A hash that differs in so many bits, as many of them ones as zeros."""
    found = HASH
    for bit in range(bits):
        found ^= 1 << (7 * bit % 64)
    return found


@pytest.mark.parametrize(
    ("fields", "cosine"),
    [
        ({"dhash": flipped(4)}, 0.95),
        ({"width": 1000, "height": 750, "dhash": flipped(3)}, 0.8),
        ({"width": 3800, "height": 2850, "dhash": flipped(10)}, 0.98),
        ({"width": 3600, "dhash": flipped(8)}, 0.98),
        ({"metadata": SHOT}, 0.95),
        ({"metadata": replace(SHOT, taken="2024-05-01T10:00:00+02:00")}, 0.95),
        ({"metadata": Metadata("2024-05-01T10:07:00", taken_from="name")}, 0.95),
        ({"metadata": Metadata("2024-05-01T08:00:00+00:00", taken_from="json")}, 0.95),
        ({"metadata": Metadata("2024-05")}, 0.95),
    ],
    ids=[
        *("recoded", "small", "cropped", "cropped on one side", "with EXIF", "with a zone"),
        *("with a date in its name", "from Google", "of a month"),
    ],
)
def test_a_copy_has_nearly_the_hash_and_nearly_the_vector(fields, cosine):
    photo = row(metadata=SHOT)
    assert same(photo, other(**fields), cosine + 0.005)
    assert not same(photo, other(**fields), cosine - 0.005)


def coloured(*steps):
    """Mean colours as a row stores them: grey, and the first ones off by so much."""
    return base64.b64encode(bytes([*(128 + step for step in steps), *[128] * (48 - len(steps))]))


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"patches": coloured(4, -4)}, True),
        ({"patches": coloured(5)}, False),
        ({"patches": coloured(60, -60)}, False),
        ({"patches": None}, False),
        ({"patches": coloured()[:-4]}, False),
        ({"patches": b"no base64 at all"}, False),
        ({"width": 3000, "height": 2250}, False),
        ({"dhash": flipped(8)}, False),
        ({"width": 750, "height": 1000}, False),
        ({"metadata": Metadata(page=True)}, False),
        ({"metadata": Metadata(several=True)}, False),
        ({"metadata": replace(SHOT, taken="2024-05-01T10:03:00")}, False),
    ],
)
def test_a_small_copy_is_found_by_its_mean_colours(fields, found):
    photo = row(metadata=SHOT, patches=coloured().decode())
    small = {"width": 1000, "height": 750, "dhash": flipped(5), "patches": coloured(2)} | fields
    small["patches"] = small["patches"] and small["patches"].decode()
    assert same(photo, other(**small), -0.5) == found
    assert same(other(**small), photo, -0.5) == found


@pytest.mark.parametrize(
    "fields",
    [
        {"dhash": flipped(20)},
        {"dhash": None},
        {"width": 3000, "height": 4000},
        {"metadata": Metadata(camera="iPhone 15")},
        {"metadata": replace(SHOT, taken="2024-05-01T10:03:00")},
    ],
    ids=["another hash", "too flat for one", "turned", "another camera", "minutes later"],
)
def test_a_like_vector_alone_is_no_copy(fields):
    assert not same(row(metadata=SHOT), other(**fields), 0.999)


def test_flat_pictures_are_the_same_only_where_their_bytes_are():
    flat = row(dhash=None)
    assert not same(flat, other(dhash=None), 1.0)
    assert same(flat, other(dhash=None, content_hash=flat.content_hash), 1.0)


def test_hashes_of_few_ones_must_agree_in_nearly_all_bits():
    sparse = row(dhash=0b111)
    assert same(sparse, other(dhash=0b110), 0.99)
    assert not same(sparse, other(dhash=0b111000), 0.99)
    assert not same(row(dhash=0), other(dhash=0), 0.99)


def test_frames_of_a_burst_are_near_in_time_of_one_camera_and_alike():
    def later(seconds, **fields):
        taken = f"2024-05-01T10:00:{seconds:02d}"
        return other(**{"dhash": flipped(16), "metadata": replace(SHOT, taken=taken)} | fields)

    shot = row(metadata=SHOT)
    assert same(shot, later(3), 0.96)
    assert not same(shot, later(3), 0.9)
    assert not same(shot, later(30), 0.96)
    assert not same(shot, later(3, dhash=flipped(30)), 0.96)
    assert not same(row(metadata=replace(SHOT, camera=None)), later(3), 0.96)


def test_pages_of_one_layout_need_more():
    page = row(metadata=Metadata(page=True))
    assert not same(page, other(dhash=flipped(5), metadata=Metadata(page=True)), 0.99)
    assert not same(page, other(metadata=Metadata(page=True)), 0.97)
    assert same(page, other(metadata=Metadata(page=True)), 0.99)


def test_a_file_of_several_pages_is_the_same_only_where_its_bytes_are():
    scans = row(metadata=Metadata(several=True))
    assert not same(scans, other(), 1.0)
    assert not same(scans, other(metadata=Metadata(several=True)), 1.0)
    assert same(scans, other(content_hash=scans.content_hash), 0.0)


def test_a_video_is_a_copy_by_the_same_picture_at_the_same_time():
    video = moment("a")
    assert same(video, moment("b", width=320, height=180, dhash=flipped(3)), 0.97)
    assert not same(video, moment("b", 5.0, 6.0), 0.97)
    assert not same(video, moment("b", duration=90.0), 0.97)
    assert not same(video, other(dhash=HASH, width=640, height=360), 1.0)


def test_passages_are_the_same_by_their_words_and_vector():
    text = row("a", Kind.TEXT, lines=(1, 9), snippet="Dear Ann,\nthe sea")
    shifted = row("b", Kind.TEXT, lines=(4, 12), snippet="Dear Ann, the sea")
    assert same(text, shifted, 0.995)
    assert not same(text, shifted, 0.97)
    assert not same(text, replace(shifted, snippet="Dear Bob, the sea"), 0.995)


def test_folding_shows_the_first_of_each_group():
    rows = [
        row("first"),
        row("copy", dhash=flipped(2)),
        row("other", dhash=flipped(32)),
        row("bytes", dhash=flipped(32), content_hash="of first"),
        row("copy of other", dhash=flipped(31)),
    ]
    vectors = np.eye(2, 8, dtype=np.float32)[[0, 0, 1, 1, 1]]
    assert fold(rows, vectors) == [0, 0, 2, 0, 2]


def test_folding_builds_no_chains():
    rows = [row(str(step), dhash=flipped(6 * step)) for step in range(4)]
    vectors = np.tile(np.eye(1, 8, dtype=np.float32), (4, 1))
    assert same(rows[1], rows[2], 1.0)
    assert fold(rows, vectors) == [0, 0, 2, 2]


def test_nothing_folds_to_nothing():
    assert fold([], np.empty((0, 8), np.float32)) == []


def test_folding_thousands_needs_memory_for_few_pairs_at_once():
    rng = np.random.default_rng(4)
    rows = [row(str(n), dhash=int(rng.integers(1 << 63))) for n in range(3000)]
    copies = {2999: 5, 1501: 1500, 900: 5}
    for copy, original in copies.items():
        rows[copy] = row(str(copy), dhash=rows[original].dhash)
    vectors = np.ones((3000, 1), np.float32)
    tracemalloc.start()
    leaders = fold(rows, vectors)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert {place: leader for place, leader in enumerate(leaders) if place != leader} == copies
    assert peak < 40 * 2**20  # 3000 x 3000 pairs of hashes alone are 69 MiB


def test_folding_judges_as_the_rule_does_pair_by_pair():
    rng = np.random.default_rng(3)
    rows = [
        row(
            str(number),
            content_hash=str(number % 90),
            dhash=None if number % 7 == 0 else flipped(int(rng.integers(3, 20))),
            metadata=Metadata(
                taken=None if number % 3 else f"2024-05-01T10:00:{number % 60:02d}",
                camera="Pixel 8" if number % 2 else None,
            ),
        )
        for number in range(100)
    ]
    vectors = (np.eye(3)[rng.integers(0, 3, 100)] + rng.normal(0, 0.12, (100, 3))).astype("f4")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = list(range(100))
    for later in range(100):
        for earlier in range(later):
            if expected[earlier] == earlier and same(
                rows[earlier], rows[later], float(vectors[earlier] @ vectors[later])
            ):
                expected[later] = earlier
                break
    assert 20 < len(set(expected)) < 90
    assert fold(rows, vectors) == expected


@pytest.fixture
def folder(tmp_path):
    """An empty folder that is the root of a library of its own."""
    found = tmp_path / "photos"
    found.mkdir()
    return found


def library_of(folder, *rows):
    """A library of (name, segment fields, direction of the vector); the files are there."""
    library = Library.create(folder.parent / "library", FINGERPRINT)
    root = str(folder).encode()
    library.add_root(root)
    segments, vectors = [], []
    for name, segment, direction in rows:
        item = replace(segment.item, root=root, path=name.encode())
        (folder / name).write_bytes(b"")
        os.truncate(folder / name, item.size)
        os.utime(folder / name, ns=(item.mtime_ns, item.mtime_ns))
        segments.append(replace(segment, item=item))
        vectors.append(direction)
    if rows:
        library.add(segments, np.eye(DIM, dtype=np.float32)[vectors])
    return library


def listed(groups):
    return [
        (
            [each.segment.item.path.decode() for each in group.items],
            [each.reason for each in group.items],
            group.reason,
            group.reclaimable,
        )
        for group in groups
    ]


def test_the_best_original_has_most_pixels_then_most_bytes_then_age(folder):
    library = library_of(
        folder,
        ("small", sized("small", 900, width=1000), 0),
        ("new", sized("new", 500, mtime=300), 0),
        ("old", sized("old", 500, mtime=200), 0),
        ("big", sized("big", 600, dhash=flipped(2)), 0),
        ("alone", sized("alone", 5000), 1),
    )
    assert listed(duplicate_groups(library)) == [
        (["big", "old", "new", "small"], [None, "copy", "copy", "copy"], "copy", 1900)
    ]


def test_a_damaged_picture_is_no_best_original(folder):
    cut = Metadata(damaged="the last 9 % is missing")
    library = library_of(
        folder, ("cut", sized("cut", 900, metadata=cut), 0), ("small", sized("small", 300), 0)
    )
    assert [names for names, *_ in listed(duplicate_groups(library))] == [["small", "cut"]]


def test_what_was_taken_first_is_older_than_what_was_written_first(folder):
    taken = replace(SHOT, taken="2001-01-01T00:00:00")
    library = library_of(
        folder,
        ("written 2020", sized("a", 500, mtime=1_577_836_800 * 10**9), 0),
        ("taken 2001", sized("b", 500, mtime=1_700_000_000 * 10**9, metadata=taken), 0),
    )
    assert listed(duplicate_groups(library))[0][0] == ["taken 2001", "written 2020"]


def test_groups_say_why_and_the_most_wasteful_comes_first(folder):
    def shot(second, size):
        taken = replace(SHOT, taken=f"2024-05-01T10:00:{second:02d}")
        return sized(f"{second}", size, dhash=flipped(32 + second), metadata=taken)

    library = library_of(
        folder,
        ("twin 1", sized("one", 10), 0),
        ("twin 2", sized("one", 10), 0),
        ("twin small", sized("two", 5, width=800), 0),
        ("shot 1", shot(1, 700), 1),
        ("shot 2", shot(2, 600), 1),
        ("flat 1", sized("flat", 7, dhash=None), 2),
        ("flat 2", sized("flat", 7, dhash=None), 2),
        ("flat 3", sized("other flat", 7, dhash=None), 2),
    )
    assert listed(duplicate_groups(library)) == [
        (["shot 1", "shot 2"], [None, "burst"], "burst", 600),
        (["twin 1", "twin 2", "twin small"], [None, "exact", "copy"], "copy", 15),
        (["flat 1", "flat 2"], [None, "exact"], "exact", 7),
    ]
    assert duplicate_groups(library, {Kind.VIDEO}) == []


def test_every_member_is_the_same_as_the_best_original(folder):
    steps = [(f"{n}", sized(f"{n}", 100 - n, dhash=flipped(6 * n)), 0) for n in range(4)]
    groups = duplicate_groups(library_of(folder, *steps))
    assert [group[0] for group in listed(groups)] == [["0", "1"], ["2", "3"]]


def test_what_is_gone_is_listed_last_and_takes_nothing(folder):
    library = library_of(
        folder,
        ("best", sized("a", 300, width=4000), 0),
        ("next", sized("b", 200, width=3000), 0),
        ("last", sized("c", 100, width=2000), 0),
    )
    (folder / "best").unlink()
    (group,) = duplicate_groups(library)
    assert [each.segment.item.path for each in group.items] == [b"next", b"last", b"best"]
    assert [each.gone for each in group.items] == [False, False, True]
    assert [each.reason for each in group.items] == [None, "copy", "copy"]
    assert group.reclaimable == 100


def test_a_file_of_several_names_is_in_a_group_once(folder):
    photo = sized("a", 300)
    library = library_of(folder, ("a", photo, 0), ("b", photo, 0), ("c", photo, 0))
    (folder / "b").unlink()
    (folder / "b").hardlink_to(folder / "a")
    (group,) = duplicate_groups(library)
    assert [each.segment.item.path for each in group.items] == [b"a", b"c"]
    assert [each.also for each in group.items] == [(os.fsencode(folder / "b"),), ()]
    assert group.reclaimable == 300
    assert group_record(1, group)["items"][0]["also"] == [{"path": str(folder / "b")}]
    (folder / "c").unlink()
    (folder / "c").hardlink_to(folder / "a")
    assert duplicate_groups(library) == []


def test_a_folder_that_is_indexed_under_two_names_repeats_nothing(folder):
    photo = sized("a", 300)
    library = library_of(folder, ("a", photo, 0))
    link = folder.with_name("link")
    link.symlink_to(folder)
    library.add_root(os.fsencode(link))
    (segment,) = library.segments.values()
    again = replace(segment, item=replace(segment.item, root=os.fsencode(link)))
    library.add([again], np.eye(DIM, dtype=np.float32)[:1])
    assert duplicate_groups(library) == []


def test_a_file_that_changed_since_it_was_indexed_repeats_nothing(folder):
    photo = sized("a", 300)
    library = library_of(folder, *((name, photo, 0) for name in "abc"))
    (folder / "b").write_bytes(b"edited")
    (group,) = duplicate_groups(library)
    assert [each.segment.item.path for each in group.items] == [b"a", b"c"]
    assert group.reclaimable == 300


def film(name, cuts, hashes, size=100, **fields):
    """The rows of a video whose moments begin at `cuts` and have these hashes."""
    rows = [
        moment(name, start, end, float(cuts[-1]), dhash=dhash, **fields)
        for start, end, dhash in zip(cuts[:-1], cuts[1:], hashes, strict=True)
    ]
    return [(name, replace(each, item=replace(each.item, size=size)), 0) for each in rows]


def test_a_video_is_a_copy_where_most_of_its_seconds_are(folder):
    scenes = [flipped(bits) for bits in (0, 32, 16, 48)]
    changed = [*scenes[:2], flipped(8) ^ 0xFFFF_FFFF, flipped(24) ^ 0xFFFF_FFFF]
    library = library_of(
        folder,
        *film("original", [0, 10, 20, 30, 40], scenes),
        *film("smaller", [0, 10, 19, 30, 40], scenes, 50, width=320, height=180),
        *film("cut finer", [0, 5, 10, 20, 30, 40], [scenes[0], *scenes], 40),
        *film("other end", [0, 10, 20, 30, 40], changed, 30),
        *film("other order", [0, 10, 20, 30, 40], scenes[::-1], 20),
        *film("longer", [0, 10, 20, 30, 40, 90], [*scenes, 0xFF00FF00FF00FF00], 10),
    )
    assert [group[0] for group in listed(duplicate_groups(library))] == [
        ["original", "cut finer", "smaller"]
    ]


def test_black_moments_neither_make_nor_unmake_a_copy(folder):
    scenes = [None, flipped(0), flipped(32), None]
    library = library_of(
        folder,
        *film("original", [0, 10, 20, 30, 40], scenes),
        *film("copy", [0, 10, 20, 30, 40], scenes, 50),
        *film("black", [0, 10, 20, 30, 40], [None] * 4, 40),
        *film("black too", [0, 10, 20, 30, 40], [None] * 4, 30),
    )
    assert [group[0] for group in listed(duplicate_groups(library))] == [["original", "copy"]]


def test_a_text_is_a_copy_where_most_of_its_passages_are(folder):
    def text(name, passages, size):
        rows = [row(name, Kind.TEXT, lines=(n, n), snippet=each) for n, each in enumerate(passages)]
        return [(name, replace(each, item=replace(each.item, size=size)), 0) for each in rows]

    library = library_of(
        folder,
        *text("book", "abcdefghij", 100),
        *text("edition", "abcdefghiX", 90),
        *text("chapter", "abc", 80),
        *text("licence", "aXYZ", 70),
    )
    assert [group[0] for group in listed(duplicate_groups(library))] == [["book", "edition"]]


def test_an_empty_library_has_no_groups(folder):
    assert duplicate_groups(library_of(folder)) == []


def test_groups_are_those_of_folding_the_library_in_the_order_of_worth(folder):
    rng = np.random.default_rng(11)
    rows = []
    for number in range(300):
        bits = int(rng.integers(0, 60)) // 3 * 3
        about = Metadata(taken=f"2024-05-01T10:00:{rng.integers(60):02d}", camera="Pixel 8")
        photo = sized(
            str(number),
            1000 - number,
            dhash=None if rng.random() < 0.1 else flipped(bits) ^ (1 << int(rng.integers(64))),
            metadata=about if rng.random() < 0.3 else Metadata(),
        )
        rows.append((str(number), photo, int(rng.integers(3))))
    segments = [segment for _, segment, _ in rows]
    leaders = fold(segments, np.eye(DIM, dtype=np.float32)[[where for *_, where in rows]])
    expected = {
        tuple(str(n) for n in range(300) if leaders[n] == leader) for leader in set(leaders)
    }
    groups = duplicate_groups(library_of(folder, *rows))
    found = {tuple(group[0]) for group in listed(groups)}
    assert len(found) > 20
    assert found == {names for names in expected if len(names) > 1}


def test_no_pair_of_near_hashes_is_missed_however_the_work_is_cut(monkeypatch):
    rng = np.random.default_rng(2)
    photos = []
    for number in range(400):
        dhash = int(rng.integers(0, 2**63)) * 2 + int(rng.integers(2))
        photos.append(row(str(number), dhash=dhash))
        for bit in rng.choice(64, rng.integers(0, 14), replace=False).tolist():
            dhash ^= 1 << bit
        photos.append(row(f"{number} b", dhash=dhash))
    hashes = [photo.dhash for photo in photos]
    expected = [
        (i, j)
        for i in range(800)
        for j in range(i + 1, 800)
        if (hashes[i] ^ hashes[j]).bit_count() <= 10
    ]
    assert 200 < len(expected) < 400
    found = candidates.Candidates(traits(photos))
    for at_once in (50, 1_000_000):
        monkeypatch.setattr(candidates, "PAIRS_AT_ONCE", at_once)
        i, j = found.after(np.arange(800), np.ones(800, np.bool_))
        assert list(zip(i.tolist(), j.tolist(), strict=True)) == expected


@pytest.mark.parametrize("seed", range(4))
def test_candidates_are_those_of_a_plain_loop_over_all_hashes(seed):
    """Also for hashes that crowd together, rows without one, and few of the rows on each side."""
    rng = np.random.default_rng(seed)
    bits = (rng.random((500, 64)) < (0.5, 0.25, 0.1, 0.05)[seed]).astype(np.uint64)
    hashes = (bits << np.arange(64, dtype=np.uint64)).sum(axis=1, dtype=np.uint64)
    photos = [row(str(n), dhash=None if n % 9 == 4 else int(each)) for n, each in enumerate(hashes)]
    rows = np.flatnonzero(rng.random(500) < 0.4)
    wanted = rng.random(500) < 0.6
    expected = []
    for i in rows.tolist():
        near = np.bitwise_count(hashes[i] ^ hashes) <= 10
        near[: i + 1] = False
        near[4::9] = False
        expected += [(i, j) for j in np.flatnonzero(near & wanted).tolist() if i % 9 != 4]
    i, j = candidates.Candidates(traits(photos)).after(rows, wanted)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == expected
    assert expected or seed == 0


@pytest.fixture
def run(capfdbinary):
    """Run a command line in this process; give its exit code, output and errors."""

    def run(*arguments):
        code = main([os.fsdecode(argument) for argument in arguments])
        captured = capfdbinary.readouterr()
        return code, captured.out.decode(), captured.err.decode()

    return run


def draw(seed, side=128):
    rng = np.random.default_rng(seed)
    return Image.fromarray(world.draw(world.random_scene(rng), rng, side, side))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Drawn pictures, some copies of the first and a note, in a library of the demo model."""
    folder = tmp_path_factory.mktemp("drawn") / "files"
    (folder / "sub").mkdir(parents=True)
    for seed in range(4):
        draw(seed).save(folder / f"{seed}.png")
    draw(0).save(folder / "sub" / "recoded.jpg", quality=85)
    shutil.copy(folder / "1.png", folder / "sub" / "twin.png")
    (folder / "note.txt").write_text("a red star on sand")
    assert main(["index", str(folder), "--model", "demo", "-q", *where(folder)]) == 0
    return folder


def where(folder):
    return ["-l", str(folder.parent / "library")]


def names(output):
    return [Path(json.loads(line)["path"]).name for line in output.splitlines()]


def refuse():
    raise AssertionError("a model is loaded")


def test_similar_finds_copies_first_and_says_so(run, pictures):
    code, output, error = run("similar", pictures / "0.png", "--json", *where(pictures))
    found = [json.loads(line) for line in output.splitlines()]
    assert (code, error) == (0, "")
    assert [each["rank"] for each in found] == [1, 2, 3, 4, 5]
    assert (Path(found[0]["path"]).name, found[0]["reason"]) == ("recoded.jpg", "copy")
    assert found[0]["score"] > 0.95
    assert not any("reason" in each for each in found[1:])
    assert {"0.png", "note.txt"}.isdisjoint(names(output))


def test_a_file_of_the_library_or_a_copy_of_one_needs_no_model(pictures, tmp_path):
    library = Library.open(pictures.parent / "library")
    (first, *_) = find_similar(library, os.fsencode(pictures / "1.png"), refuse, 3)
    assert first.segment.item.path == b"sub/twin.png"
    assert (first.reason, first.score) == ("exact", pytest.approx(1, abs=1e-3))
    away = tmp_path / "elsewhere.png"
    shutil.copy(pictures / "1.png", away)
    found = find_similar(library, os.fsencode(away), refuse, 3)
    assert {each.segment.item.path for each in found[:2]} == {b"1.png", b"sub/twin.png"}


def test_a_file_from_outside_is_embedded_as_what_it_is(pictures, tmp_path, demo_embedder):
    library = Library.open(pictures.parent / "library")
    away = tmp_path / "away.png"
    draw(2).convert("RGBA").save(away)
    first, *others = similar(library, away, demo_embedder, top=3)
    assert (first.segment.item.path, first.reason) == (b"2.png", "copy")
    assert first.score == pytest.approx(1, abs=2e-3)
    assert len(others) == 2


def test_a_file_that_was_changed_is_not_taken_for_what_it_was(run, pictures, tmp_path):
    folder = tmp_path / "files"
    shutil.copytree(pictures, folder)
    assert run("index", folder, "--model", "demo", "-q", *where(folder))[0] == 0
    draw(3).save(folder / "0.png")
    _, output, _ = run("similar", folder / "0.png", "-k", "1", "--json", *where(folder))
    assert names(output) == ["3.png"]


def test_similar_can_be_asked_for_other_kinds(run, pictures):
    _, output, _ = run("similar", pictures / "0.png", "--kind", "text", "--json", *where(pictures))
    assert names(output) == ["note.txt"]
    code, output, _ = run("similar", pictures / "note.txt", *where(pictures))
    assert (code, output) == (1, "")


def test_similar_says_what_it_cannot_compare(run, pictures, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"nothing")
    (tmp_path / "folder.png").mkdir()
    for name, reason in {
        "broken.png": "not an image",
        "gone.png": "no such file",
        "folder.png": "is a folder",
        "program.exe": "suffix",
    }.items():
        code, output, error = run("similar", tmp_path / name, *where(pictures))
        assert (code, output) == (2, "")
        assert name in error
        assert reason in error.lower()
        assert error.count("\n") == 1


def test_dupes_lists_groups_and_what_they_take(run, pictures):
    code, output, error = run("dupes", *where(pictures))
    lines = output.splitlines()
    assert (code, error) == (0, "")
    assert [line.split()[:2] for line in lines if "/files/" in line] == [
        ["1", "best"],
        ["exact", "128x128"],
        ["2", "best"],
        ["copy", "128x128"],
    ]
    said = r"0\.\d MB are in 2 files beside the best of each group; nothing was deleted"
    assert re.fullmatch(said, lines[-1])
    assert "exact: the same bytes" in lines
    assert not any(line.startswith(("burst:", "gone:")) for line in lines)
    code, output, _ = run("dupes", "--kind", "video", *where(pictures))
    assert (code, output) == (0, "no file of the library repeats another\n")


def test_paths_below_the_current_folder_are_short_as_in_a_search(run, pictures, monkeypatch):
    monkeypatch.chdir(pictures)
    for arguments in (["dupes"], ["similar", "0.png"]):
        _, output, _ = run(*arguments, *where(pictures))
        assert {"sub/recoded.jpg", "1.png"} <= set(output.split())
        assert str(pictures) not in output


def test_dupes_in_json_say_all_of_each_file(run, pictures):
    _, output, _ = run("dupes", "--json", *where(pictures))
    first, second = (json.loads(line) for line in output.splitlines())
    size = (pictures / "1.png").stat().st_size
    assert (first["group"], first["kind"], first["reason"]) == (1, "image", "exact")
    assert first["reclaimable"] == size
    best, twin = first["items"]
    assert (best["best"], best["bytes"], best["width"]) == (True, size, 128)
    assert (twin["reason"], "best" in twin) == ("exact", False)
    assert second["items"][0]["path"] == str(pictures / "0.png")


def test_an_empty_library_is_said_to_be_empty(run, folder):
    library_of(folder)
    (folder / "note.txt").write_text("words")
    for arguments in (["dupes"], ["similar", folder / "note.txt"]):
        code, output, error = run(*arguments, *where(folder))
        assert (code, output) == (2, "")
        assert "is empty; fill it with: qvsearch index FOLDER" in error


def test_hostile_names_stay_exact_in_json_and_harmless_in_tables(run, folder):
    photo = sized("a", 300)
    names = ["\x1b]0;owned\x07.jpg", "not utf-8 \udcff.jpg", "gone\u202e.jpg"]
    library = library_of(folder, *((name, photo, 0) for name in ["plain", "other"]))
    row, *_ = library.segments.values()
    renamed = [
        replace(row, item=replace(row.item, path=os.fsencode(name), mtime_ns=-(10**30)))
        for name in names
    ]
    library.add(renamed, np.eye(DIM, dtype=np.float32)[[0, 0, 0]])
    library.commit()
    _, output, _ = run("dupes", *where(folder))
    assert "\\x1b]0;owned\\x07.jpg" in output
    assert "not utf-8 \\xff.jpg" in output
    assert "exact, gone" in output
    assert all(each.isprintable() or each == "\n" for each in output)
    _, output, _ = run("dupes", "--json", *where(folder))
    paths = {
        base64.b64decode(each["path_b64"]) if "path_b64" in each else os.fsencode(each["path"])
        for each in json.loads(output)["items"]
    }
    assert {os.path.join(os.fsencode(folder), os.fsencode(name)) for name in names} < paths
