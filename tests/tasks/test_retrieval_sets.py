"""Sets on disk: each form gives the same queries, documents and grades; wrong lines are named."""

import json
import shutil

import pytest
from support.evaluation_sets import world, write_beir, write_lines

from qvsearch.errors import QvsearchError
from qvsearch.tasks.evaluation.read_sets import read_set
from qvsearch.tasks.evaluation.sets import Entry, LabelledSet, RetrievalSet, SentencePairs
from qvsearch.types import Skipped

LITTLE = world(count=2)


@pytest.fixture
def beir(tmp_path):
    write_lines(
        tmp_path / "corpus.jsonl",
        [{"_id": "a", "title": "T", "text": "one"}, {"_id": "b", "image": "b.png", "kind": "scan"}],
    )
    write_lines(
        tmp_path / "queries.jsonl",
        [
            {"_id": "q", "text": "who?", "lang": "en"},
            {"_id": "r", "text": "what?", "video": "r.mp4"},
        ],
    )
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta\t2\nq\tb\t0\n")
    return tmp_path


def names(entries):
    return [each.name for each in entries if isinstance(each, Entry)]


def reasons(skipped):
    return {each.path.decode(): each.reason for each in skipped}


def test_a_beir_folder_is_read_with_its_columns_and_files(beir):
    found = read_set(beir)
    assert isinstance(found, RetrievalSet)
    assert found.relevant == {"q": {"a": 2}}
    assert (names(found.queries), found.unjudged, found.left_out) == (["q"], 1, ())
    assert found.queries[0].language == "en"
    first, second = found.documents
    assert (first.source.text, second.kind) == ("T one", "scan")
    assert second.source.images == (str(beir / "b.png").encode(),)
    assert names(found.documents) == ["a", "b"]  # and again


def test_the_form_of_trec_and_other_splits_are_read(beir):
    (beir / "qrels" / "dev.tsv").write_text("r 0 b 1\n")
    assert read_set(beir, split="dev").relevant == {"r": {"b": 1}}
    with pytest.raises(QvsearchError, match=r"--split train; there are dev, test"):
        read_set(beir, split="train")


def test_wrong_lines_of_a_beir_folder_are_named_and_cost_no_other(beir):
    with (beir / "corpus.jsonl").open("ab") as file:
        file.write(b'{broken\n[1]\n{"text": "x"}\n{"_id": "a", "text": "again"}\n')
        file.write(b'{"_id": "c", "image": "https://example.org/c.png"}\n{"_id": "d"}\n\n')
    with (beir / "queries.jsonl").open("ab") as file:
        file.write(b'{"_id": "e", "text": ""}\n')
    (beir / "qrels" / "test.tsv").write_text("q\ta\t1\nnobody\ta\t1\nq\tmissing\t1\nq\nq\ta\t3\n")
    found = read_set(beir)
    bad = reasons(each for each in found.documents if isinstance(each, Skipped))
    assert [name.split()[1] for name in bad] == ["3", "4", "5", "6", "7", "8"]
    assert all(name.endswith(" of corpus.jsonl") for name in bad)
    texts = ["not JSON", "not a JSON object", "no _id", "'a' is there already", "not fetched"]
    for text, reason in zip([*texts, "no content"], bad.values(), strict=True):
        assert text in reason
    left_out = reasons(found.left_out)
    assert "no content" in left_out["line 3 of queries.jsonl"]
    assert "no query 'nobody'" in left_out["line 2 of test.tsv"]
    assert "no document 'missing'; it counts as not found" in left_out["line 3 of test.tsv"]
    assert "not a query's id" in left_out["line 4 of test.tsv"]
    assert "there already" in left_out["line 5 of test.tsv"]
    assert found.relevant == {"q": {"a": 1, "missing": 1}}


def test_ms_marco_is_read(tmp_path):
    (tmp_path / "collection.tsv").write_text('0\ta "quoted passage\n1\tanother\n2\ttoo\tmany\n')
    (tmp_path / "queries.dev.small.tsv").write_text("7\twhat is quoted\n")
    (tmp_path / "qrels.dev.small.tsv").write_text("7\t0\t0\t1\n")
    found = read_set(tmp_path)
    assert found.relevant == {"7": {"0": 1}}
    assert [each.source.text for each in found.documents if isinstance(each, Entry)] == [
        *('a "quoted passage', "another")
    ]
    (bad,) = (each for each in found.documents if isinstance(each, Skipped))
    assert bad.reason == "3 columns instead of 2"
    (tmp_path / "queries.dev.small.tsv").unlink()
    with pytest.raises(QvsearchError, match=r"no .*queries\.dev\.small\.tsv"):
        read_set(tmp_path)


