"""Labels of files: by words, by examples, scored against the truth, written beside the files."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
from bench.labels import LABELS, World, by_example, by_words, films, unsure
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.preprocessing import MultiLabelBinarizer
from support import pages
from support.commands import files, home, records, run  # noqa: F401 - fixtures

from qvsearch import ClassifyOptions, Library, Query, classify
from qvsearch.choices import By
from qvsearch.demo.show import write_world
from qvsearch.demo.world import draw, scenes
from qvsearch.errors import ExitCode, QvsearchError
from qvsearch.models import registry
from qvsearch.models.prompt import DOCUMENT_INSTRUCTION
from qvsearch.records import classify as classify_records
from qvsearch.retrieval.pipeline import SearchOptions, search
from qvsearch.tasks.agreement import set_scores
from qvsearch.tasks.labelling.classify import Candidate, Labelled
from qvsearch.tasks.labelling.examples import find_examples, fit
from qvsearch.tasks.labelling.file_vectors import Embedding, embed_sources, find_sources
from qvsearch.tasks.labelling.labels import Label, label_vectors, parse_label, read_labels
from qvsearch.tasks.labelling.truth import read_truth
from qvsearch.tasks.labelling.writing import LinkFolders, write_labels
from qvsearch.types import Detail, EmbedInput, Kind, Skipped

GROUNDS = ("grass", "sand", "night", "snow")
EACH, EXAMPLES = 9, 4  # pictures of each ground, and how many of them are examples
WORDS = ["grass", "sand", "night: a night sky | the night sky", "snow"]


@pytest.fixture(scope="session")
def world(demo_embedder):
    return World(demo_embedder, kinds=(Kind.IMAGE,))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder of pictures named by their backgrounds, and one with examples of each."""
    folder, rng = tmp_path_factory.mktemp("drawn"), np.random.default_rng(5)
    counts = dict.fromkeys(GROUNDS, 0)
    for scene in scenes(rng, held_out=True):
        number = counts.get(scene.background, EACH)
        if number < EACH:
            counts[scene.background] += 1
            sorted_ = folder / "examples" / scene.background
            place = sorted_ if number < EXAMPLES else folder / "photos"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw(scene, rng)).save(place / f"{scene.background}-{number}.jpg")
        elif min(counts.values()) == EACH:
            break
    return folder


@pytest.fixture
def photos(home, drawn):  # noqa: F811 - the fixture
    shutil.copytree(drawn / "photos", home / "photos")
    return home / "photos"


def label_options(words=WORDS):
    return [each for word in words for each in ("--label", word)]


@pytest.fixture
def indexed_photos(run, photos):  # noqa: F811
    code, _, error = run("index", photos, "--model", "demo", "-q")
    assert (code, error) == (0, "")
    return photos


def test_held_out_pictures_get_their_labels(world):
    for task, least in (("colour", 0.98), ("shape", 0.92), ("background", 0.88)):
        scores = by_words(world, Kind.IMAGE, task)
        assert scores.accuracy > least, task
        assert scores.macro_f1 > least, task


def test_unsure_leaves_out_what_is_none_of_the_labels(world):
    for task, least in (("colour", 0.97), ("shape", 0.9), ("background", 0.8)):
        accuracy, without, given, others = unsure(world, task, repeats=4)
        assert accuracy > max(least, without + 0.25), task
        assert given > 0.7
        assert others < 0.15


def test_few_files_are_judged_better_beside_a_library(world, tmp_path):
    beside = world.beside_a_library(tmp_path / "library")
    accuracy, _, given, others = unsure(beside, "shape", 3)
    assert accuracy > unsure(world, "shape", 3)[0] + 0.05
    assert given > 0.8
    assert others < 0.15


def test_a_film_gets_the_label_of_most_of_it(world):
    mean, best = films(world, "shape", repeats=60)
    assert mean > 0.9
    assert mean > best + 0.2


def test_a_share_is_a_softmax_of_cosines_with_documents(world, demo_embedder):
    rows, names = range(5), list(LABELS["colour"])
    results = world.chosen(world.files(Kind.IMAGE, rows), names, "colour")
    vectors = []
    for name in names:
        words = LABELS["colour"][name]
        plain = [EmbedInput(text, instruction=DOCUMENT_INSTRUCTION) for text in words]
        mean = demo_embedder.embed(plain).mean(axis=0)
        vectors.append(mean / np.linalg.norm(mean))
    powers = np.exp(world.vectors[Kind.IMAGE][rows] @ np.array(vectors).T / 0.03)
    shares = powers / powers.sum(axis=1, keepdims=True)
    for result, row in zip(results, shares, strict=True):
        assert result.candidates[0].label == names[row.argmax()]
        assert result.score == pytest.approx(row.max(), abs=1e-4)


