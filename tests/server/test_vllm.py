"""Real servers of vLLM on this CPU, which serve the demo's checkpoints.

python tests/support/vllm_server.py && pytest -n 0 -m server tests/server
"""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.altering_proxy import altering
from support.model_inputs import mixed_inputs, pixels
from support.vllm_server import options_of, python, starting

from qvsearch.cli.app import main
from qvsearch.demo.show import write_world
from qvsearch.library.library import Library
from qvsearch.models.registry import DEMO_FOLDER, RERANKER_FOLDER
from qvsearch.runtime.loading import Choice, find_reranker, load_embedder, task_fingerprint
from qvsearch.runtime.local import LocalReranker
from qvsearch.runtime.remote.launch import Served, launches, write_checkpoint
from qvsearch.runtime.remote.references import Form, own_inputs
from qvsearch.types import Detail, EmbedInput, Frames, VideoMode

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(
        python() is None, reason="no vLLM here; python tests/support/vllm_server.py installs it"
    ),
]

SMALL_PIXELS = '{"min_pixels": 4096, "max_pixels": 65536}'
SAME = 0.99999


def printed_options(folder, role):
    """The options that `serve-model` prints for clips."""
    served = Served(str(folder), role, VideoMode.CLIPS, folder)
    return options_of(launches(served)[0].command)


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    embedder, reranker = folder / "embedder", folder / "reranker"
    write_checkpoint(DEMO_FOLDER, embedder)
    write_checkpoint(RERANKER_FOLDER, reranker)
    options = printed_options(embedder, "embedder")
    shrinking = list(options)
    shrinking[shrinking.index("--mm-processor-kwargs") + 1] = SMALL_PIXELS
    with starting(
        (embedder, options),
        (embedder, options),
        (reranker, printed_options(reranker, "reranker")),
        (embedder, shrinking),
    ) as started:
        try:
            for each in started:
                each.wait()
        except TimeoutError as error:
            pytest.skip(str(error))
        yield dict(zip(("embedder", "second", "reranker", "shrinking"), started, strict=True))


@pytest.fixture(scope="module")
def url(servers):
    return servers["embedder"].url


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_world(folder)
    return folder


def remote(*urls, **options):
    choice = Choice("demo", servers=urls, **options)
    return load_embedder(task_fingerprint(None, choice), choice)


def clip(frames=5):
    pictures = np.stack([pixels(96, 128, seed) for seed in range(frames)])
    return EmbedInput("a clip", video=Frames(pictures, tuple(0.52 * n for n in range(frames))))


def index(folder, library, *options):
    return main(["index", str(folder), "-l", str(library), "--model", "demo", "-q", *options])


# ------------------------------------------------------------------ vectors and scores


def test_every_form_of_input_has_our_vector(url, demo_embedder, tally):
    inputs = [*mixed_inputs(), EmbedInput(""), clip(), clip(40)]
    both = (each.embed(inputs) for each in (remote(url, video_mode=VideoMode.BOTH), demo_embedder))
    cosines = np.multiply(*both).sum(axis=1)
    assert cosines.min() > SAME
    tally["vectors of vLLM equal to ours"] += len(inputs)


def test_a_picture_of_every_detail_has_our_vector(url, demo_embedder):
    for detail in Detail:
        [picture] = own_inputs(Form.PICTURE, detail)
        server = remote(url, detail=detail)
        assert float(server.embed([picture])[0] @ demo_embedder.embed([picture])[0]) > SAME


def test_scores_are_ours(servers):
    choice = Choice("demo", rerank_servers=(servers["reranker"].url,))
    served = find_reranker("demo-reranker", task_fingerprint(None, choice), choice)()
    documents = [each for each in mixed_inputs() if each.text != ""]
    here = LocalReranker("demo-reranker", "cpu", "float32")
    for query in (
        EmbedInput("a red star"),
        EmbedInput("a red star", instruction="Find pictures of it."),
        EmbedInput(images=(pixels(96, 96),)),
    ):
        assert served.score(query, documents) == pytest.approx(
            here.score(query, documents), abs=1e-4
        )


def test_a_hundred_inputs_at_once_come_back_in_order(url, demo_embedder):
    texts = [EmbedInput(f"note {number} of a red ring") for number in range(50)]
    pictures = [EmbedInput(images=(pixels(96, 96 + 32 * (n % 3), n),)) for n in range(50)]
    inputs = [each for pair in zip(texts, pictures, strict=True) for each in pair]
    server = remote(url)
    futures = [server.submit(inputs[start : start + 10]) for start in range(0, 100, 10)]
    vectors = np.concatenate([each.result() for each in futures])
    ours = demo_embedder.embed(inputs)
    assert (vectors * ours).sum(axis=1).min() > SAME


# ------------------------------------------------------------------ commands