def test_lines_of_queries_and_files_are_read(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"")
    (tmp_path / "set.csv").write_text(
        "Sentence,video_id,language\na dog,clip,en\na dog,b.png,en\n,c.png,\n"
        "a cat,d.zip,en\nx\n,,\na bird,gone,\n"
    )
    found = read_set(tmp_path / "set.csv")
    paths = [str(tmp_path / name) for name in ("clip.mp4", "b.png", "c.png")]
    assert names(found.documents) == paths
    assert list(found.relevant.values()) == [dict.fromkeys(paths[:2], 1)]
    assert [each.source.text for each in found.queries] == ["a dog"]
    bad = reasons(found.left_out)
    assert set(bad) == {f"line {number} of set.csv" for number in (5, 6, 8)}
    assert "no file gone.* in" in bad["line 8 of set.csv"]
    assert "unsupported suffix" in bad["line 5 of set.csv"]


def test_media_are_found_in_another_folder(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "set.tsv").write_text('query\tfile\n"a dog\tin/a.png\n')
    found = read_set(tmp_path / "set.tsv", media=tmp_path / "photos")
    assert names(found.documents) == [str(tmp_path / "photos" / "in" / "a.png")]
    assert found.queries[0].source.text == '"a dog'


def coco():
    return {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in range(2)],
        "annotations": [
            {"id": 10 * number + place, "image_id": number, "caption": f"caption {place}"}
            for number in range(2)
            for place in range(2)
        ],
    }


def test_captions_of_coco_are_read_in_both_directions(tmp_path):
    path = tmp_path / "captions.json"
    content = coco()
    content["annotations"] += [{"id": 99, "image_id": 7, "caption": "lost"}, {"id": 98}, 5]
    path.write_text(json.dumps(content))
    found = read_set(path)
    assert found.relevant["11"] == {"1": 1}
    assert len(found.queries) == 5
    assert found.relevant["99"] == {"7": 1}  # counts as not found
    assert set(reasons(found.left_out)) == {
        f"annotations[{number}] of captions.json" for number in (4, 5, 6)
    }
    back = read_set(path, reverse=True)
    assert back.relevant["1"] == {"10": 1, "11": 1}
    assert (names(back.queries), len(list(back.documents))) == (["0", "1"], 5)


def test_karpathys_split_is_read(tmp_path):
    images = [
        {
            "filename": f"{number}.jpg",
            "filepath": "val",
            "split": split,
            "sentences": [{"raw": "one"}, {"raw": "two"}],
        }
        for number, split in enumerate(["train", "test", "test"])
    ]
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "1.jpg").write_bytes(b"")
    path = tmp_path / "dataset_coco.json"
    path.write_text(json.dumps({"images": images}))
    found = read_set(path)
    assert names(found.documents) == ["1.jpg", "2.jpg"]
    assert len(found.queries) == 4
    first = next(iter(found.documents))
    assert first.source.images == (str(tmp_path / "val" / "1.jpg").encode(),)
    with pytest.raises(QvsearchError, match=r"--split dev; there are: test, train"):
        read_set(path, split="dev")


def test_squad_is_read(tmp_path):
    questions = [
        {"id": "a", "question": "Who?"},
        {"id": "b", "question": "?", "is_impossible": True},
    ]
    paragraphs = [{"context": "C", "qas": questions}, {"context": "D", "qas": [{"id": "a"}]}]
    path = tmp_path / "dev.json"
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    found = read_set(path)
    assert found.relevant == {"a": {"context 0": 1}}
    assert (found.unjudged, len(list(found.documents))) == (1, 2)
    assert "no question" in reasons(found.left_out)["data[0].paragraphs[1] of dev.json"]


