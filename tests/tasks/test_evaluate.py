"""Measures are those of numpy, scipy and scikit-learn, and each setting is as in a library."""

import json
import re

import numpy as np
import pytest
import scipy.stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from support.commands import home, records, run  # noqa: F401 - fixtures
from support.evaluation_sets import world, write_beir, write_lines, write_pictures

import qvsearch
from qvsearch.errors import QvsearchError
from qvsearch.models.prompt import QUERY_INSTRUCTION, TASK_INSTRUCTIONS
from qvsearch.tasks.evaluation import nearest as nearest_module
from qvsearch.tasks.evaluation.evaluate import measure
from qvsearch.tasks.evaluation.metrics import (
    classification,
    mean_estimates,
    ranking_values,
    spearman,
)
from qvsearch.tasks.evaluation.nearest import nearest, stored_rows
from qvsearch.tasks.evaluation.results import EvaluateOptions
from qvsearch.tasks.evaluation.sets import Entry, LabelledSet, RetrievalSet, SentencePairs
from qvsearch.tasks.inputs import TaskInput
from qvsearch.types import EmbedInput, Stored

WORLD = world()


def text_entry(name, text, **columns):
    return Entry(name, TaskInput(name.encode(), text), **columns)


def gain(grades, cut=10):
    return sum(grade / np.log2(rank + 2) for rank, grade in enumerate(grades[:cut]))


def by_hand(ranking, relevant):
    """The measures of one query, from their definitions."""
    grades = np.array([relevant.get(name, 0) for name in ranking])
    hits, count = grades > 0, sum(grade > 0 for grade in relevant.values())
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    first = np.flatnonzero(hits[:10])
    values = {"ndcg@10": gain(grades) / gain(sorted(relevant.values(), reverse=True))}
    values |= {f"recall@{cut}": hits[:cut].sum() / count for cut in (1, 5, 10)}
    values |= {f"success@{cut}": float(hits[:cut].any()) for cut in (1, 5, 10)}
    values["mrr@10"] = 1 / (1 + first[0]) if len(first) else 0.0
    values["map"] = precision[hits].sum() / count
    return values


def test_measures_of_rankings_are_those_of_their_definitions():
    rng = np.random.default_rng(0)
    names = [f"d{number}" for number in range(40)]
    rankings = [list(rng.permutation(names)) for _ in range(300)]  # more than are measured at once
    relevant = [
        {f"d{number}": int(rng.integers(1, 4)) for number in rng.choice(60, rng.integers(1, 6))}
        for _ in rankings
    ]
    values = ranking_values(rankings, relevant)
    expected = [by_hand(*each) for each in zip(rankings, relevant, strict=True)]
    assert list(values) == [
        *("recall@1", "recall@5", "recall@10", "success@1", "success@5", "success@10"),
        *("ndcg@10", "mrr@10", "map"),
    ]
    for name, each in values.items():
        np.testing.assert_allclose(each, [query[name] for query in expected], atol=1e-9)


def test_success_is_named_only_if_several_are_relevant():
    assert "success@1" not in ranking_values([["a"]], [{"a": 1}])
    values = ranking_values([["a"], []], [{"b": 1}, {"b": 1}])  # nothing found, and no document
    assert {each.tolist() == [0, 0] for each in values.values()} == {True}


def test_intervals_are_those_of_the_bootstrap():
    sample = np.random.default_rng(1).normal(0.5, 0.2, 400)
    estimate = mean_estimates({"x": sample})["x"]
    theirs = scipy.stats.bootstrap((sample,), np.mean, method="percentile", rng=2)
    assert estimate.value == pytest.approx(sample.mean())
    assert estimate.low == pytest.approx(theirs.confidence_interval.low, abs=0.004)
    assert estimate.high == pytest.approx(theirs.confidence_interval.high, abs=0.004)
    assert mean_estimates({"x": sample[:1]})["x"].low is None


