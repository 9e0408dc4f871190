"""`--server` of a llama-server: a real one, with the demo's checkpoint."""

import json

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from support.commands import home, run  # noqa: F401 - fixtures
from support.gguf_files import write_gguf
from support.llama_server import llama_server
from support.model_inputs import mixed_inputs, pixels

from qvsearch.models.registry import DEMO_FOLDER
from qvsearch.types import EmbedInput

pytest.importorskip("xllamacpp")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_gguf(DEMO_FOLDER, tmp_path_factory.mktemp("gguf"))


@pytest.fixture(scope="module")
def url(files):
    with llama_server(*files) as url:
        yield url


@pytest.fixture
def pictures(tmp_path):
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(4):
        Image.fromarray(pixels(96, 128, number)).save(folder / f"{number}.png")
    (folder / "note.txt").write_text("a note about a red star\n")
    return folder


def test_vectors_are_those_of_our_own_engine(url, demo_embedder):
    from qvsearch.runtime.choice import Choice
    from qvsearch.runtime.loading import load_embedder, task_fingerprint

    choice = Choice(model="demo", servers=(url,))
    remote = load_embedder(task_fingerprint(None, choice), choice)
    inputs = [*mixed_inputs(), EmbedInput(""), EmbedInput("e\u0301 <__media__>")]
    both = (remote.embed(inputs).astype(np.float64) * demo_embedder.embed(inputs)).sum(axis=1)
    assert both.min() > 0.999999


def test_a_library_of_our_own_is_searched_and_extended(run, home, url, pictures):  # noqa: F811
    assert run("index", pictures / "0.png", "--model", "demo", "-q")[0] == 0
    code, _, error = run("index", pictures, "--server", url, "-q")
    assert (code, error) == (0, "")
    code, out, error = run("search", pictures / "2.png", "--server", url, "--json")
    assert (code, error) == (0, "")
    best = json.loads(out.splitlines()[0])
    assert best["path"] == str(pictures / "2.png")
    assert best["score"] > 0.99  # queries have another instruction


def test_a_server_that_would_give_other_vectors_is_refused(run, home, url, files, pictures):  # noqa: F811
    text, vision = files
    with llama_server(text, vision, min_tokens=-1) as other:  # its own default is 8
        code, _, error = run("embed", "x", "--model", "demo", "--server", other)
    assert code == 2
    assert "enlarges small ones; start it with --image-min-tokens 4" in error
    with llama_server(text, None) as other:
        code, _, error = run("embed", "x", "--model", "demo", "--server", other)
    assert (code, "it takes no pictures; start it with: llama-server" in error) == (2, True)
    line = ["index", pictures, "--model", "demo", "--video-mode", "clips", "--server", url]
    code, _, error = run(*line)
    assert (code, "index with --video-mode frames" in error) == (2, True)


def test_a_server_of_a_quantised_model_is_compared_otherwise(run, home, tmp_path, pictures):  # noqa: F811
    assert run("index", pictures, "--model", "demo", "-q")[0] == 0
    text, vision = write_gguf(DEMO_FOLDER, tmp_path / "q8", GGMLQuantizationType.Q8_0)
    with llama_server(text, vision) as url:
        code, out, _ = run("search", "a red star", "--server", url, "--json", "--all")
    assert code == 0
    assert len(out.splitlines()) == 5


def test_a_library_of_a_gguf_file_is_searched_on_a_server_of_it(run, home, files, url, pictures):  # noqa: F811
    line = ["index", pictures / "0.png", "--model", files[0], "--server", url, "-q"]
    assert run(*line)[0] == 0, "compared with the file itself"
    assert run("index", pictures, "--server", url, "-q")[0] == 0
    code, out, _ = run("search", pictures / "2.png", "--server", url, "--paths", "-k", "1")
    assert (code, out.strip()) == (0, bytes(pictures / "2.png"))