def test_questions_about_images_are_read(tmp_path):
    asked = [{"question_id": n, "image_id": 5, "question": f"Is it {n}?"} for n in range(3)]
    answers = [{"question_id": n, "multiple_choice_answer": "yes"} for n in range(2)]
    (tmp_path / "v2_OpenEnded_mscoco_val2014_questions.json").write_text(
        json.dumps({"data_subtype": "val2014", "questions": asked})
    )
    (tmp_path / "v2_mscoco_val2014_annotations.json").write_text(
        json.dumps({"annotations": answers})
    )
    (tmp_path / "COCO_val2014_000000000005.jpg").write_bytes(b"")
    found = read_set(tmp_path)
    assert found.relevant == {"0": {"yes": 1}, "1": {"yes": 1}}
    source = found.queries[0].source
    assert (source.text, len(source.images), found.unjudged) == ("Is it 0?", 1, 1)
    assert [each.source.text for each in found.documents] == ["yes"]


def test_a_wrong_annotation_of_a_question_costs_only_itself_and_names_its_file(tmp_path):
    asked = [{"question_id": n, "image_id": 5, "question": f"Is it {n}?"} for n in range(3)]
    answers = [{"question_id": n, "multiple_choice_answer": "yes"} for n in range(2)]
    answers += [{"question_id": 2}, "none"]
    questions = tmp_path / "v2_OpenEnded_mscoco_val2014_questions.json"
    annotations = tmp_path / "v2_mscoco_val2014_annotations.json"
    questions.write_text(json.dumps({"data_subtype": "val2014", "questions": asked}))
    annotations.write_text(json.dumps({"annotations": answers}))
    (tmp_path / "COCO_val2014_000000000005.jpg").write_bytes(b"")
    found = read_set(tmp_path)
    assert found.relevant == {"0": {"yes": 1}, "1": {"yes": 1}}
    assert reasons(found.left_out) == {
        f"annotations[2] of {annotations.name}": "it has no multiple_choice_answer",
        f"annotations[3] of {annotations.name}": "it has no question_id",
    }
    annotations.write_text("{}")
    with pytest.raises(QvsearchError, match=f"{annotations}: there is no list of annotations"):
        read_set(tmp_path)


def test_moments_are_read(tmp_path):
    write_lines(
        tmp_path / "val.jsonl",
        [
            {"query": "a goal", "vid": "match", "relevant_windows": [[0, 2.5], [8, 9]]},
            {"query": "rain", "vid": "match", "relevant_windows": []},
            {"query": "bad", "vid": "match", "relevant_windows": [[3, 1]]},
        ],
    )
    (tmp_path / "match.mp4").write_bytes(b"")
    found = read_set(tmp_path / "val.jsonl")
    video = str(tmp_path / "match.mp4")
    assert found.windows == {"1": {video: ((0.0, 2.5), (8.0, 9.0))}}
    assert names(found.documents) == [video]
    assert "[3, 1]" in reasons(found.left_out)["line 3 of val.jsonl"]


STS = "main-captions\tMSRvid\t2012test\t0001\t{}\tA man.\tA woman.\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sts-test.csv", STS.format("2.5") + STS.format("x") + "short\n"),
        ("a.csv", 'sentence1,sentence2,score\nA man.,A woman.,2.5\n"A,b",,1\nA,B,nan\n'),
        (
            "a.jsonl",
            '{"sentence1": "A man.", "sentence2": "A woman.", "score": 2.5}\n{}\n{"score"\n',
        ),
    ],
)
def test_pairs_of_sentences_are_read(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    found = read_set(tmp_path / name)
    assert isinstance(found, SentencePairs)
    ((one, two),) = found.pairs
    assert (one.source.text, two.source.text, found.scores) == ("A man.", "A woman.", (2.5,))
    assert len(found.left_out) == 2


def test_folders_of_classes_are_read(tmp_path):
    for part, label, name in (
        ("train", "hot_dog", "1"),
        ("test", "hot_dog", "2"),
        ("test", "x", "3"),
    ):
        folder = tmp_path / part / label
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.png").write_bytes(b"")
    (tmp_path / "test" / "x" / "notes.zip").write_bytes(b"")
    found = read_set(tmp_path)
    assert isinstance(found, LabelledSet)
    assert (found.labels, found.truth, found.example_truth) == (("hot dog", "x"), (0, 1), (0,))
    assert "unsupported suffix" in found.left_out[0].reason
    (tmp_path / "test" / "\udcff").mkdir()
    assert {each.reason for each in read_set(tmp_path).left_out} == {
        "unsupported suffix",
        "the name of a label is not UTF-8",
    }
    shutil.rmtree(tmp_path / "train")
    assert read_set(tmp_path / "test").labels == ("hot dog", "x")


def test_ag_news_and_a_column_of_labels_are_read(tmp_path):
    (tmp_path / "classes.txt").write_text("World\nSports\n")
    (tmp_path / "test.csv").write_text('"2","Goal","He scored."\n"3","a","b"\n"1","War",""\n')
    found = read_set(tmp_path)
    assert [each.source.text for each in found.items] == ["Goal He scored.", "War"]
    assert [found.labels[number] for number in found.truth] == ["Sports", "World"]
    assert "a number from 1 to 2" in reasons(found.left_out)["line 2 of test.csv"]
    (tmp_path / "b.csv").write_text("text,label\nred,1\nblue,2\nblue,\n")
    found = read_set(tmp_path / "b.csv")
    assert (found.labels, len(found.left_out)) == (("1", "2"), 1)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.json", b"{\n\n!", "line 3 of .*a.json is not JSON"),
        ("a.json", b"[1]", "unknown form"),
        ("a.json", b"\xff", "is not JSON"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"one,two\n1,2\n", "columns one, two; a set needs query and file"),
        ("a.csv", b'query,file\n"a"b,c.png\n', "line 2 of .*a.csv is not CSV"),
        ("a.csv", b"query,file\n\xff\xfe,c.png\n", "line 2 .*is not UTF-8"),
        ("a.jsonl", b"{\n", "no line of JSON"),
        ("a.xls", b"x", "unknown suffix"),
        ("a/b.txt", b"x", "is not a set; give"),
    ],
)
def test_a_file_that_is_no_set_is_refused(tmp_path, name, content, reason):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(QvsearchError, match=reason):
        read_set(path.parent if "/" in name else path)


