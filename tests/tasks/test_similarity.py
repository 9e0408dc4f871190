"""The command similarity: what it compares, how it shows it, and files of pairs."""

import csv
import io
import json
import os
import sys

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from support.commands import home, records, run  # noqa: F401 - fixtures
from support.terminal import in_terminal, is_harmless, without_escapes

from qvsearch import similarity
from qvsearch.cli import similarity_table
from qvsearch.demo.world import draw, random_scene
from qvsearch.errors import QvsearchError
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.types import EmbedInput

WORDS = ["a red circle", "a red ring", "a blue star"]


@pytest.fixture
def place(home, monkeypatch):  # noqa: F811
    """A folder with two pictures of one colour each, without a library of its own."""
    monkeypatch.chdir(home)
    for colour in ("red", "blue"):
        Image.new("RGB", (64, 64), colour).save(f"{colour}.png")
    return home


def vectors(embedder, sources, instruction=None):
    """Rows of words and of pictures, by the embedder alone."""
    inputs = [
        EmbedInput(images=(Image.open(each),), instruction=instruction)
        if each.endswith(".png")
        else EmbedInput(each, instruction=instruction)
        for each in sources
    ]
    return embedder.embed(inputs)


def compare(run, *arguments):  # noqa: F811
    return run("similarity", *arguments, "--model", "demo", "--detail", "medium")


def matrix(out):
    found = records(out)
    shape = max(each["a"] for each in found) + 1, max(each["b"] for each in found) + 1
    values = np.full(shape, np.nan)
    for each in found:
        values[each["a"], each["b"]] = each["similarity"]
    return values


def test_the_matrix_is_of_the_inputs_vectors(run, place, demo_embedder):  # noqa: F811
    sources = [*WORDS, "red.png"]
    rows = vectors(demo_embedder, sources)
    code, out, error = compare(run, *sources, "--json")
    assert (code, error) == (0, "")
    assert np.abs(matrix(out) - rows @ rows.T).max() < 1e-5
    names = [each["a_name"] for each in records(out)[::4]]
    assert names == [*WORDS, str(place / "red.png")]
    other = [*WORDS[:1], "blue.png"]
    columns = vectors(demo_embedder, other)
    arguments = [*sources, *(each for name in other for each in ("--with", name)), "--json"]
    _, out, _ = compare(run, *arguments)
    assert np.abs(matrix(out) - rows @ columns.T).max() < 1e-5
    _, dot, _ = compare(run, *arguments, "--metric", "dot")
    assert np.abs(matrix(dot) - matrix(out)).max() < 1e-6
    _, far, _ = compare(run, *arguments, "--metric", "euclidean")
    apart = np.linalg.norm(rows[:, None].astype(float) - columns, axis=-1)
    assert np.abs(matrix(far) - apart).max() < 1e-5
    assert matrix(far)[0, 0] < 1e-6  # the same words, not the root of a rounding error


def test_queries_and_instructions(run, place, demo_embedder):  # noqa: F811
    rows = vectors(demo_embedder, WORDS, QUERY_INSTRUCTION)
    pictures = vectors(demo_embedder, ["red.png"])
    _, out, _ = compare(run, *WORDS, "--with", "red.png", "--query", "--json")
    assert np.abs(matrix(out) - rows @ pictures.T).max() < 1e-5
    own = vectors(demo_embedder, WORDS, "Find shapes.")
    _, out, _ = compare(run, *WORDS, "--instruction", "Find shapes", "--json")
    assert np.abs(matrix(out) - own @ own.T).max() < 1e-5
    _, out, _ = compare(
        run, *WORDS, "--with", "red.png", "--query", "--instruction", "Find shapes", "--json"
    )
    assert np.abs(matrix(out) - own @ pictures.T).max() < 1e-5


def test_files_of_lines_and_every_form_of_output(run, place, demo_embedder, monkeypatch):  # noqa: F811
    (place / "b.txt").write_text('{"image": "red.png"}\n"a, \\"b\\""\n')
    lines = io.TextIOWrapper(io.BytesIO(b"rot\nblau\n"))
    monkeypatch.setattr(sys, "stdin", lines)
    code, out, error = compare(
        run, "a ring", "-", "--with-from", "b.txt", "--csv", "-", "-o", "m.npz"
    )
    assert (code, error) == (0, "")
    expected = vectors(demo_embedder, ["a ring", "rot", "blau"]) @ (
        vectors(demo_embedder, ["red.png", 'a, "b"']).T
    )
    heading, *rows = csv.reader(io.StringIO(out.decode()))
    assert heading == ["", str(place / "red.png"), 'a, "b"']
    assert [each[0] for each in rows] == ["a ring", "rot", "blau"]
    assert np.abs(np.array([each[1:] for each in rows], float) - expected).max() < 1e-5
    file = np.load("m.npz", allow_pickle=False)
    assert np.abs(file["similarity"] - expected).max() < 1e-5
    assert file["rows"].tolist() == ["a ring", "rot", "blau"]
    assert file["columns"].tolist() == heading[1:]
    assert file["row_index"].tolist() == [0, 1, 2]
    code, printed, _ = compare(run, "a ring", "--with-from", "b.txt", "--csv", "m.csv")
    assert (code, printed.decode()) == (0, f"1 x 2 numbers written to {place / 'm.csv'}\n")
    assert (place / "m.csv").read_bytes().splitlines() == out.splitlines()[:2]


