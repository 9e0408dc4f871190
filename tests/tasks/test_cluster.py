"""Groups of files: true ones are found, named and told apart, and odd libraries are no trouble."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score
from support.blobs import blobs, scattered
from support.commands import home, records, run  # noqa: F401 - fixtures
from support.made_rows import unit
from support.rows import FINGERPRINT
from support.terminal import in_terminal, without_escapes

from qvsearch.demo.world import Scene, Thing, draw, note
from qvsearch.errors import QvsearchError
from qvsearch.indexing.baseline_queries import baseline_vectors
from qvsearch.library.filters import parse_filters
from qvsearch.library.library import Library
from qvsearch.models.registry import fingerprint, resolve
from qvsearch.records import cluster as cluster_records
from qvsearch.tasks.grouping.cluster import ClusterOptions, cluster
from qvsearch.tasks.grouping.names import Source
from qvsearch.tasks.grouping.outliers import outliers
from qvsearch.tasks.grouping.vector_groups import NONE
from qvsearch.types import Detail, EmbedInput, Item, Kind, Segment, Stored

THEMES = (("night", "star", "white"), ("grass", "circle", "green"), ("bricks", "cross", "blue"))
FILES = 14  # of each theme: every third a note


def themed(rng, theme):
    place = str(rng.choice(["top left", "top right", "middle", "bottom left"]))
    return Scene(theme[0], (Thing(place, *theme[1:]),))


@pytest.fixture(scope="module")
def drawn(demo_embedder):
    """Segments and vectors of three themes in pictures and notes, and the baseline's vectors."""
    rng = np.random.default_rng(9)
    segments, sources = [], []
    for number, theme in enumerate(THEMES):
        for place in range(FILES):
            scene, kind = themed(rng, theme), Kind.TEXT if place % 3 == 2 else Kind.IMAGE
            words = note(scene, rng)
            source = (
                EmbedInput(words) if kind is Kind.TEXT else EmbedInput(images=(draw(scene, rng),))
            )
            name = b"%d/%d.%s" % (number, place, b"txt" if kind is Kind.TEXT else b"jpg")
            snippet = words if kind is Kind.TEXT else None
            segments.append(Segment(Item(b"/world", name, kind, 1, 1), name.hex(), snippet=snippet))
            sources.append(source)
    made = fingerprint(resolve("demo", "huggingface"), demo_embedder.dim, demo_embedder.detail)
    return made, segments, demo_embedder.embed(sources), baseline_vectors(demo_embedder, made)


def library_of(folder, drawn, store=Stored.FLOAT16):
    made, segments, vectors, bank = drawn
    library = Library.create(folder, made, store)
    library.add_root(b"/world")
    library.set_baseline(bank)
    library.add(segments, vectors)
    library.commit()
    return library


@pytest.fixture
def library(tmp_path, drawn):
    return library_of(tmp_path / "library", drawn)


def theme_of(item):
    return item.segment.item.path.split(b"/")[0].decode()


def agreement(clusters):
    pairs = [(theme_of(item), each.id) for each in clusters for item in each.items]
    return adjusted_mutual_info_score(*zip(*pairs, strict=True))


@pytest.mark.parametrize("store", list(Stored))
@pytest.mark.parametrize("groups", [None, 3])
def test_themes_are_grouped_over_kinds_and_named(tmp_path, drawn, store, groups):
    library = library_of(tmp_path / "library", drawn, store)
    clusters = cluster(library, options=ClusterOptions(groups=groups))
    assert agreement(clusters) > (0.65 if groups is None else 0.85)
    numbers = [each.id for each in clusters if each.id >= 0]
    assert numbers == list(range(groups or len(numbers)))
    for each in clusters[: len(numbers)]:
        if groups is not None:
            assert {item.segment.item.kind for item in each.items} == {Kind.IMAGE, Kind.TEXT}
        centralities = [item.centrality for item in each.items]
        assert centralities == sorted(centralities, reverse=True)
        assert each.name is None or 0.3 <= each.name.confidence <= 1
    assert sum(each.name is not None for each in clusters) >= 3