def test_a_set_that_does_not_exist_and_pairs_cannot_be_reversed(tmp_path):
    with pytest.raises(QvsearchError, match="no file or folder"):
        read_set(tmp_path / "gone")
    (tmp_path / "a.csv").write_text("sentence1,sentence2,score\na,b,1\n")
    with pytest.raises(QvsearchError, match="--reverse is for"):
        read_set(tmp_path / "a.csv", reverse=True)


def test_a_drawn_set_is_whole(tmp_path):
    found = read_set(write_beir(tmp_path, LITTLE, ("en", "zh"), notes=[0]))
    assert (len(found.queries), len(list(found.documents)), found.left_out) == (4, 2, ())


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("m.jsonl", {"query": "a", "vid": "x.mp4", "relevant_windows": 5}, "are not a list"),
        ("s.json", {"data": [{"paragraphs": [{"context": "c", "qas": [5]}]}]}, "no question"),
        ("t.json", {"data": [7]}, "no list of paragraphs"),
        (
            "k.json",
            {"images": [{"split": "test", "filename": "a.jpg", "sentences": 4}]},
            "no list of sentences",
        ),
        ("q.jsonl", {"query": "a", "file": "x" * 5000}, "is not a path"),
        ("r.jsonl", {"query": "a", "file": "\ud800.jpg"}, "is not a path"),
        ("l.jsonl", {"label": "\ud800", "text": "a"}, "its label is not UTF-8"),
    ],
)
def test_a_wrong_value_is_left_out(tmp_path, name, content, reason):
    (tmp_path / name).write_text(json.dumps(content))
    (skipped,) = read_set(tmp_path / name).left_out
    assert reason in skipped.reason


def test_files_of_a_wrong_name_or_encoding_are_named(tmp_path):
    (tmp_path / "questions.json").write_text('{"questions": []}')
    (tmp_path / "annotations.json").write_text('{"annotations": []}')
    with pytest.raises(QvsearchError, match=r"has no annotations of questions\.json"):
        read_set(tmp_path)
    (tmp_path / "classes.txt").write_bytes(b"\xff\n")
    with pytest.raises(QvsearchError, match=r"classes\.txt is not UTF-8"):
        read_set(tmp_path)


def test_queries_without_a_moment_are_counted(tmp_path):
    path = tmp_path / "moments.jsonl"
    query = {"query": "a", "vid": "x.mp4"}
    write_lines(path, [query, {**query, "relevant_windows": [[0, 2]]}])
    found = read_set(path)
    assert (names(found.queries), found.unjudged) == (["2"], 1)


def test_a_grade_is_a_whole_number(beir):
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta\t2.0\nq\tb\t0.5\n")
    found = read_set(beir)
    assert found.relevant == {"q": {"a": 2}}
    assert "a whole grade" in reasons(found.left_out)["line 3 of test.tsv"]
