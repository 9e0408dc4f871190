"""Training data in every form, and each way in which a line can be wrong."""

import csv
import json
from dataclasses import replace

import pytest
from PIL import Image
from support.model_inputs import pixels
from support.videos import frame_of, make

from qvsearch.errors import QvsearchError
from qvsearch.tasks.finetuning.batches import Reader
from qvsearch.tasks.finetuning.data import Pair, read_pairs, split
from qvsearch.tasks.inputs import TaskInput, file_input
from qvsearch.types import Detail

ASK = "Find it."


def words(text, instruction=None):
    return TaskInput(text.encode(), text, instruction=instruction)


def picture(path, seed=0):
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(pixels(64, 64, seed)).save(path)
    return file_input(bytes(path))


def table(path, *rows, delimiter=","):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def lines(path, *records):
    path.write_text(
        "\n".join(each if isinstance(each, str) else json.dumps(each) for each in records)
    )
    return path


def read(path, **options):
    return read_pairs(path, ASK, **options)


def reasons(data):
    return [f"{each.path.decode()}: {each.reason}" for each in data.skipped]


@pytest.mark.parametrize(("name", "delimiter"), [("pairs.csv", ","), ("pairs.tsv", "\t")])
def test_a_table_has_words_files_and_negatives(tmp_path, name, delimiter):
    one, two = picture(tmp_path / "a b.png"), picture(tmp_path / "sub" / "b.jpg", 1)
    source = table(
        tmp_path / name,
        ["query", "positive", "negative", "negative_2", "note"],
        ["a dog", "a b.png", "sub/b.jpg", "words, too", "ignored"],
        ["sub/b.jpg", "a text of\ntwo lines", "", "", ""],
        delimiter=delimiter,
    )
    data = read(source)
    assert data.skipped == ()
    first, second = data.pairs
    assert first == Pair(words("a dog", ASK), one, (two, words("words, too")))
    assert second.query == file_input(bytes(tmp_path / "sub" / "b.jpg"), ASK)
    assert second.positive == words("a text of\ntwo lines")
    assert second.negatives == ()


def test_a_table_from_a_spreadsheet_has_a_mark_first(tmp_path):
    source = tmp_path / "pairs.csv"
    source.write_bytes(b"\xef\xbb\xbfquery,positive\r\na,b\r\n")
    assert read(source).pairs == (Pair(words("a", ASK), words("b")),)


def test_lines_of_json_have_lists_and_objects(tmp_path):
    one = picture(tmp_path / "a.png")
    source = lines(
        tmp_path / "pairs.jsonl",
        {"query": "a", "positive": "b", "negative": ["c", {"text": "d", "image": "a.png"}]},
        "",
        {"query": {"image": "a.png", "text": "at night"}, "path": "a.png", "instruction": "Other."},
    )
    first, second = read(source).pairs
    both = replace(one, text="d")
    assert first == Pair(words("a", ASK), words("b"), (words("c"), both))
    assert second == Pair(replace(one, text="at night", instruction="Other."), one)


def test_judged_rows_are_answers_and_negatives(tmp_path):
    one, two, three = (picture(tmp_path / f"{n}.png", n) for n in range(3))
    source = lines(
        tmp_path / "judged.jsonl",
        {"query": "a", "path": str(tmp_path / "0.png"), "relevant": True, "rank": 1},
        {"query": "a", "path": "1.png", "relevant": False},
        {"query": "b", "path": "1.png", "relevant": True},
        {"query": "a", "path": "2.png", "relevant": 1},
    )
    assert read(source).pairs == (
        Pair(words("a", ASK), one, (two,)),
        Pair(words("b", ASK), two),
        Pair(words("a", ASK), three, (two,)),
    )