def test_each_file_is_in_one_group_and_again_in_the_same(library):
    clusters = cluster(library)
    paths = [item.segment.item.path for each in clusters for item in each.items]
    assert sorted(paths) == sorted(each.item.path for each in library.segments.values())
    assert cluster(library) == clusters


def test_kinds_that_lie_apart_are_grouped_by_what_they_show(tmp_path, drawn):
    made, segments, vectors, bank = drawn
    away = 0.8 * unit(np.random.default_rng(10).standard_normal(vectors.shape[1]))
    texts = np.array([each.item.kind is Kind.TEXT for each in segments])
    moved = unit(np.where(texts[:, None], vectors + away, vectors))
    library = library_of(tmp_path / "library", (made, segments, moved, bank))
    assert agreement(cluster(library, options=ClusterOptions(groups=3))) > 0.8


def test_a_label_that_fits_is_preferred_and_one_that_does_not_is_no_name(library, demo_embedder):
    options = ClusterOptions(groups=3, labels=("a white star", "a purple ring", "a green circle"))
    clusters = cluster(library, None, demo_embedder, options)
    names = {theme_of(each.items[0]): each.name for each in clusters}
    assert (names["0"].text, names["0"].source) == ("a white star", Source.LABEL)
    assert (names["1"].text, names["1"].source) == ("a green circle", Source.LABEL)
    assert names["2"].source is not Source.LABEL


def test_folders_and_words_are_names_if_the_baseline_has_none(tmp_path, drawn):
    made, segments, vectors, _ = drawn
    library = Library.create(tmp_path / "library", made)
    library.add_root(b"/world")
    texts = [
        replace(each, item=replace(each.item, path=b"%d.txt" % place), snippet=words)
        for place, (each, words) in enumerate(
            (each, f"the {theme[1]} of {place}")
            for place, theme in enumerate(THEMES)
            for each in segments[place * FILES : (place + 1) * FILES]
        )
    ]
    for place, each in enumerate(texts):
        texts[place] = replace(each, item=replace(each.item, kind=Kind.TEXT))
    library.add(texts, vectors)
    words = {each.name.text for each in cluster(library, options=ClusterOptions(groups=3))}
    assert words == {"star", "circle", "cross"}
    library.remove(library.segments)
    library.add(segments, vectors)
    names = {each.name for each in cluster(library, options=ClusterOptions(groups=3))}
    assert {(each.text, each.source) for each in names} == {(t, Source.FOLDER) for t in "012"}


def test_a_query_limits_the_files(library, demo_embedder):
    clusters = cluster(library, "a white star", demo_embedder, ClusterOptions(groups=1))
    found = [theme_of(item) for each in clusters for item in each.items]
    assert set(found) == {"0"}
    assert len(found) >= FILES // 2
    assert [each.name for each in clusters] == [None]  # there is no rest to compare with
    assert cluster(library, "my sister's wedding", demo_embedder) == []


def test_filters_limit_the_files(library):
    options = ClusterOptions(parse_filters(kinds=[Kind.TEXT]), groups=3)
    clusters = cluster(library, options=options)
    assert {item.segment.item.kind for each in clusters for item in each.items} == {Kind.TEXT}


def test_copies_are_folded_unless_they_are_to_count(tmp_path, drawn):
    made, segments, vectors, bank = drawn
    root = tmp_path / "world"
    copies = [
        replace(segments[0], item=replace(segments[0].item, path=b"0/copy %d.jpg" % number))
        for number in range(5)
    ]
    listed = [
        replace(each, item=replace(each.item, root=str(root).encode()))
        for each in [*segments, *copies]
    ]
    library = Library.create(tmp_path / "library", made)
    library.add_root(str(root).encode())
    library.add(listed, np.concatenate([vectors, vectors[:1].repeat(5, axis=0)]))
    for each in listed:  # a file that is gone is folded, too; one that changed is not
        path = root / each.item.path.decode()
        path.parent.mkdir(parents=True, exist_ok=True)
    clusters = cluster(library, options=ClusterOptions(groups=3))
    folded = [item for each in clusters for item in each.items if item.duplicates]
    assert [len(item.duplicates) for item in folded] == [5]
    assert sum(each.files for each in clusters) == len(listed)
    apart = cluster(library, options=ClusterOptions(groups=3, dedupe=False))
    assert sum(len(each.items) for each in apart) == len(listed)