def test_other_measures_are_those_of_scipy_and_scikit_learn():
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=(2, 50))
    measured = spearman(one, other)["spearman"]
    assert measured.value == pytest.approx(scipy.stats.spearmanr(one, other).statistic)
    assert measured.low < measured.value < measured.high
    assert np.isnan(spearman(np.ones(5), np.arange(5.0))["spearman"].value)
    truth, guess = rng.integers(3, size=(2, 60))
    for true, chosen in ((truth, guess), (truth, 2 * guess), (2 * truth, guess)):
        measured = classification(chosen, true)
        assert measured["accuracy"].value == pytest.approx(accuracy_score(true, chosen))
        assert measured["macro_f1"].value == pytest.approx(f1_score(true, chosen, average="macro"))


def test_a_label_that_a_resample_lacks_counts_nothing():
    truth = np.arange(50)  # each resample lacks a third of the labels
    found = classification(truth, truth)["macro_f1"]
    assert (found.low, found.value, found.high) == (1, 1, 1)


@pytest.mark.parametrize("store", list(Stored))
def test_the_nearest_are_those_of_a_whole_scan(store, monkeypatch):
    monkeypatch.setattr(nearest_module, "DOCUMENTS_AT_ONCE", 7)
    monkeypatch.setattr(nearest_module, "QUERIES_AT_ONCE", 3)
    monkeypatch.setattr(nearest_module, "DEPTH", 5)
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(50, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = nearest(vectors[:10], vectors, 16, store)
    cut = vectors[:, :16] / np.linalg.norm(vectors[:, :16], axis=1, keepdims=True)
    scores = cut[:10] @ stored_rows(vectors, 16, store).T
    assert found.tolist() == np.argsort(-scores, axis=1, kind="stable")[:, :5].tolist()


def test_stored_rows_are_what_a_library_gives_back(tmp_path):
    from support.colours import FINGERPRINT

    from qvsearch.vectors.encoding import Form
    from qvsearch.vectors.store import FaissStore

    vectors = np.random.default_rng(4).normal(size=(9, FINGERPRINT.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for stored in Stored:
        store = FaissStore(Form(FINGERPRINT.dim, stored))
        store.add(vectors)
        scores = stored_rows(vectors, FINGERPRINT.dim, stored) @ vectors[0]
        np.testing.assert_allclose(scores, store.scores(vectors[0]), atol=1e-5)


def test_each_setting_is_measured_with_documents_embedded_once(demo_embedder):
    class Counting:
        dim, count = demo_embedder.dim, 0

        def embed(self, inputs):
            Counting.count += len(inputs)
            return demo_embedder.embed(inputs)

    captions = WORLD.captions["en"]
    found = RetrievalSet(
        "notes",
        tuple(text_entry(f"q{n}", text) for n, text in enumerate(captions)),
        tuple(text_entry(f"d{n}", text) for n, text in enumerate(WORLD.notes)),
        {f"q{n}": {f"d{n}": 1} for n in range(len(captions))},
    )
    options = EvaluateOptions(
        (64, 128), tuple(Stored), {"default": None, "passages": "Retrieve relevant passages."}
    )
    evaluation = qvsearch.evaluate(found, Counting(), options)
    assert len(evaluation.results) == 8
    assert Counting.count == 30  # documents, and queries with two instructions
    assert {each.cost.bytes for each in evaluation.results} == {64, 128, 256}
    documents = demo_embedder.embed([EmbedInput(text) for text in WORLD.notes])
    for result in evaluation.results:
        instruction = options.instructions[result.setting.task] or QUERY_INSTRUCTION
        queries = [EmbedInput(text, instruction=instruction) for text in captions]
        dim = result.setting.dim
        cut = [each[:, :dim] for each in (demo_embedder.embed(queries), documents)]
        one, other = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in cut)
        scores = one @ stored_rows(other, dim, result.setting.store).T
        ranks = (scores > np.diag(scores)[:, None]).sum(axis=1)
        assert result.metrics["recall@1"].value == pytest.approx((ranks < 1).mean())
        assert result.metrics["mrr@10"].value == pytest.approx((1 / (ranks + 1)).mean())


def test_pairs_and_labels_are_measured(demo_embedder):
    texts = [*WORLD.captions["en"], *WORLD.notes]
    scores = np.random.default_rng(5).normal(size=10)
    pairs = SentencePairs(
        "sts",
        tuple(
            (text_entry("a", one), text_entry("b", two, language="es" if n % 2 else "en"))
            for n, (one, two) in enumerate(zip(texts[:10], texts[10:], strict=True))
        ),
        tuple(scores),
    )
    (result,) = qvsearch.evaluate(pairs, demo_embedder).results
    vectors = demo_embedder.embed([EmbedInput(text) for text in texts])
    cosines = (stored_rows(vectors[:10], 128, "float16") * vectors[10:]).sum(axis=1)
    expected = scipy.stats.spearmanr(cosines, scores).statistic
    assert result.metrics["spearman"].value == pytest.approx(expected, abs=1e-6)

    colours = ("red", "blue", "green")
    items = [
        (f"a {colour} {shape}", n)
        for n, colour in enumerate(colours)
        for shape in ("circle", "square", "star", "ring")
    ]
    entries = tuple(text_entry(text, text) for text, _ in items)
    truth = tuple(label for _, label in items)
    found = LabelledSet("colours", colours, entries[::2], truth[::2], entries[1::2], truth[1::2])
    (result,) = qvsearch.evaluate(found, demo_embedder).results
    vectors = demo_embedder.embed([EmbedInput(text) for text, _ in items])
    names = demo_embedder.embed([EmbedInput(text) for text in colours])
    right = np.array(truth[::2])
    assert result.metrics["accuracy"].value == pytest.approx(
        accuracy_score(right, (vectors[::2] @ names.T).argmax(axis=1))
    )
    probe = LogisticRegression(max_iter=1000).fit(vectors[1::2], truth[1::2])
    assert result.metrics["probe_accuracy"].value == probe.score(vectors[::2], right)
    assert result.metrics["knn_accuracy"].value > 0.9


def test_a_query_does_not_find_itself(demo_embedder):
    texts = {"a": "Title a red circle", "b": "a red ring", "c": "a note about noon"}
    documents = tuple(text_entry(name, text) for name, text in texts.items())

    def rank(query, text, relevant):
        found = RetrievalSet("same", (text_entry(query, text),), documents, {query: {relevant: 1}})
        (result,) = qvsearch.evaluate(found, demo_embedder).results
        return round(1 / result.metrics["mrr@10"].value)

    before = rank("other", "a red circle", "b")
    assert rank("a", "a red circle", "b") == before - 1  # the same id and text
    assert rank("a", "something red", "b") == rank("other", "something red", "b")
    assert rank("a", "a red circle", "a") == 1  # it is relevant


def test_names_may_be_any_bytes(demo_embedder):
    names = ["\udcff", "\udcfe"]
    found = RetrievalSet(
        "odd",
        (text_entry("q", "a red star"),),
        tuple(
            Entry(name, TaskInput(b"d", text))
            for name, text in zip(names, ("a red star", "x"), strict=True)
        ),
        {"q": {names[0]: 1}},
    )
    assert qvsearch.evaluate(found, demo_embedder).results[0].metrics["recall@1"].value == 1


def test_an_interruption_keeps_what_was_measured(demo_embedder):
    found = RetrievalSet(
        "notes",
        (text_entry("q", WORLD.captions["en"][0]),),
        tuple(text_entry(f"d{n}", text) for n, text in enumerate(WORLD.notes)),
        {"q": {"d0": 1}},
    )
    presets = {name: name for name in "abc"}
    for calls, least, most in ((0, 0, 0), (10_000, 3, 3)):
        left = iter(range(calls))
        options = EvaluateOptions(
            instructions=presets, stop=lambda left=left: next(left, None) is None
        )
        assert least <= len(qvsearch.evaluate(found, demo_embedder, options).results) <= most
    measured = []

    def stop():
        return len(measured) == 1

    for outcome in measure(found, demo_embedder, EvaluateOptions(instructions=presets, stop=stop)):
        measured.append(outcome)
    assert len(measured) == 1


def test_a_reranker_reorders_the_first_documents_only(demo_embedder):
    class Backwards:
        """The later a document's number, the better."""

        asked = []

        def score(self, query, documents):
            self.asked.append((query, len(documents)))
            return [int(each.text) / 10 for each in documents]

    found = RetrievalSet(
        "numbers",
        (text_entry("q", "a red circle"),),
        tuple(text_entry(str(n), str(n)) for n in range(10)),
        {"q": {"3": 1}},
    )
    options = EvaluateOptions(
        (64, 128),
        instructions={"x": "Find it."},
        reranker=Backwards,
        rerank_top=4,
    )
    results = qvsearch.evaluate(found, demo_embedder, options).results
    assert [each.setting.reranked for each in results] == [False, True] * 2
    query = demo_embedder.embed([EmbedInput("a red circle", instruction="Find it.")])
    documents = demo_embedder.embed([EmbedInput(str(n)) for n in range(10)])
    scores = stored_rows(documents, 128, "float16") @ query[0]
    order = list(np.argsort(-scores))
    order[:4] = sorted(order[:4], reverse=True)
    rank = order.index(3) + 1
    assert results[3].metrics["mrr@10"].value == pytest.approx(1 / rank)
    assert Backwards.asked[0][0].instruction == "Find it."
    assert sum(count for _, count in Backwards.asked) <= 8  # no pair twice


def test_nothing_to_measure_is_an_error(demo_embedder):
    for found, reason in (
        (RetrievalSet("a", (), (), {}), "no query with a relevant document"),
        (RetrievalSet("a", (text_entry("q", "x"),), (), {"q": {"d": 1}}), "no document of a"),
        (SentencePairs("a", (), ()), "no pair"),
        (LabelledSet("a", ("b",), (text_entry("q", "x"),), (0,)), "1 labels; give two"),
    ):
        with pytest.raises(QvsearchError, match=reason):
            qvsearch.evaluate(found, demo_embedder)
    with pytest.raises(QvsearchError, match=r"--dim 999 is outside 1 to 128"):
        qvsearch.evaluate(SentencePairs("a", (), ()), demo_embedder, EvaluateOptions((999,)))


def test_a_wrong_folder_of_files_is_named(home, run):
    (home / "set.csv").write_text("query,file\na red star,none.jpg\n")
    code, _, error = run("evaluate", home / "set.csv", "--model", "demo")
    assert code == 2
    assert "no document of set could be embedded: " in error
    assert f"{home}/none.jpg: " in error
    assert "no such file" in error


def test_a_library_gives_the_model_and_the_detail(home, run, monkeypatch):
    (home / "note.txt").write_text("a red circle")
    (home / "set.csv").write_text("query,file\nred,note.txt\n")
    assert run("index", home / "note.txt", "-l", home / "own", "--model", "demo")[0] == 0
    code, out, _ = run("evaluate", home / "set.csv", "-l", home / "own", "--json")
    assert (code, records(out)[0]["model"]) == (0, "demo")
    monkeypatch.setenv("QVSEARCH_LIBRARY", str(home / "own"))
    code, out, _ = run("evaluate", home / "set.csv", "--json")
    assert (code, records(out)[0]["model"]) == (0, "demo")
    code, _, error = run("evaluate", home / "set.csv", "-l", home / "none", "--json")
    assert code == 2
    assert "none" in error


def evaluated(run, *arguments):
    code, out, error = run("evaluate", *arguments, "--model", "demo", "--json")
    return code, records(out), error


def test_the_command_measures_a_folder_by_kind_and_language(home, run):
    folder = write_beir(home / "set", WORLD, ("en", "zh"))
    (folder / "images" / "1.png").write_bytes(b"broken")
    code, (first, second), error = evaluated(run, folder, "--dim", "64,128")
    assert code == 3
    assert error.count("\n") == 1
    assert "images/1.png" in error
    assert (first["dim"], second["dim"]) == (64, 128)
    assert (second["queries"], second["documents"], second["skipped"]) == (20, 9, 1)
    assert second["metrics"]["recall@1"]["value"] == 0.9  # both captions of the broken picture
    groups = {(each["column"], each["value"]): each for each in second["groups"]}
    assert set(groups) == {
        *(("kind", "image"), ("kind", "text"), ("kind", "unknown")),
        *(("language", "en"), ("language", "zh")),
    }
    assert groups["kind", "text"]["queries"] == 8


def test_the_command_compares_settings_in_one_table(home, run):
    folder = write_beir(home / "set", WORLD)
    code, out, error = run(
        *("evaluate", folder, "--model", "demo", "--detail", "low", "--detail", "medium"),
        *("--task", "all", "--store", "int8"),
    )
    assert (code, error) == (0, "")
    lines = out.decode().splitlines()
    assert re.split(" {2,}", lines[0])[:3] == ["detail", "task", "recall@1"]
    rows = [line.split()[:2] for line in lines[1:13]]
    assert rows == [[d, t] for d in ("low", "medium") for t in ("default", *TASK_INSTRUCTIONS)]
    assert lines[-1] == "10 queries, 10 documents"


def test_one_setting_has_a_table_of_measures(home, run):
    (home / "sts.csv").write_text("sentence1,sentence2,score\na,b,1\nc,d,2\na b,a c,3\n")
    code, out, error = run("evaluate", home / "sts.csv", "--model", "demo")
    assert (code, error) == (0, "")
    lines = out.decode().splitlines()
    assert lines[0].split() == ["measure", "value", "95", "%"]
    assert lines[1].startswith("spearman")
    assert lines[-1] == "3 pairs"


def test_the_reranker_adds_a_row(home, run):
    folder = write_beir(home / "set", WORLD, notes=range(10))
    code, (plain, reranked), _ = evaluated(run, folder, "--rerank-top", "3")
    assert code == 0
    assert (plain["reranked"], reranked["reranked"]) == (False, True)
    assert reranked["rerank_seconds"] > 0
    assert reranked["metrics"]["recall@5"] == plain["metrics"]["recall@5"]


def test_every_field_of_a_result_is_described(home, run):
    from support.pages import names_of

    from qvsearch.records.evaluate import result_record

    folder = write_beir(home / "set", WORLD)
    _, printed, _ = evaluated(
        run, folder, "--rerank-top", "2", "--dtype", "float32", "--instruction", "Find it."
    )
    assert set().union(*printed) == set(names_of(result_record)) - {"adapter"}  # there is none
    assert printed[0]["task"] == printed[0]["instruction"] == "Find it."


def test_a_narrow_terminal_has_no_broken_row(home, run, monkeypatch):
    from rich.console import Console

    from qvsearch.cli import evaluate_tables, layout

    def narrow():
        return Console(file=__import__("io").StringIO(), width=80, force_terminal=True)

    monkeypatch.setattr(evaluate_tables, "new_console", narrow)
    monkeypatch.setattr(layout, "new_console", narrow)
    folder = write_beir(home / "set", WORLD, ("en", "zh"))
    code, out, _ = run(
        *("evaluate", folder, "--model", "demo", "--dim", "64,128", "--task", "photos"),
        *("--task", "default", "--store", "float16", "--store", "int8"),
    )
    rows = [line for line in out.decode().splitlines() if re.match(r"(photos|default) ", line)]
    assert (code, len(rows)) == (0, 16)
    assert all(len(row) <= 80 for row in rows)


def test_moments_are_measured(home, run):
    from qvsearch.demo.show import write_world

    write_world(home / "world")
    windows = [
        {"query": "a drawn thing", "vid": "clip-1", "relevant_windows": [[0, 4]]},
        {"query": "another one", "vid": "clip-2", "relevant_windows": [[0, 12]]},
        {"query": "gone", "vid": "clip-9.mp4", "relevant_windows": [[0, 1]]},
    ]
    write_lines(home / "world" / "val.jsonl", windows)
    code, (result,), error = evaluated(
        run, home / "world" / "val.jsonl", "--media", home / "world" / "clips"
    )
    assert code == 3
    assert "clip-9.mp4" in error
    assert (result["queries"], result["documents"]) == (3, 6)  # three moments of each clip
    assert result["metrics"]["recall@10"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    code, _, error = evaluated(run, home / "world" / "val.jsonl", "--rerank")
    assert (code, "does not score moments" in error) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["gone"], "there is no file or folder"),
        ([".", "--dim", "64,x"], "--dim 'x' is not a whole number"),
        ([".", "--dim", "8"], "--dim must be at least 64"),
        ([".", "--task", "cats"], "--task 'cats' is unknown; give default, photos"),
        (["a.csv", "--dim", "4096"], "--dim 4096 is outside"),
        (["a.csv", "--rerank"], "--rerank is for queries and documents"),
        (["a.csv", "--reranker", "demo"], "demo is no reranker"),
    ],
)
def test_wrong_options_are_refused(home, run, monkeypatch, arguments, reason):
    monkeypatch.chdir(home)
    (home / "a.csv").write_text("sentence1,sentence2,score\na,b,1\n")
    code, out, error = run("evaluate", *arguments, "--model", "demo")
    assert (code, out) == (2, b"")
    assert reason in error
    assert error.count("\n") == 1