def test_labels_with_relevance_are_the_hits_of_a_search(run, indexed_photos, demo_embedder):  # noqa: F811
    library = Library.open(os.environ["QVSEARCH_LIBRARY"])
    names = ["grass", "sand", "snow"]
    results = classify(library, names, demo_embedder, ClassifyOptions(multi=True))
    assert [each.path for each in results] == sorted(each.path for each in results)
    for name in names:
        query = Query(name, by=By.MEANING)  # the names of the files have the labels
        hits = search(library, query, demo_embedder, SearchOptions(top=100, dedupe=False))
        relevances = {each.path: each.relevance for each in hits}
        assert {each.path for each in results if name in each.labels} == set(relevances)
        for each in results:
            for candidate in each.candidates:
                if candidate.label == name and each.path in relevances:
                    assert candidate.relevance == pytest.approx(relevances[each.path], abs=1e-3)


def test_given_files_and_folders_and_words_are_in_order(photos, demo_embedder):
    (photos / "broken.jpg").write_bytes(b"no picture")
    one = photos / "snow-8.jpg"
    inputs = [one, "a circle on the grass", "/nowhere.jpg", photos, one]
    results = classify(inputs, [*WORDS], demo_embedder, ClassifyOptions())
    names = [each.path if isinstance(each, Skipped) else each.name for each in results]
    assert names[:3] == [os.fsencode(one), b"a circle on the grass", b"/nowhere.jpg"]
    assert len(names) == len(set(names)) == 3 + 20
    skipped = {os.path.basename(e.path) for e in results if isinstance(e, Skipped)}
    assert skipped == {b"nowhere.jpg", b"broken.jpg"}
    assert (results[0].label, results[1].label, results[1].path) == ("snow", "grass", None)


@pytest.mark.parametrize("count", [3, 6])
def test_the_classifier_of_examples_is_chosen_as_sklearn_would(world, count):
    fitted, accuracy, given, others = by_example(world, "colour", count)
    truth, labels = np.array(world.truth["colour"]), list(LABELS["colour"])[:-2]
    rows = np.concatenate([np.flatnonzero(truth == name)[:count] for name in labels])
    folds = StratifiedKFold(min(5, count), shuffle=True, random_state=0)
    model = LogisticRegression(C=10, max_iter=2000)
    predicted = cross_val_predict(
        model, world.vectors[Kind.IMAGE][rows], np.repeat(range(len(labels)), count), cv=folds
    )
    scores = {each.classifier: each.scores for each in fitted.validations}
    expected = accuracy_score(np.repeat(range(len(labels)), count), predicted)
    assert scores["logistic regression"].accuracy == pytest.approx(expected)
    assert fitted.name == max(scores, key=lambda name: scores[name].macro_f1)
    assert accuracy > 0.9
    assert given > 0.8


def test_many_examples_tell_strangers_apart(world):
    _, accuracy, given, others = by_example(world, "background", 12)
    assert (accuracy > 0.95, given > 0.8, others < 0.1) == (True, True, True)


def test_one_example_of_a_label_is_enough_for_the_nearest_centroid(world):
    rows = world.vectors[Kind.IMAGE]
    fitted = fit([(rows[0], 0), (rows[1], 1), (rows[2], 1)], [Label("a", ("a",)), Label("b", ())])
    assert (fitted.name, fitted.validations, fitted.folds) == ("nearest centroid", (), 0)
    assert fitted.shares(rows[:2]).argmax(axis=1).tolist() == [0, 1]
    with pytest.raises(QvsearchError, match="'b' has no example"):
        fit([(rows[0], 0)], [Label("a", ("a",)), Label("b", ())])