def test_a_film_is_one_file_with_its_most_central_moment(tmp_path, drawn):
    made, segments, vectors, bank = drawn
    moments = [
        replace(
            each,
            item=Item(b"/world", b"film.mp4", Kind.VIDEO, 1, 1),
            content_hash="film",
            snippet=None,
            start=start,
            end=start + 1,
        )
        for start, each in enumerate([segments[FILES], *segments[:3]])  # the first is another theme
    ]
    film = np.concatenate([vectors[FILES : FILES + 1], vectors[:3]])
    library = library_of(
        tmp_path / "library",
        (made, [*segments, *moments], np.concatenate([vectors, film]), bank),
    )
    clusters = cluster(library, options=ClusterOptions(groups=3))
    [(group, item)] = [
        (each, item)
        for each in clusters
        for item in each.items
        if item.segment.item.kind is Kind.VIDEO
    ]
    assert {theme_of(each) for each in group.items if each is not item} == {"0"}
    assert item.segment.start in (1, 2, 3)


# what is odd


def made_library(folder, vectors):
    made = fingerprint(resolve("demo", "huggingface"), vectors.shape[1], Detail.LOW)
    library = Library.create(folder, made)
    library.add_root(b"/photos")
    names = [b"%d.jpg" % number for number in range(len(vectors))]
    library.add(
        [Segment(Item(b"/photos", name, Kind.IMAGE, 1, 1), name.hex()) for name in names], vectors
    )
    return library


def test_an_empty_library_is_an_error_with_a_remedy(tmp_path):
    library = Library.create(tmp_path / "library", FINGERPRINT)
    for task in (cluster, outliers):
        with pytest.raises(QvsearchError, match="is empty; fill it with: qvsearch index"):
            task(library)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_very_few_files_are_in_no_group(tmp_path, count):
    vectors = scattered(np.random.default_rng(11), count, 64)
    library = made_library(tmp_path / "library", vectors)
    (none,) = cluster(library)
    assert (none.id, none.files, none.name) == (NONE, count, None)
    assert outliers(library) == []
    (one,) = cluster(library, options=ClusterOptions(groups=1))
    assert (one.id, one.files) == (0, count)


def test_files_that_are_all_alike_are_one_group(tmp_path):
    same = np.tile(scattered(np.random.default_rng(12), 1, 64), (20, 1))
    library = made_library(tmp_path / "library", same)
    assert [(each.id, each.files) for each in cluster(library)] == [(0, 20)]
    assert sum(each.files for each in cluster(library, options=ClusterOptions(groups=4))) == 20
    assert outliers(library) == []


def test_dead_rows_are_in_no_group(library):
    library.remove([0, 1, 2])
    assert sum(each.files for each in cluster(library)) == len(THEMES) * FILES - 3


def test_more_groups_than_files_are_an_error(library):
    with pytest.raises(QvsearchError, match=r"--groups 99 is more than the 42 different files"):
        cluster(library, options=ClusterOptions(groups=99))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 0}, "groups is 0; it must be at least 1"),
        ({"min_files": 1}, "min_files is 1; it must be at least 2"),
        ({"groups": 3, "min_files": 3}, "--groups and --min-files exclude each other"),
        ({"labels": ("a", " ")}, "labels: "),
    ],
)
def test_options_out_of_range_are_errors(options, message):
    with pytest.raises(QvsearchError, match=message):
        ClusterOptions(**options)