def test_bad_inputs_have_no_row_and_no_column(run, place):  # noqa: F811
    (place / "ruin.jpg").write_bytes(b"no picture")
    code, out, error = compare(
        run, "gone.jpg", "a", "--with", "b", "--with", "ruin.jpg", "--with", "c", "--json"
    )
    assert code == 3
    first, second = error.splitlines()
    assert first.startswith("qvsearch: input 0, gone.jpg: there is no file")
    assert second.startswith("qvsearch: --with 1, ")
    assert "ruin.jpg" in second
    assert [(each["a"], each["b"]) for each in records(out)] == [(1, 0), (1, 2)]
    code, out, error = compare(run, "gone.jpg")
    assert (code, out) == (3, b"")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "INPUT is missing"),
        (["a", "--metric", "l1"], "--metric 'l1' is unknown"),
        (["a", "--query"], "--query needs a second side"),
        (["a", "--rerank", "--metric", "dot"], "give one"),
        (["a", "--reranker", "x"], "--reranker is for --rerank"),
        (["a", "-o", "a.csv"], "does not end in .npz"),
        (["a", "--csv", "none/a.csv"], "there is no folder"),
        (["a", "--csv", "-", "--json"], "both print"),
        (["a", "--columns", "a,b"], "--columns is for a file of pairs"),
        (["--from", "empty.txt"], "nothing to compare"),
        (["--from", "-", "--with-from", "-"], "one side only"),
        (["--from", "many.txt"], "a table of 101 columns"),
        (["a", "--pairs", "p.tsv"], "leave out the other inputs"),
        (["--pairs", "p.tsv", "--json"], "leave out --csv"),
        (["--pairs", "p.txt"], "does not end in .tsv, .csv or .jsonl"),
        (["--pairs", "p.tsv", "-o", "a.npz"], "does not end in .tsv"),
        (["--pairs", "p.tsv", "--columns", "left"], "is not two names"),
        (["--pairs", "p.tsv", "--columns", "left,right"], "p.tsv has no column left"),
        (["--pairs", "p.tsv", "--columns", "1,9"], "p.tsv has no column 9"),
        (["--pairs", "one.csv"], "one.csv has no column 2"),
        (["--pairs", "done.csv"], "already has a column similarity"),
        (["--pairs", "odd.jsonl"], "no known columns"),
        (["--pairs", "gone.csv"], "No such file"),
    ],
)
def test_mistakes_are_one_sentence(run, place, arguments, message):  # noqa: F811
    files = {"empty.txt": "\n", "many.txt": "a\n" * 101, "p.tsv": "a\tb\n", "p.txt": "a\tb\n"}
    files |= {"one.csv": "a\n", "done.csv": "a,b,similarity\nx,y,1\n", "odd.jsonl": '{"c": 1}\n'}
    for name, text in files.items():
        (place / name).write_text(text)
    before = sorted(os.listdir())
    code, out, error = compare(run, *arguments)
    assert (code, out) == (2, b"")
    assert message in error
    assert error.count("\n") == 1
    assert sorted(os.listdir()) == before


def test_a_matrix_that_no_memory_holds_is_refused_before_any_work(demo_embedder):
    with pytest.raises(QvsearchError, match=r"20,000 x 20,000 pairs are more than"):
        similarity(["a"] * 20_000, embedder=demo_embedder)


STS = (
    "index\tgenre\tsentence1\tsentence2\tscore\n"
    '0\tx\tA red "circle\ta red ring\t4.2\n'
    "1\tx\ta red ring\t\t1.0\n"
    "2\tx\tein Stern\ta blue star\t3.0\n"
)


def cosines(embedder, pairs):
    sources = [each for pair in pairs for each in pair]
    rows = vectors(embedder, sources)
    return np.einsum("nd,nd->n", rows[::2], rows[1::2])