def test_many_bad_lines_are_counted_and_json_lists_them(home, run):
    lines = "".join(f"x{n},y\n" for n in range(30))
    (home / "a.csv").write_text(f"sentence1,sentence2,score\na,b,1\nc,d,2\n{lines}")
    code, _, error = run("evaluate", home / "a.csv", "--model", "demo")
    assert (code, error.count("\n")) == (3, 21)
    assert "and 10 more" in error
    code, (result,), error = evaluated(run, home / "a.csv")
    assert (result["skipped"], error.count("\n")) == (30, 30)


def test_a_missing_extra_is_named(home, run, monkeypatch):
    (home / "a.csv").write_text("query,file\na,b.png\n")
    monkeypatch.setitem(__import__("sys").modules, "ir_measures", None)
    code, _, error = run("evaluate", home / "a.csv", "--model", "demo")
    assert code == 2
    assert error == 'qvsearch: qvsearch evaluate needs ir-measures: pip install "qvsearch[tasks]"\n'


def test_tasks_are_listed_and_change_a_search(home, run):
    code, out, _ = run("models", "tasks", "--json")
    listed = {each["task"]: each["instruction"] for each in records(out)}
    assert listed == {task.value: text for task, text in TASK_INSTRUCTIONS.items()}
    write_pictures(home / "pictures", WORLD)
    run("index", home / "pictures", "--model", "demo", "--quiet")
    scores = {
        how: json.loads(run("search", WORLD.captions["en"][0], "-k", "1", "--json", *how)[1])[
            "score"
        ]
        for how in ((), ("--task", "photos"), ("--instruction", listed["photos"]))
    }
    default, preset, instruction = scores.values()
    assert preset == instruction != default
    code, _, error = run("search", "x", "--task", "photos", "--instruction", "y")
    assert (code, "give it or --instruction" in error) == (2, True)