def test_a_library_of_a_server_is_that_of_this_computer(servers, url, world, tmp_path, capfdbinary):
    libraries = [tmp_path / "here", tmp_path / "served"]
    common = ("--detail", "low", "--video-mode", "both")
    assert index(world, libraries[0], "--dtype", "float32", *common) == 0
    assert index(world, libraries[1], "--server", url, *common) == 0
    here, served = map(Library.open, libraries)
    places = [
        {(each.item.path, each.start, each.lines, each.clip): row for row, each in rows}
        for rows in (enumerate(here.segments.values()), enumerate(served.segments.values()))
    ]
    assert places[0].keys() == places[1].keys()
    pairs = (
        library.vectors([rows[key] for key in places[0]])
        for library, rows in zip((here, served), places, strict=True)
    )
    stored = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in pairs]
    assert np.multiply(*stored).sum(axis=1).min() > SAME
    capfdbinary.readouterr()
    query = ["search", "a red star", "-l", str(libraries[1]), "--json", "-k", "5", "--all"]
    query += ["--kind", "text"]  # which a reranker orders
    rerank = ["--rerank", "--rerank-server", servers["reranker"].url]
    assert main([*query, "--server", url, *rerank]) == 0
    hits = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert main([*query, "--rerank"]) == 0
    own = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert [each["path"] for each in hits] == [each["path"] for each in own]
    assert hits[0]["rerank_score"] == pytest.approx(own[0]["rerank_score"], abs=1e-3)


def test_a_check_prints_what_was_compared(servers, url, world, tmp_path, capfd):
    library = tmp_path / "library"
    assert index(world / "pictures", library) == 0
    assert main(["serve-model", "--check", url, "-l", str(library)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == f"{url} computes the vectors of demo"
    assert re.match(r"texts: lowest cosine (1\.0000|0\.9999)", lines[1])
    assert re.match(r"pictures: lowest cosine (1\.0000|0\.9999)", lines[2])
    assert all(line.endswith(f"with the library {library}, same prompts") for line in lines[1:])
    check = ["serve-model", "demo-reranker", "--check", servers["reranker"].url]
    assert main(check) == 0
    assert "scores within 0.0" in capfd.readouterr().out


def test_a_server_that_dies_costs_no_file(servers, url, tmp_path):
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(240):
        Image.fromarray(pixels(128, 160, number)).save(folder / f"{number}.png")
    command = [sys.executable, "-m", "qvsearch", "index", folder, "-l", tmp_path / "library"]
    command += ["--model", "demo", "--json", "--server", url, "--server", servers["second"].url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        indexed = 0
        for line in process.stdout:
            event = json.loads(line)
            indexed += event["state"] == "indexed"
            if indexed == 1:
                servers["second"].end()
    assert process.returncode == 0
    assert (event["found"], event["indexed"]) == (240, 240)
    assert len(Library.open(tmp_path / "library")) == 240


# ------------------------------------------------------------------ refusals


def without_flags(body):
    return {name: value for name, value in body.items() if not name.startswith("add_")}


def without_system_turn(body):
    if "messages" not in body or not isinstance(body["messages"][0], (dict, list)):
        return body

    def user_only(turns):
        return [turn for turn in turns if turn["role"] != "system"]

    messages = body["messages"]
    is_list = isinstance(messages[0], list)
    return body | {
        "messages": [user_only(each) for each in messages] if is_list else user_only(messages)
    }


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (without_flags, "it does not use add_generation_prompt or add_special_tokens"),
        (without_system_turn, "its template lays out prompts otherwise"),
    ],
)
def test_a_changed_prompt_is_refused(url, tmp_path, world, capfd, change, cause):
    with altering(url, change) as proxy:
        assert index(world / "notes", tmp_path / "library", "--server", proxy) == 2
    assert cause in capfd.readouterr().err
    assert len(Library.open(tmp_path / "library")) == 0


def test_shrunk_pixels_are_refused_and_texts_are_not(servers, tmp_path, world, capfd):
    library, shrinking = tmp_path / "library", servers["shrinking"].url
    assert index(world / "notes", library, "--server", shrinking) == 0
    assert index(world / "pictures", library, "--server", shrinking) == 2
    error = capfd.readouterr().err
    assert "its pixel budget is another; start it with --mm-processor-kwargs" in error
    assert all(each.item.kind == "text" for each in Library.open(library).segments.values())


def test_another_model_is_refused(url, tmp_path, world, capfd):
    other = tmp_path / "other"
    shutil.copytree(DEMO_FOLDER, other)
    weights = load_file(other / "model.safetensors")
    rng = np.random.default_rng(0)
    changed = {
        name: each + rng.normal(0, 0.02, each.shape).astype(each.dtype)
        for name, each in weights.items()
    }
    save_file(changed, other / "model.safetensors", {"format": "pt"})
    library = tmp_path / "library"
    assert main(["index", str(world / "notes"), "-l", str(library), "--model", str(other)]) == 0
    capfd.readouterr()
    assert main(["search", "a star", "-l", str(library), "--server", url]) == 2
    error = capfd.readouterr().err
    assert "the lowest cosine of its vectors of 4 texts with those of the library" in error
    assert "weights are not those" in error or "another model" in error


def test_the_roles_of_servers_are_not_exchanged(servers, url, tmp_path, world, capfd):
    reranker = servers["reranker"].url
    assert index(world / "notes", tmp_path / "library", "--server", reranker) == 2
    assert "serves no vectors" in capfd.readouterr().err
    assert index(world / "notes", tmp_path / "library") == 0
    search = ["search", "a star", "-l", str(tmp_path / "library"), "--rerank"]
    capfd.readouterr()
    assert main([*search, "--rerank-server", url]) == 2
    assert "not used" in capfd.readouterr().err