def test_sentence_pairs_get_a_column(run, place, demo_embedder):  # noqa: F811
    (place / "sts.tsv").write_text(STS)
    code, out, error = compare(run, "--pairs", "sts.tsv")
    assert code == 3
    assert error.startswith(f"qvsearch: line 3 of {place / 'sts.tsv'}: has no content")
    lines = out.decode().splitlines()
    assert [line.rpartition("\t")[0] for line in lines] == STS.splitlines()
    shown = [line.rpartition("\t")[2] for line in lines]
    assert [shown[0], shown[2]] == ["similarity", ""]
    pairs = [('A red "circle', "a red ring"), ("ein Stern", "a blue star")]
    expected = cosines(demo_embedder, pairs)
    assert np.abs(np.array([shown[1], shown[3]], float) - expected).max() < 1e-5
    code, again, _ = compare(run, "--pairs", "sts.tsv", "-o", "scored.tsv", "--quiet")
    assert (code, again) == (3, b"")
    assert (place / "scored.tsv").read_bytes() == out


def test_a_table_of_any_columns_with_files_and_quotes(run, place, demo_embedder):  # noqa: F811
    (place / "sub").mkdir()
    os.rename("red.png", "sub/red.png")
    text = '\ufefflabel,left,right\r\n"a, b","a ""red"" thing",red.png\r\n'
    text += "x,gone.png,a\r\n1,2,3,4\r\nshort\r\n"
    (place / "sub" / "p.csv").write_bytes(text.encode())
    code, out, error = compare(run, "--pairs", "sub/p.csv", "--columns", "right,left")
    assert code == 3
    heading, first, second, third, fourth = csv.reader(io.StringIO(out.decode()))
    assert heading == ["label", "left", "right", "similarity"]
    expected = cosines(demo_embedder, [('a "red" thing', "sub/red.png")])[0]
    assert first[:3] == ["a, b", 'a "red" thing', "red.png"]
    assert float(first[3]) == pytest.approx(expected, abs=1e-5)
    assert second == ["x", "gone.png", "a", ""]
    assert third == ["1", "2", "3", "4", ""]
    assert fourth == ["short", "", "", ""]
    name = place / "sub" / "p.csv"
    reasons = error.splitlines()
    assert [line.partition(": ")[2].partition(":")[0] for line in reasons] == [
        f"line {number} of {name}" for number in (3, 4, 5)
    ]
    assert "4 columns, and the first line has 3" in reasons[1]


def test_columns_are_numbered_as_in_json_and_in_messages(run, place, monkeypatch):  # noqa: F811
    narrow = lambda: Console(file=io.StringIO(), highlight=False, width=72)  # noqa: E731
    monkeypatch.setattr(similarity_table, "new_console", narrow)
    words = [f"the long sentence of number {number}" for number in range(4)]
    words.insert(1, "gone.jpg")
    code, out, error = compare(run, *words)
    assert code == 3
    assert error.startswith("qvsearch: input 1, gone.jpg: ")
    heading, *rows = out.decode().splitlines()
    assert heading.split() == ["0", "2", "3", "4"]
    assert [row.split()[0] for row in rows] == ["0", "2", "3", "4"]
    _, out, _ = compare(run, *words, "--json")
    assert {each[side] for each in records(out) for side in "ab"} == {0, 2, 3, 4}


HOSTILE = "red\x1b]0;owned\x07 and\nmore, \u202egnp"


def test_names_in_csv_are_exact_for_programs_and_harmless_to_see(run, place, monkeypatch):  # noqa: F811
    code, out, _ = compare(run, HOSTILE, "--with", "a", "--csv", "-")
    assert code == 0
    assert [row[0] for row in csv.reader(io.StringIO(out.decode(), newline=""))][1:] == [HOSTILE]
    compare(run, HOSTILE, "--with", "a", "--csv", "m.csv")
    assert (place / "m.csv").read_bytes() == out
    shown = in_terminal(
        f"import sys; from qvsearch.cli.vector_options import write_lines; write_lines({out!r})"
    )
    assert all(map(is_harmless, shown.replace("\r", "").splitlines()))
    assert "\\x1b]0;owned" in shown


def test_pairs_without_a_heading_are_the_first_two_columns(run, place, demo_embedder):  # noqa: F811
    (place / "p.csv").write_text("a ring,a circle\nred.png,something red\n")
    code, out, _ = compare(run, "--pairs", "p.csv", "--metric", "euclidean")
    assert code == 0
    shown = [float(line.rpartition(",")[2]) for line in out.decode().splitlines()]
    pairs = [("a ring", "a circle"), ("red.png", "something red")]
    expected = np.sqrt(2 - 2 * cosines(demo_embedder, pairs).astype(float))
    assert np.abs(shown - expected).max() < 1e-4