def test_scores_are_those_of_sklearn():
    rng = np.random.default_rng(3)
    names = np.array(list("abcde"))
    true, chosen = names[rng.integers(5, size=80)], names[rng.integers(4, size=80)]
    scores = set_scores([({one}, {other}) for one, other in zip(chosen, true, strict=True)])
    assert scores.accuracy == pytest.approx(accuracy_score(true, chosen))
    assert scores.macro_f1 == pytest.approx(f1_score(true, chosen, average="macro"))
    several = [set(names[rng.random(5) < 0.4].tolist()) for _ in range(160)]
    chosen, true = several[:80], several[80:]
    binary = MultiLabelBinarizer(classes=names).fit([])
    one, other = binary.transform(true), binary.transform(chosen)
    scores = set_scores(list(zip(chosen, true, strict=True)))
    assert scores.accuracy == pytest.approx(accuracy_score(one, other))
    assert scores.macro_f1 == pytest.approx(f1_score(one, other, average="macro"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "cat\n\n  dog: a dog | a puppy  \nScience: physics\n"),
        ("a.json", '{"cat": "cat", "dog": ["a dog", "a puppy"], "Science": ["physics"]}'),
        ("a.labels", '\ufeff["cat", "dog: not split", "Science"]'),
    ],
)
def test_labels_of_a_file(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    labels = read_labels(os.fsencode(path))
    assert labels[0] == Label("cat", ("cat",))
    if name != "a.labels":
        assert labels[1:] == [Label("dog", ("a dog", "a puppy")), Label("Science", ("physics",))]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("cat\n: x", "line 2: a label is empty"),
        ("cat:", "line 1.*empty phrasing"),
        ("cat: a | | b", "empty phrasing"),
        ("cat | dog", "has a |"),
        ("a\x1b[31m", "cannot be printed"),
        ('{"cat": 1}', "no list of phrasings"),
        ('{"cat": [""]}', "empty phrasing"),
        ('["cat", 3]', "no list of phrasings"),
        ("{", "not JSON"),
        ("\udcff", "UTF-8"),
        ("\n \n", "labels.txt has no label"),
        ("[]", "labels.txt has no label"),
    ],
)
def test_wrong_labels_are_named(tmp_path, text, reason):
    path = tmp_path / "labels.txt"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(QvsearchError, match=reason):
        read_labels(os.fsencode(path))


def test_several_phrasings_are_averaged(demo_embedder):
    labels = [parse_label("night: a night sky | the night sky"), parse_label("grass")]
    vectors = label_vectors(labels, demo_embedder, None)
    texts = ["a night sky", "the night sky"]
    mean = demo_embedder.embed([EmbedInput(text) for text in texts]).mean(axis=0)
    assert np.abs(vectors[0] - mean / np.linalg.norm(mean)).max() < 1e-5
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1])


def write_truth(folder, text, name="truth.csv"):
    (folder / name).write_text(text)
    return os.fsencode(folder / name)


def test_truth_of_tables_and_folders(tmp_path):
    a = os.fsencode(tmp_path / "a.jpg")
    expected = {a: {"cat", "dog"}, os.fsencode(tmp_path / "b.jpg"): set(), b"words": {"x"}}
    for name, text in (
        ("t.csv", "label,path,text\ncat,a.jpg,\ndog,./a.jpg,\n,b.jpg,\nx,,words\n"),
        ("t.tsv", "path\ttext\tlabel\na.jpg\t\tcat\na.jpg\t\tdog\nb.jpg\t\t\n\twords\tx\n"),
        (
            "t.jsonl",
            "\n".join(
                json.dumps(each)
                for each in (
                    {"path": "a.jpg", "label": "cat"},
                    {"path": os.fsdecode(a), "label": "dog"},
                    {"path": "b.jpg", "label": ""},
                    {"text": "words", "label": "x"},
                )
            ),
        ),
    ):
        assert read_truth(write_truth(tmp_path, text, name)) == expected
    (tmp_path / "sorted" / "cat").mkdir(parents=True)
    (tmp_path / "sorted" / "cat" / "1.jpg").touch()
    truth = read_truth(os.fsencode(tmp_path / "sorted"))
    assert truth == {os.fsencode(tmp_path / "sorted/cat/1.jpg"): {"cat"}}


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("t.csv", "a,b\n1,2\n", "must name the columns"),
        ("t.csv", "path,label\na.jpg\n", "line 2: there is no label"),
        ("t.csv", "path,label\n,cat\n", "line 2: there is neither"),
        ("t.csv", 'path,label\na,"b\n', "line 2: unexpected end"),
        ("t.csv", "path,label\n", "is empty"),
        ("t.jsonl", '{"path": "a", "label": "b"}\n{"path": 1}', "line 2: there is no label"),
        ("t.jsonl", "[1]", "line 1: it is not a JSON object"),
        ("t.jsonl", "{", "line 1: it is not JSON"),
        ("t.txt", "", "give a .csv"),
    ],
)
def test_a_wrong_truth_names_the_line(tmp_path, name, text, reason):
    with pytest.raises(QvsearchError, match=reason):
        read_truth(write_truth(tmp_path, text, name))