def test_captions_in_the_form_of_coco(tmp_path):
    one = picture(tmp_path / "val" / "1.jpg")
    content = {
        "images": [{"id": 7, "file_name": "1.jpg"}],
        "annotations": [
            {"image_id": 7, "caption": "a dog", "id": 1},
            {"image_id": 8, "caption": "a cat"},
            {"image_id": 7, "caption": "an animal"},
        ],
    }
    source = tmp_path / "captions.json"
    source.write_text(json.dumps(content))
    data = read(source, images=tmp_path / "val")
    assert data.pairs == (Pair(words("a dog", ASK), one), Pair(words("an animal", ASK), one))
    assert reasons(data) == [
        "annotation 2 of captions.json: it has no caption, or no image of this file"
    ]
    with pytest.raises(QvsearchError, match=rf"there is no file {tmp_path}/1.jpg"):
        read(source)  # without --images they are beside the file


def test_a_folder_has_captions_beside_pictures(tmp_path):
    one = picture(tmp_path / "sub" / "1.jpg")
    (tmp_path / "sub" / "1.txt").write_text(" a dog\non a beach \n")
    picture(tmp_path / "2.png")
    make(tmp_path / "3.mp4", [frame_of(number) for number in range(4)])
    (tmp_path / "3.txt").write_text("beach.jpg")  # a caption is always words
    (tmp_path / "notes.md").write_text("not a caption")
    data = read(tmp_path)
    film = file_input(bytes(tmp_path / "3.mp4"))
    assert data.pairs == (
        Pair(words("beach.jpg", ASK), film),
        Pair(words("a dog\non a beach", ASK), one),
    )
    assert reasons(data) == [f"{tmp_path}/2.png: it has no caption 2.txt beside it"]


def test_wrong_lines_are_named_and_the_others_read(tmp_path):
    source = lines(
        tmp_path / "pairs.jsonl",
        {"query": "a", "positive": "b"},
        "{",
        "[1]",
        {"positive": "b"},
        {"query": "a"},
        {"query": " ", "positive": "b"},
        {"query": 5, "positive": "b"},
        {"query": "a", "positive": "gone.jpg"},
        {"query": "a", "positive": {"image": "gone.jpg"}},
        {"query": "a", "positive": "b", "negative": "gone.png"},
        {"query": "a", "positive": {"image": "https://example.org/a.jpg"}},
        {"query": "\ud800", "positive": "b"},
        {"query": "a", "path": "a\0b.jpg"},
    )
    data = read(source)
    assert data.pairs == (Pair(words("a", ASK), words("b")),)
    assert [reason.partition(" of pairs.jsonl: ")[0] for reason in reasons(data)] == [
        f"line {number}" for number in range(2, 14)
    ]
    texts = [each.reason for each in data.skipped]
    assert texts[0].startswith("it is not JSON: ")
    assert texts[1:4] == [
        "it is not a JSON object",
        "it has no query",
        "it has no positive and no path",
    ]
    assert texts[4:6] == ["query is empty", "query is of type int; give a dictionary"]
    gone = f"there is no file {tmp_path}/gone.jpg"
    assert texts[6:8] == [f"positive: {gone}"] * 2
    assert texts[8] == f"negative: there is no file {tmp_path}/gone.png"
    assert "URLs are not fetched" in texts[9]
    assert "lone surrogate" in texts[10]