def test_pairs_of_json_lines(run, place, demo_embedder):  # noqa: F811
    lines = [
        '{"query": "a ring", "document": {"image": "red.png"}, "n": [1]}',
        "{broken",
        '{"query": "\\ud800", "document": "x"}',
        '{"query": 3, "document": "x"}',
        '{"query": "a ring"}',
        "[]",
        "",
        '{"query": "é", "document": "x"}',
    ]
    (place / "p.jsonl").write_text("\n".join(lines) + "\n")
    code, out, error = compare(run, "--pairs", "p.jsonl")
    assert code == 3
    found = records(out)
    assert [{k: v for k, v in each.items() if k != "similarity"} for each in found] == [
        json.loads(lines[place]) for place in (0, 2, 3, 4, 7)
    ]
    assert ["similarity" in each for each in found] == [True, False, False, False, True]
    expected = cosines(demo_embedder, [("a ring", "red.png")])[0]
    assert found[0]["similarity"] == pytest.approx(expected, abs=1e-5)
    assert sorted(int(line.split("line ")[1].split()[0]) for line in error.splitlines()) == [
        *(2, 3, 4, 5, 6)
    ]
    assert error.count("left out") == 2


def test_a_reranker_scores_each_pair(run, place):  # noqa: F811
    from qvsearch.runtime.local import LocalReranker

    rng = np.random.default_rng(3)
    Image.fromarray(draw(random_scene(rng), rng)).save("drawn.png")
    reranker = LocalReranker("demo-reranker", "cpu", "float32")
    pictures = [EmbedInput(images=(Image.open(name),)) for name in ("drawn.png", "red.png")]
    rows = ["a red ring", "snow"]
    expected = np.array([reranker.score(EmbedInput(row), pictures) for row in rows])
    with_ = ["--with", "drawn.png", "--with", "red.png"]
    code, out, error = compare(run, *rows, *with_, "--rerank", "--json", "--dtype", "float32")
    assert (code, error) == (0, "")
    assert np.abs(matrix(out) - expected).max() < 1e-4
    (place / "p.csv").write_text("a red ring,red.png\nsnow,gone.png\n")
    code, out, _ = compare(run, "--pairs", "p.csv", "--rerank", "--dtype", "float32")
    assert code == 3
    first, second = out.decode().splitlines()
    assert float(first.rpartition(",")[2]) == pytest.approx(expected[0, 1], abs=1e-4)
    assert second == "snow,gone.png,"


def terminal(*arguments):
    code = (
        f"from qvsearch.cli.app import main; main(['similarity', '--model', 'demo', *{arguments}])"
    )
    return in_terminal(code)


def lines_of(shown):
    """The lines after the hints and the progress."""
    return without_escapes(shown.rpartition("\x1b[2K")[2]).splitlines()


def test_a_table_fits_a_terminal_and_is_coloured(place):
    long = "a ring that is described with so many words that no terminal has the place for them"
    hostile = "b\x1b[31m\u202e.png"
    Image.new("RGB", (64, 64), "red").save(hostile)
    shown = terminal(*WORDS, long, hostile, "snow", "rain", "fog", "red.png")
    assert "\x1b[1;32m   1.000" in shown  # the most alike is bold green
    assert "\x1b[31m" not in shown
    lines = lines_of(shown)
    assert all(len(line) <= 80 for line in lines)
    assert all(is_harmless(line) for line in lines)
    assert any("…" in line for line in lines)
    headings = [line.split() for line in lines if line and set(line.split()) <= set("012345678")]
    assert [int(each) for heading in headings for each in heading] == list(range(9))
    few = lines_of(terminal("red.png", "--with", WORDS[0], "--with", WORDS[1]))
    assert few[-2].split() == [*WORDS[0].split(), *WORDS[1].split()]
    assert few[-1].startswith("red.png ")


def test_scores_are_harmless_on_a_terminal(place):
    (place / "p.tsv").write_bytes(b"a ring\ta \x1b[31mcircle\xff\n")
    assert "\x1b[31m" not in terminal("--pairs", "p.tsv")


def test_from_python(place, demo_embedder):
    result = similarity(WORDS, [{"image": "red.png"}, {"a": 1}], embedder=demo_embedder)
    expected = vectors(demo_embedder, WORDS) @ vectors(demo_embedder, ["red.png"]).T
    assert np.abs(result.values - expected).max() < 1e-5
    assert result.rows.names == tuple(each.encode() for each in WORDS)
    assert result.columns.index == (0,)
    [(at, skipped)] = result.columns.skipped
    assert (at, skipped.path) == (1, b"input 1")
    alone = similarity(WORDS, embedder=demo_embedder, metric="euclidean")
    assert np.diag(alone.values).max() < 1e-6
    assert alone.columns is alone.rows