def test_a_library_is_classified_and_scored(run, indexed_photos):  # noqa: F811
    rows = "".join(f"{each},{each.split('-')[0]}\n" for each in os.listdir(indexed_photos))
    truth = write_truth(indexed_photos, "path,label\n" + rows)
    code, out, error = run("classify", *label_options(), "--truth", truth)
    assert (code, error) == (0, "")
    lines = out.decode().splitlines()
    assert lines[0].split() == ["label", "files", "surest", "path"]
    counts = {line.split()[0]: int(line.split()[1]) for line in lines[1:5]}
    assert set(counts) == set(GROUNDS)
    assert sum(counts.values()) == 20
    assert lines[-1].startswith("accuracy 0.9") or lines[-1].startswith("accuracy 1.000")
    assert "of 20 files" in lines[-1]
    code, out, _ = run("classify", *label_options(), "--truth", truth, "--json", "--unsure")
    *results, summary = records(out)
    assert code == 0
    assert len(results) == 20
    check_fields(classify_records.labelled_record, *results)
    check_fields(classify_records.labels_record, summary)
    assert summary["scored"] == 20
    assert sum(summary["counts"].values()) + summary["unsure"] == 20


def check_fields(function, *written):
    named = pages.names_of(function)
    assert all(set(each) <= named for each in written)


def test_filters_choose_the_files(run, indexed_photos):  # noqa: F811
    code, out, _ = run("classify", *label_options(), "--glob", "snow-*", "--json")
    assert code == 0
    assert {os.path.basename(each["path"])[:4] for each in records(out)[:-1]} == {"snow"}
    code, out, error = run("classify", *label_options(), "--after", "2999")
    assert (code, out, error) == (ExitCode.NOTHING_FOUND, b"", "")


def test_examples_label_a_library(run, indexed_photos, drawn):  # noqa: F811
    (indexed_photos.parent / "examples").symlink_to(drawn / "examples")
    shutil.copytree(drawn / "examples", indexed_photos.parent / "sorted")
    (indexed_photos.parent / "sorted" / "snow" / "broken.jpg").write_bytes(b"")
    place = indexed_photos.parent / "sorted"
    code, out, error = run("classify", "--examples", place)
    assert code == ExitCode.INCOMPLETE
    assert error.startswith(f"qvsearch: {place}/snow/broken.jpg: ")
    lines = out.decode().splitlines()
    assert lines[0] == "cross-validation in 4 parts; the first is used"
    assert {line.split("  ")[0] for line in lines[2:4]} == {
        "nearest centroid",
        "logistic regression",
    }
    code, out, _ = run("classify", "--examples", place, "--json", "--unsure")
    summary = records(out)[-1]
    check_fields(classify_records.labels_record, summary)
    check_fields(classify_records._validation_record, *summary["validations"])
    assert summary["folds"] == 4


def test_labels_become_keywords_and_links(run, indexed_photos):  # noqa: F811
    before = {name: (indexed_photos / name).read_bytes() for name in os.listdir(indexed_photos)}
    links = indexed_photos.parent / "links"
    line = ("classify", *label_options(), "--sidecar", "xmp", "--link-to", links)
    code, out, error = run(*line, "--dry-run")
    assert (code, error) == (0, "")
    assert "would write 20 sidecars, 20 of them new" in out.decode()
    assert sorted(os.listdir(indexed_photos)) == sorted(before)
    assert not links.exists()
    code, out, error = run(*line)
    assert (code, error) == (0, "")
    assert "wrote 20 sidecars, 20 of them new; 0 had their keywords" in out.decode()
    assert "made 20 links; 0 were there" in out.decode()
    assert {name: (indexed_photos / name).read_bytes() for name in before} == before
    targets = {os.readlink(each) for each in links.glob("*/*")}
    assert targets == {str(indexed_photos / name) for name in before}
    # a second run changes nothing, and index embeds nothing
    sidecars = {each: each.stat().st_mtime_ns for each in indexed_photos.glob("*.xmp")}
    code, out, _ = run(*line)
    assert "wrote 0 sidecars, 0 of them new; 20 had their keywords" in out.decode()
    assert "made 0 links; 20 were there" in out.decode()
    assert {each: each.stat().st_mtime_ns for each in sidecars} == sidecars
    code, out, _ = run("index", indexed_photos)
    assert b"found 20 = indexed 0 + unchanged 20 + skipped 0" in out