def test_wrong_rows_of_a_table_are_named(tmp_path):
    source = table(
        tmp_path / "pairs.csv",
        ["query", "positive"],
        ["a", "b", "c"],
        [],
        ["a", "no.jpg"],
        ["a", "b"],
    )
    data = read(source)
    assert data.pairs == (Pair(words("a", ASK), words("b")),)
    assert reasons(data) == [
        "line 2 of pairs.csv: it has 3 columns, not 2",
        f"line 4 of pairs.csv: positive: there is no file {tmp_path}/no.jpg",
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b'query,positive\na,"b\n', r"line 2 of .*a.csv is not CSV: unexpected end"),
        ("a.csv", b"question,answer\na,b\n", r"must name the columns query and positive; it has"),
        ("a.csv", b"", r"must name the columns query and positive; it has none"),
        ("a.csv", b"query,positive\n\xff,b\n", r"a.csv is not UTF-8 text \(byte 15\)"),
        ("a.json", b"{", r"a.json is not JSON: .* line 1 column 2"),
        ("a.json", b"[]", r"a.json is not COCO's captions: it needs a list `images`"),
        ("a.xlsx", b"", r"a.xlsx has an unsupported form; give a .csv, .tsv or .jsonl file"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(QvsearchError, match=message):
        read(tmp_path / name)


def test_data_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(QvsearchError, match=r"there is no .*pairs.csv; give a .csv"):
        read(tmp_path / "pairs.csv")


def test_data_without_a_usable_pair_are_refused_with_the_first_reason(tmp_path):
    source = table(tmp_path / "pairs.csv", ["query", "positive"], ["a", "no.jpg"], ["b", "c.jpg"])
    with pytest.raises(QvsearchError, match=r"usable pairs: line 2 of pairs.csv: .*no.jpg$"):
        read(source)
    (tmp_path / "empty").mkdir()
    with pytest.raises(QvsearchError, match=r"empty has no usable pairs$"):
        read(tmp_path / "empty")


def test_one_pair_is_too_few(tmp_path):
    source = table(tmp_path / "pairs.csv", ["query", "positive"], ["a", "b"])
    with pytest.raises(
        QvsearchError, match="1 different documents in 1 usable pairs are .* least 4"
    ):
        split(read(source), 0.1, 0)


def test_no_document_is_on_both_sides(tmp_path):
    rows = [[f"query {n}", f"document {n // 3}", f"document {n % 30}"] for n in range(90)]
    data = read(table(tmp_path / "pairs.csv", ["query", "positive", "negative"], *rows))
    train, held_out = split(data, 0.2, 0)
    assert len(held_out) == 3 * 6
    assert len(train) + len(held_out) == 90
    trained = {each for pair in train for each in (pair.positive, *pair.negatives)}
    assert not trained & {pair.positive for pair in held_out}
    assert split(data, 0.2, 0) == (train, held_out)
    assert split(data, 0.2, 1) != (train, held_out)


def test_unreadable_files_cost_their_pairs_only(tmp_path):
    good, bad = picture(tmp_path / "good.png"), tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG no picture")
    broken = file_input(bytes(bad))
    pairs = [
        Pair(words("a"), good, (broken,)),
        Pair(words("b"), broken),
        Pair(words("c"), words("C")),
    ]
    reader = Reader(Detail.LOW)
    first, second = reader.batches([pairs, pairs[1:]])
    assert first.pairs == (Pair(words("a"), good), pairs[2])
    assert second.pairs == (pairs[2],)
    assert first.inputs[good].images[0].shape == (64, 64, 3)
    (skipped,) = reader.skipped.values()
    assert skipped.path == bytes(bad)


def test_batches_are_the_same_without_a_cache(tmp_path, monkeypatch):
    pairs = [Pair(words(f"{n}"), picture(tmp_path / f"{n}.png", n)) for n in range(6)]
    groups = [pairs[:3], pairs[2:5], pairs[3:], pairs[:3]]
    cached = list(Reader(Detail.LOW).batches(groups))
    monkeypatch.setattr("qvsearch.tasks.finetuning.batches.CACHED", 0)
    monkeypatch.setattr("qvsearch.tasks.finetuning.batches.AT_ONCE", 4)
    uncached = list(Reader(Detail.LOW).batches(groups))
    for one, other in zip(cached, uncached, strict=True):
        assert one.pairs == other.pairs
        for key, source in one.inputs.items():
            pair = source.images, other.inputs[key].images
            assert all((left == right).all() for left, right in zip(*pair, strict=True))


def test_a_table_may_judge_documents_too(tmp_path):
    path = tmp_path / "judged.csv"
    rows = ["query,positive,relevant", "a,one,1", "a,two,0", "a,three,False", "b,two,true"]
    path.write_text("\n".join(rows) + "\n")
    pairs = read_pairs(path, "").pairs
    assert [(each.query.text, each.positive.text) for each in pairs] == [("a", "one"), ("b", "two")]
    assert [each.text for each in pairs[0].negatives] == ["two", "three"]
