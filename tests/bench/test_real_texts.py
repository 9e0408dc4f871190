"""Datasets of texts become libraries whose matches are the published answers."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.quality

BENCH = Path(__file__).parent

CAPTIONS = """\
1.jpg#0\tA dog runs .
1.jpg#1\tA brown dog on grass .
1.jpg#2\tThe dog plays .
2.jpg#0\tA red boat .
2.jpg#1\tThe vessel at sea .
2.jpg#2\tA small boat .
"""
SYNSETS = """\
  1 a licence
00000001 05 n 01 animal 0 002 ~ 00000002 n 0000 ~ 00000004 n 0000 | a living being; "it moves"
00000002 05 n 01 dog 0 002 @ 00000001 n 0000 ~i 00000003 n 0000 | it barks
00000003 05 n 01 Rex 0 001 @i 00000002 n 0000 | a famous dog
00000004 05 n 01 cat 0 001 @ 00000001 n 0000 | it purrs
00000005 06 n 01 lead 0 000 | you walk a dog with it
"""
INDEX = """\
  1 a licence
animal n 1 1 ~ 1 1 00000001
dog n 2 2 @ ~ 2 1 00000002 00000005
lead n 1 0 1 0 00000005
"""
DOCUMENTS = ".I 1\n.T\nwings\n.A\na. author\n.W\nlift of\na wing\n.I 2\n.W\nheat\n.I 3\n.W\nflow\n"
QUESTIONS = ".I 001\n.W\nwhat is lift\n.I 004\n.W\nwhat is heat\n"
JUDGEMENTS = "1 1 2\n1 3 -1\n2 2 1\n"


@pytest.fixture
def files(tmp_path):
    contents = {
        "captions": CAPTIONS,
        "data.noun": SYNSETS,
        "index.noun": INDEX,
        "wings.all": DOCUMENTS,
        "wings.qry": QUESTIONS,
        "wings.rel": JUDGEMENTS,
    }
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    import real_texts

    monkeypatch.setattr(real_texts, "NAMED", (1, 9))
    return real_texts


def texts_that_answer(data):
    return {
        query: sorted(data.texts[row] for row in rows)
        for query, rows in zip(data.queries, data.answers, strict=True)
    }


def test_the_captions_of_a_picture_answer_its_first_one(bench, files):
    data = bench.captions(files / "captions", np.random.default_rng(1))
    answers = texts_that_answer(data)
    assert answers["A dog runs ."] == ["A brown dog on grass .", "The dog plays ."]
    assert answers["A red boat ."] == ["A small boat .", "The vessel at sea ."]


def test_captions_that_name_a_thing_answer_it_and_others_of_its_picture_are_unclear(bench, files):
    data = bench.captions(files / "captions", np.random.default_rng(1))
    assert texts_that_answer(data)["a boat"] == ["A small boat ."]
    unclear = data.unclear[data.queries.index("a boat")]
    assert [data.texts[row] for row in unclear] == ["The vessel at sea ."]


def test_what_a_noun_names_answers_it_and_what_only_has_the_word_is_left_out(bench, files):
    data = bench.nouns(files, np.random.default_rng(1))
    assert texts_that_answer(data) == {
        "animal": ["a famous dog", "a living being", "it barks", "it purrs"],
        "dog": ["a famous dog", "it barks"],
    }
    of_dog = data.unclear[data.queries.index("dog")]
    assert sorted(data.texts[row] for row in of_dog) == ["a famous dog", "you walk a dog with it"]


def test_a_document_judged_below_zero_does_not_answer(bench, files):
    data = bench.collection(*(files / f"wings.{end}" for end in ("all", "qry", "rel")))
    assert texts_that_answer(data) == {
        "what is lift": ["wings lift of a wing"],
        "what is heat": ["heat"],
    }


def test_it_prints_the_figures_of_each_dataset(bench, files, monkeypatch, capsys):
    monkeypatch.chdir(files)
    arguments = "demo --count 1 --captions captions --nouns . --smart wings.all wings.qry wings.rel"
    monkeypatch.setattr(sys, "argv", ["real_relevance.py", *arguments.split()])
    import real_relevance

    real_relevance.main()
    printed = capsys.readouterr().out
    for name in ("captions", "nouns", "wings"):
        assert re.search(rf"few +{name} +\d", printed)
    assert re.search(r"mean silence, foreign .* 3 cells", printed)
    assert re.search(r"calibration error of the first ten hits [01]\.\d+", printed)


def test_real_texts_have_their_share_of_the_weight_of_a_fit(bench, files):
    import fit_relevance

    data = bench.captions(files / "captions", np.random.default_rng(1))
    drawn = np.zeros((4, 13)), np.zeros(4, np.bool_), np.full(4, 2.0)
    inputs, matches, weights = fit_relevance.with_real_texts(drawn, ["demo"], [data])
    assert len(inputs) == len(matches) == len(weights) > 4
    assert weights[:4].sum() == pytest.approx(0.85 * weights.sum())
    assert 0 < matches[4:].sum() < len(matches) - 4