def test_what_cannot_be_written_ends_nothing_else(run, indexed_photos):  # noqa: F811
    (indexed_photos / "snow-8.jpg.xmp").write_text("broken")
    (indexed_photos / "grass-8.jpg").unlink()
    code, out, error = run("classify", *label_options(), "--sidecar", "xmp", "--json")
    assert code == ExitCode.INCOMPLETE
    lines = error.splitlines()
    assert len(lines) == 2
    assert f"qvsearch: {indexed_photos}/grass-8.jpg: it is no longer there" in lines
    assert any("snow-8.jpg.xmp: it is not XMP: line 1" in each for each in lines)
    assert len(list(indexed_photos.glob("*.xmp"))) == 19
    assert len(records(out)[-1]["skipped"]) == 2


def test_links_never_replace_and_names_are_safe(tmp_path):
    labels = ["a/b", "a_b", "..", "A:B", "x" * 300, "ok"]
    folders = LinkFolders(tmp_path / "links", labels)
    media = [tmp_path / str(number) / "p.jpg" for number in range(3)]
    for each in media:
        each.parent.mkdir()
        each.touch()
    (tmp_path / "links" / "ok").mkdir(parents=True)
    (tmp_path / "links" / "ok" / "p.jpg").write_text("mine")
    made = [folders.link(os.fsencode(each), "ok", dry_run=False) for each in media]
    assert [path.name for path, _ in made] == ["p-2.jpg", "p-3.jpg", "p-4.jpg"]
    assert (tmp_path / "links" / "ok" / "p.jpg").read_text() == "mine"
    again = folders.link(os.fsencode(media[1]), "ok", dry_run=False)
    assert again == (made[1][0], False)
    made = [folders.link(os.fsencode(media[0]), each, dry_run=False)[0] for each in labels[:5]]
    assert len({str(each.parent).casefold() for each in made}) == 5
    assert {each.parent.parent for each in made} == {tmp_path / "links"}
    hostile = tmp_path / ("\udcff" + "y" * 240 + ".jpeg")
    path, _ = folders.link(os.fsencode(hostile), "ok", dry_run=False)
    assert (path.name, os.readlink(path)) == (hostile.name, str(hostile))
    with pytest.raises(QvsearchError, match="not a folder"):
        LinkFolders(media[0], labels)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "there is no label"),
        (("--label", "cat"), "every file would be 'cat'; give another label, or add --unsure"),
        (("--label", "cat", "--label", "CAT"), "'CAT' is given twice"),
        (("--label", "cat", "--multi", "--unsure"), "leave out --unsure"),
        (("--label", "a", "--examples", "."), "--examples has the labels"),
        (("--examples", "."), "folders with examples"),
        (("--examples", "/nowhere"), "no such file"),
        (("--examples", ".", "--multi"), "--multi is for labels in words"),
        ((".", "--label", "a", "--label", "b", "--after", "2020"), "filters choose files"),
        (("--label", "a", "--label", "b", "--dry-run"), "--dry-run is for"),
        (("--label", "a", "--label", "b", "--sidecar", "iptc"), "'iptc' is unknown; give xmp"),
        (("--labels", "/nowhere"), "no such file"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(run, home, monkeypatch, arguments, reason):  # noqa: F811
    monkeypatch.chdir(home)
    code, out, error = run("classify", *arguments)
    assert (code, out) == (ExitCode.FAILED, b"")
    assert error.count("\n") == 1
    assert reason in error


def test_examples_without_scikit_learn_name_the_extra(run, indexed_photos, drawn, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "sklearn", None)
    code, out, error = run("classify", "--examples", drawn / "examples")
    assert (code, out) == (ExitCode.FAILED, b"")
    assert error == (
        'qvsearch: classify --examples needs scikit-learn: pip install "qvsearch[tasks]"\n'
    )


def test_a_truth_of_other_files_costs_no_result(run, indexed_photos):  # noqa: F811
    truth = write_truth(indexed_photos, "path,label\nelsewhere/a.jpg,snow\n")
    code, out, error = run("classify", *label_options(), "--truth", truth)
    assert code == ExitCode.INCOMPLETE
    assert out.startswith(b"label")
    assert error.startswith("qvsearch: no classified file is in --truth")


def test_true_labels_that_are_unknown_are_named_and_wrong_unless_left_out(run, indexed_photos):  # noqa: F811
    rows = "".join(f"{each},{each.split('-')[0]}\n" for each in os.listdir(indexed_photos))
    truth = write_truth(indexed_photos, "path,label\n" + rows)
    line = ("classify", "--label", "grass", "--label", "sand", "--truth", truth, "--json")
    code, out, error = run(*line)
    assert code == 0
    assert error == "true labels that are not among the labels: night, snow\n"
    plain = records(out)[-1]["accuracy"]
    assert plain <= 0.5
    code, out, _ = run(*line, "--unsure")
    assert records(out)[-1]["accuracy"] > 0.75


def test_names_of_folders_are_labels_as_they_are(tmp_path):
    for name in ("Trip: Rome | Milan", "other", ".hidden"):
        (tmp_path / name).mkdir()
    labels, _ = find_examples(os.fsencode(tmp_path))
    assert [each.name for each in labels] == ["Trip: Rome | Milan", "other"]


@pytest.mark.parametrize(("files", "labels"), [("a.jpg", ["a", "b"]), (["a.jpg"], "ab")])
def test_a_string_in_the_place_of_a_list_is_refused(demo_embedder, files, labels):  # noqa: F811
    with pytest.raises(QvsearchError, match="classify takes a list of"):
        classify(files, labels, demo_embedder)


def test_given_inputs_are_listed_and_the_wrong_ones_named(run, photos):  # noqa: F811
    inputs = [photos / "snow-8.jpg", "a circle on the grass", photos / "gone.jpg"]
    code, out, error = run("classify", *inputs, "--model", "demo", *label_options())
    assert code == ExitCode.INCOMPLETE
    assert "gone.jpg" in error
    lines = out.decode().splitlines()
    assert lines[1].split("  ")[0] == "snow"
    assert lines[2].endswith("a circle on the grass")


def test_the_demo_folder_with_films_and_notes(run, home):  # noqa: F811
    write_world(home / "try")
    run("index", home / "try/clips", home / "try/notes", "--model", "demo", "-q")
    code, out, error = run("classify", *label_options(), "--multi", "--sidecar", "xmp")
    assert (code, error) == (0, "")
    assert "texts have no sidecars: " in out.decode()
    assert {each.suffix for each in (home / "try/clips").iterdir()} <= {".mp4", ".xmp"}


def test_indexed_files_are_not_embedded_again(run, indexed_photos, demo_embedder):  # noqa: F811
    library = Library.open(os.environ["QVSEARCH_LIBRARY"])
    (indexed_photos / "snow-8.jpg").write_bytes((indexed_photos / "sand-8.jpg").read_bytes())
    embedded = []
    how = Embedding(lambda: demo_embedder, library.fingerprint, library, embedded=embedded.append)
    outcomes = list(embed_sources(find_sources([os.fspath(indexed_photos)]), how))
    assert sum(embedded) == 1
    apart = {source.name: vectors for source, vectors in outcomes}
    names = (indexed_photos / "sand-8.jpg", indexed_photos / "snow-8.jpg")
    one, other = (apart[os.fsencode(name)] for name in names)
    assert np.abs(one - other).max() < 1e-3  # of half precision in the library


def test_after_ctrl_c_the_rest_is_left_out(photos, demo_embedder):
    batches = []
    fingerprint = registry.fingerprint(demo_embedder.weights, demo_embedder.dim, Detail.LOW)
    how = Embedding(
        lambda: demo_embedder,
        fingerprint,
        stop=lambda: len(batches) > 0,
        embedded=batches.append,
    )
    outcomes = list(embed_sources(find_sources([os.fspath(photos)]), how))
    assert len(batches) == 1
    assert 0 < len(outcomes) < 20
    results = [
        Labelled(os.fsencode(each), Kind.IMAGE, True, ("a",), (Candidate("a", 1.0),))
        for each in sorted(photos.iterdir())
    ]
    written = write_labels(
        results,
        None,
        sidecars=True,
        dry_run=False,
        stop=lambda: len(list(photos.glob("*.xmp"))) == 3,
    )
    assert len(written.sidecars) == 3