def test_what_lies_apart_is_listed(tmp_path):
    rng = np.random.default_rng(13)
    vectors = np.concatenate([blobs(rng, [60, 60], 64)[0], scattered(rng, 3, 64)])
    found = outliers(made_library(tmp_path / "library", vectors))
    assert {each.segment.item.path for each in found[:3]} == {b"120.jpg", b"121.jpg", b"122.jpg"}
    assert [each.rank for each in found] == list(range(1, len(found) + 1))
    assert found[2].factor > 1.05


# the command


def test_the_command_prints_groups_as_a_table_and_as_json(library, run, home):  # noqa: F811
    code, out, _ = run("cluster", "-l", library.folder, "--groups", "3")
    assert code == 0
    lines = out.decode().splitlines()
    assert lines[0].split() == ["files", "name", "sure", "path"]
    assert [line.split()[0] for line in lines[1::3]] == ["0", "1", "2"]
    code, out, _ = run("cluster", "-l", library.folder, "--groups", "3", "--json")
    printed = records(out)
    assert code == 0
    assert sum(each["files"] for each in printed) == len(THEMES) * FILES
    clusters = cluster(library, options=ClusterOptions(groups=3))
    expected = [cluster_records.cluster_record(each, library.folder) for each in clusters]
    assert printed == json.loads(json.dumps(expected))


def test_no_group_and_no_answer_are_exit_code_1(library, run, home):  # noqa: F811
    code, out, _ = run("cluster", "-l", library.folder, "--under", home)
    assert (code, out) == (1, b"")
    code, out, _ = run("cluster", "-l", library.folder, "--min-files", "40")
    assert code == 1
    assert b"in no group" in out


def test_a_group_that_lost_its_far_files_is_pointed_out(library):
    code = "from qvsearch.cli.app import main\n"
    code += (
        f"assert main(['cluster', '-l', {str(library.folder)!r}, '--min-files', '{FILES}']) == 0"
    )
    shown = without_escapes(in_terminal(code)).splitlines()
    sizes = [each.files for each in cluster(library, options=ClusterOptions(min_files=FILES))]
    assert min(sizes[:-1]) < FILES
    assert shown[-1].startswith(f"1 group with fewer than {FILES} files: those that lay far")
    assert "fewer" not in in_terminal(code.replace(f"'{FILES}'", f"'{min(sizes[:-1])}'"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--groups", "none"], "--groups 'none' is not a whole number"),
        (["--min-files", "1"], "--min-files must be at least 2"),
        (["--groups", "2", "--min-files", "2"], "exclude each other"),
        (["--outliers", "--groups", "2"], "--outliers makes no groups"),
        (["--labels", "/nowhere/labels.txt"], "/nowhere/labels.txt: no such file"),
        (["--query", ""], "the query looks for nothing"),
    ],
)
def test_mistakes_are_one_sentence(library, run, home, arguments, message):  # noqa: F811
    code, out, error = run("cluster", "-l", library.folder, *arguments)
    assert (code, out) == (2, b"")
    assert message in error
    assert error.count("\n") == 1


def test_a_missing_package_is_named_with_its_extra(library, run, home, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "sklearn", None)
    code, out, error = run("cluster", "-l", library.folder)
    assert (code, out) == (2, b"")
    assert error == 'qvsearch: qvsearch cluster needs scikit-learn: pip install "qvsearch[tasks]"\n'


def test_outliers_are_printed_and_hostile_names_are_harmless(tmp_path, run, home):  # noqa: F811
    rng = np.random.default_rng(14)
    vectors = np.concatenate([blobs(rng, [60, 60], 64)[0], scattered(rng, 1, 64)])
    library = made_library(tmp_path / "library", vectors[:-1])
    odd = Item(b"/photos", b"\x1b[31m\xff.jpg", Kind.IMAGE, 1, 1)
    library.add([Segment(odd, "odd")], vectors[-1:])
    library.commit()
    code, out, _ = run("cluster", "-l", library.folder, "--outliers")
    assert code == 0
    assert b"\\x1b[31m\\xff.jpg" in out.splitlines()[1]
    code, out, _ = run("cluster", "-l", library.folder, "--outliers", "--json")
    first = records(out)[0]
    assert first["path_b64"]
    assert first["factor"] > 1.05
