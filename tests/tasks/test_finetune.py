"""`qvsearch finetune` from its data to a library that uses the adapter, and every refusal."""

import csv
import json
import re
import signal
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from support.recoloured_world import write_pairs

from qvsearch.cli.app import main
from qvsearch.errors import QvsearchError
from qvsearch.library.names import default_folder
from qvsearch.models.adapters import CONFIG, WEIGHTS
from qvsearch.models.registry import DEMO, DEMO_RERANKER, EMBEDDER, RERANKER, resolve
from qvsearch.runtime.loading import Choice, embedder_key
from qvsearch.runtime.local import LocalEmbedder, LocalReranker
from qvsearch.tasks.finetuning import loop
from qvsearch.tasks.finetuning.run import Request, finetune
from qvsearch.tasks.finetuning.settings import Settings
from qvsearch.tasks.finetuning.state import STATE
from qvsearch.types import Detail, EmbedInput

QUICK = Settings(epochs=2, batch=4, rank=2, alpha=4, learning_rate=1e-3, evaluations=3)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Twelve pictures with captions, a negative each."""
    return write_pairs(tmp_path_factory.mktemp("pairs"), 2)


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    """Pairs of words, for runs in which only the command matters."""
    path = tmp_path_factory.mktemp("notes") / "notes.csv"
    rows = [["query", "positive"], *([f"note {n}", f"a text about {n}"] for n in range(14))]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def run_of(data, output, role=EMBEDDER, settings=QUICK, **options):
    model = DEMO if role == EMBEDDER else DEMO_RERANKER
    return Request(data, output, role, model, Detail.LOW, settings, device="cpu", **options)


class Killed(Exception):
    pass


def kill_at(step):
    def report(now, *_):
        if now == step:
            raise Killed

    return report


@pytest.fixture(scope="module")
def adapter(pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters") / "one"
    finetune(run_of(pairs, folder))
    return folder


@pytest.fixture(scope="module")
def other(notes, tmp_path_factory):
    """An adapter of the same model with other weights."""
    folder = tmp_path_factory.mktemp("adapters") / "other"
    finetune(run_of(notes, folder))
    return folder


@pytest.mark.faults
@pytest.mark.parametrize("role", [EMBEDDER, RERANKER])
def test_a_killed_run_ends_with_the_same_weights(request, tmp_path, role):
    data = request.getfixturevalue("pairs" if role == EMBEDDER else "notes")
    whole = finetune(run_of(data, tmp_path / "whole", role))
    steps = [point.step for point in whole.card.history]
    assert steps[:2] == [0, 2]
    with pytest.raises(Killed):  # after the save of step 2: step 3 is lost
        finetune(run_of(data, tmp_path / "killed", role), kill_at(3))
    resumed = run_of(data, tmp_path / "killed", role, resume=True)
    with pytest.raises(Killed):
        finetune(resumed, kill_at(steps[-1]))
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)  # as a process that starts on a busier machine may choose
    again = finetune(resumed)
    assert torch.get_num_threads() == threads
    assert again.left == 0
    assert again.card.history == whole.card.history
    one, other = (load_file(tmp_path / name / WEIGHTS) for name in ("whole", "killed"))
    assert one.keys() == other.keys()
    for name, weights in one.items():
        assert np.array_equal(weights, other[name]), name
    assert not (tmp_path / "killed" / STATE).exists()
    changed = [float(np.abs(each).max()) for name, each in one.items() if "lora_B" in name]
    assert min(changed) > 0  # B begins with zeros


def test_a_stopped_run_is_continued_by_the_same_options_only(notes, tmp_path):
    stopped = finetune(run_of(notes, tmp_path / "a"), stop=lambda: True)
    assert stopped.left > 0
    with pytest.raises(QvsearchError, match=r"unfinished run; continue it with --resume"):
        finetune(run_of(notes, tmp_path / "a"))
    other = Settings(**{**{n: getattr(QUICK, n) for n in QUICK.__slots__}, "batch": 5})
    with pytest.raises(QvsearchError, match=r"another batch: 4, not 5; give the same"):
        finetune(run_of(notes, tmp_path / "a", settings=other, resume=True))
    data = notes.read_bytes()
    changed = tmp_path / notes.name
    changed.write_bytes(data.replace(b"note 3", b"note three"))
    with pytest.raises(QvsearchError, match="another data"):
        finetune(run_of(changed, tmp_path / "a", resume=True))
    (tmp_path / "a" / STATE).write_bytes(b"no state")
    with pytest.raises(QvsearchError, match=rf"{STATE} is damaged"):
        finetune(run_of(notes, tmp_path / "a", resume=True))
    with pytest.raises(QvsearchError, match="has no unfinished run"):
        finetune(run_of(notes, tmp_path / "b", resume=True))


def command(*arguments):
    return main([*map(str, arguments), "--device", "cpu"])


OPTIONS = ("--epochs", 1, "--batch", 4, "--rank", 2, "--evaluations", 1)


def test_the_command_shows_figures_and_writes_a_card(notes, tmp_path, capfd):
    folder = tmp_path / "adapter"
    assert command("finetune", notes, "-o", folder, "--model", "demo", *OPTIONS) in (0, 3)
    shown = capfd.readouterr()
    assert re.search(r"^trained 12 pairs in \d\d:\d\d; evaluated 2 other pairs$", shown.out, re.M)
    figures = r"^recall@1 \d\.\d{3} before, \d\.\d{3} after; MRR \d\.\d{3} before, \d\.\d{3} after$"
    assert re.search(figures, shown.out, re.M)
    assert f"the adapter is in {folder}\n" in shown.out
    assert re.search(r"^step 0: recall@1 ", shown.err, re.M)
    assert re.search(r"^step 3: loss \d\.\d{3}, recall@1 ", shown.err, re.M)
    card = json.loads((folder / "card.json").read_text())
    assert card["base"] == "demo"
    assert card["revision"] == resolve(DEMO).revision
    assert card["settings"]["rank"] == 2
    assert [point["step"] for point in card["history"]] == [0, 3]
    with Image.open(folder / "training.png") as plot:
        assert plot.format == "PNG"
    assert "# An adapter of demo" in (folder / "README.md").read_text()
    assert {each.name for each in folder.iterdir()} == {
        *(WEIGHTS, CONFIG, "card.json", "README.md", "training.png")
    }


def test_json_has_each_evaluation_and_a_summary(notes, tmp_path, capfd):
    data = tmp_path / "notes.csv"
    data.write_text(notes.read_text() + "query,gone.jpg\n")
    folder = tmp_path / "adapter"
    arguments = ["finetune", data, "-o", folder, "--model", "demo", "--json", *OPTIONS]
    assert command(*arguments, "--control", notes) == 3
    shown = capfd.readouterr()
    first, second, last = map(json.loads, shown.out.splitlines())
    assert (first["step"], second["step"]) == (0, 3)
    assert 0 <= second["control_recall_at_1"] <= 1
    assert last["state"] == "summary"
    assert last["before"] == first
    (skipped,) = last["skipped"]
    assert skipped["name"] == "line 16 of notes.csv"
    assert f"there is no file {tmp_path}/gone.jpg" in skipped["reason"]


def test_a_library_keeps_its_adapter(pairs, notes, adapter, other, tmp_path, capfd):
    library, folder = tmp_path / "library", pairs.parent
    chosen = ("--adapter", adapter)
    assert command("index", folder, "-l", library, "--kind", "image", *chosen) == 0
    again = ("index", folder, "-l", library, "--kind", "image", "--force")
    assert command(*again, "--model", adapter) == 0
    assert main(["status", "-l", str(library)]) == 0
    assert re.search(rf"^adapter +{adapter}$", capfd.readouterr().out, re.M)
    query = ("search", "a red circle", "-l", library, "--all", "--json")
    assert command(*query) == 0
    hits = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    embedder = LocalEmbedder(DEMO, "cpu", detail=Detail.LOW, adapter=adapter)
    cosine = embedder.embed_documents([folder / hits[0]["path"]]) @ embedder.embed_query(
        "a red circle"
    )
    assert abs(hits[0]["score"] - float(cosine[0])) < 1e-3  # vectors are stored as float16
    assert command(*query, *chosen) == 0
    assert command(*query, "--model", "demo") == 0
    assert command(*query, "--model", adapter) == 0
    capfd.readouterr()
    assert command(*query, "--model", adapter, *chosen) == 2
    assert "is an adapter itself; leave out --adapter" in capfd.readouterr().err
    assert command(*query, "--adapter", other) == 2
    assert "with the adapter" in capfd.readouterr().err
    plain = tmp_path / "plain"
    assert command("index", folder, "-l", plain, "--kind", "image", "--model", "demo") == 0
    assert command("search", "a red circle", "-l", plain, *chosen) == 2
    message = capfd.readouterr().err
    assert command("index", folder, "-l", plain, "--kind", "image", *chosen) == 2
    assert re.search(r"was made with demo at revision \w+, not demo with the adapter ", message)
    assert command("finetune", notes, "-o", tmp_path / "further", "-l", library) == 2
    assert f"has the adapter {adapter}; to train further, merge it" in capfd.readouterr().err
    assert command("warm", "-l", plain, *chosen) == 2
    assert "not demo with the adapter " in capfd.readouterr().err
    assert command("warm", "-l", library, "--model", "Qwen/Qwen3-VL-Embedding-8B") == 2
    message = capfd.readouterr().err
    assert "with --model demo, not Qwen/Qwen3-VL-Embedding-8B; leave the option out" in message
    own = embedder_key(library, Choice())
    assert own[0].revision == LocalEmbedder(DEMO, "cpu", adapter=adapter).weights.revision
    assert embedder_key(library, Choice(model=DEMO)) == own


def test_an_adapter_is_given_as_the_model(pairs, adapter, other, tmp_path, capfd):
    library, more = tmp_path / "library", ("--model", adapter)
    assert command("index", pairs.parent, "-l", library, "--kind", "image", *more) == 0
    assert command("index", pairs.parent, "-l", library, "--kind", "image", *more) == 0
    assert command("search", "a red circle", "-l", library, "--all", *more) == 0
    assert command("embed", "a red circle", "-o", tmp_path / "v.npy", *more) == 0
    expected = LocalEmbedder(DEMO, "cpu", adapter=adapter).embed_documents(["a red circle"])
    assert np.abs(np.load(tmp_path / "v.npy") - expected).max() < 1e-5
    capfd.readouterr()
    assert command("search", "a star", "-l", library, "--model", other) == 2
    assert "with the adapter" in capfd.readouterr().err
    assert command("search", "a star", "-l", library, *more, "--adapter", adapter) == 2
    assert "leave out --adapter" in capfd.readouterr().err


def test_the_adapter_of_the_default_library_is_evaluated(
    pairs, adapter, tmp_path, monkeypatch, capfd
):
    library, chosen = tmp_path / "library", ("--adapter", adapter)
    assert command("index", pairs.parent, "-l", library, "--kind", "image", *chosen) == 0
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    default_folder().parent.mkdir(parents=True)
    library.rename(default_folder())  # where no library of the demo model is created
    path = tmp_path / "pairs.csv"
    with path.open("w", newline="") as file:
        rows = ([f"note {n}", f"a text about {n * 7 % 40}", n] for n in range(40))
        csv.writer(file).writerows([["sentence1", "sentence2", "score"], *rows])
    found = []
    for model in ([], ["--model", adapter], ["--model", DEMO]):
        capfd.readouterr()
        assert command("evaluate", path, "--json", *model) == 0
        found.append(json.loads(capfd.readouterr().out))
    assert [each.get("adapter") for each in found] == [str(adapter), str(adapter), None]
    own, named, base = (each["metrics"]["spearman"]["value"] for each in found)
    assert own == named != base


def test_a_reranker_has_an_adapter_of_its_own(pairs, tmp_path, capfd):
    folder = tmp_path / "adapter"
    reranker = ("--reranker", "demo-reranker")
    assert command("finetune", pairs, "-o", folder, *reranker, *OPTIONS) == 0
    query, document = EmbedInput("a red circle"), EmbedInput("red disc, centre")
    base, adapted = (LocalReranker(each, "cpu", "float32") for each in (DEMO_RERANKER, folder))
    assert base.score(query, [document]) != adapted.score(query, [document])
    library = tmp_path / "library"
    assert command("index", pairs.parent, "-l", library, "--model", "demo") == 0
    search = ("search", "a red circle", "-l", library, "--all", "--rerank", "all")
    assert command(*search, "--reranker", folder) == 0
    capfd.readouterr()
    for option in ("--adapter", "--model"):
        assert command("index", pairs.parent, "-l", tmp_path / "new", option, folder) == 2
        assert "is a reranker" in capfd.readouterr().err


def test_merging_writes_a_model(adapter, tmp_path, capfd):
    assert main(["models", "merge", str(adapter), "-o", str(tmp_path / "new")]) == 0
    assert capfd.readouterr().out == f"{tmp_path}/new\n"
    query = EmbedInput("a red circle")
    adapted = LocalEmbedder(adapter, "cpu", "float32").embed([query])
    merged = LocalEmbedder(tmp_path / "new", "cpu", "float32").embed([query])
    assert np.abs(adapted - merged).max() < 2e-3  # the demo's weights are float16 on the disk
    assert main(["models", "verify", str(tmp_path / "new")]) == 0
    assert main(["models", "merge", str(adapter), "-o", str(tmp_path / "new")]) == 2
    assert main(["models", "merge", str(tmp_path / "new"), "-o", str(tmp_path / "more")]) == 2
    assert "is not an adapter" in capfd.readouterr().err


@pytest.mark.parametrize("there", [False, True])
def test_merging_another_folder_names_what_to_give(tmp_path, capfd, there):
    if there:
        (tmp_path / "other").mkdir()
    assert main(["models", "merge", str(tmp_path / "other"), "-o", str(tmp_path / "new")]) == 2
    error = capfd.readouterr().err
    assert "give the folder that finetune wrote" in error
    assert "--adapter" not in error  # which this command has not
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch", "1"], "--batch must be from 2 to 65536, not 1"),
        (["--learning-rate", "x"], "--learning-rate 'x' is not a number"),
        (["--layer", "lm_head"], "--layer 'lm_head' is unknown; give q_proj"),
        (["--dtype", "int8"], "--dtype int8 cannot be trained; give float32 or bfloat16"),
        (["--model", "demo-reranker"], "demo-reranker is the other sort of model; give it as"),
        (["--model", "demo", "--reranker", "demo-reranker"], "are two models; give one"),
        (["--resume"], "has no unfinished run; leave out --resume"),
    ],
)
def test_wrong_options_are_refused(notes, tmp_path, capfd, options, message):
    arguments = ["finetune", notes, "-o", tmp_path / "new", *options]
    named = {"--model", "--reranker"} & set(options)
    assert command(*arguments, *(() if named else ("--model", "demo"))) == 2
    shown = capfd.readouterr()
    assert message in shown.err
    assert (shown.out, (tmp_path / "new").exists()) == ("", False)


def test_an_output_that_exists_is_refused(notes, tmp_path, capfd):
    (tmp_path / "mine.txt").write_text("mine")
    assert command("finetune", notes, "-o", tmp_path, "--model", "demo") == 2
    assert f"{tmp_path} is not empty; give a new folder" in capfd.readouterr().err
    assert command("finetune", notes, "--model", "demo") == 2
    assert "--output is missing" in capfd.readouterr().err


def test_one_pair_is_too_few_for_the_command(tmp_path, capfd):
    (tmp_path / "pairs.csv").write_text("query,positive\na,b\n")
    assert (
        command("finetune", tmp_path / "pairs.csv", "-o", tmp_path / "new", "--model", "demo") == 2
    )
    assert "training needs at least 4" in capfd.readouterr().err
    assert not (tmp_path / "new").exists()


def test_too_few_pairs_name_the_first_missing_file(tmp_path, capfd):
    data = tmp_path / "pairs.csv"
    data.write_text("query,positive\na,b\nc,wrong/d.jpg\n")
    assert command("finetune", data, "-o", tmp_path / "new", "--model", "demo") == 2
    error = capfd.readouterr().err
    assert "1 different documents in 1 usable pairs" in error
    assert "line 3" in error
    assert f"{tmp_path}/wrong/d.jpg" in error


def test_an_adapter_is_not_a_base(notes, adapter, tmp_path, capfd):
    more = ["finetune", notes, "-o", tmp_path / "new", "--model", adapter]
    assert command(*more) == 2
    assert "is an adapter; merge it first" in capfd.readouterr().err


def test_without_the_extra_the_way_to_install_it_is_named(notes, tmp_path, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    assert command("finetune", notes, "-o", tmp_path / "new", "--model", "demo") == 2
    assert 'needs peft: pip install "qvsearch[finetune]"' in capfd.readouterr().err


def test_ctrl_c_saves_the_run(notes, tmp_path, capfd, monkeypatch):
    share = loop.share_of_rate

    def interrupted(step, *rest):
        if step == 1:
            signal.raise_signal(signal.SIGINT)
        return share(step, *rest)

    monkeypatch.setattr(loop, "share_of_rate", interrupted)
    arguments = ["finetune", notes, "-o", tmp_path / "a", "--model", "demo", *OPTIONS]
    assert command(*arguments) == 130
    shown = capfd.readouterr().out
    assert shown == "interrupted, 1 step left; continue with the same command and --resume\n"
    monkeypatch.undo()
    assert command(*arguments, "--resume") == 0
    assert f"the adapter is in {tmp_path}/a" in capfd.readouterr().out
    assert command(*arguments, "--resume") == 2
    assert "is finished; leave out --resume" in capfd.readouterr().err


def test_bfloat16_is_trained_with_an_adapter_in_float32(notes, tmp_path):
    result = finetune(run_of(notes, tmp_path / "a", dtype="bfloat16"))
    assert result.card.dtype == "bfloat16"
    tensors = load_file(tmp_path / "a" / WEIGHTS)
    assert {each.dtype for each in tensors.values()} == {np.dtype(np.float32)}
    assert max(np.abs(each).max() for name, each in tensors.items() if "lora_B" in name) > 0
