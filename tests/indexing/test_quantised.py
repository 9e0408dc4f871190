"""Libraries of GGUF files, from the command line; quantised ones are compared first."""

import json
import os
import shutil

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from support.commands import home, run  # noqa: F401 - fixtures
from support.gguf_files import write_gguf
from support.modules import loaded_by

from qvsearch.demo.world import draw, random_scene
from qvsearch.errors import QvsearchError
from qvsearch.indexing.comparison import WithScores
from qvsearch.library.library import Library
from qvsearch.models.registry import DEMO_FOLDER
from qvsearch.types import EmbedInput

pytest.importorskip("xllamacpp")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The two files of each kind of numbers, in a folder of its name."""
    folder = tmp_path_factory.mktemp("gguf")
    kinds = (GGMLQuantizationType[name] for name in ("F32", "Q8_0", "Q4_0"))
    return {kind.name: write_gguf(DEMO_FOLDER, folder / kind.name, kind) for kind in kinds}


@pytest.fixture
def pictures(tmp_path):
    """Drawn pictures to index."""
    from PIL import Image

    rng = np.random.default_rng(3)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(12):
        Image.fromarray(draw(random_scene(rng), rng)[:64, :64]).save(folder / f"{number}.png")
    return folder


def library():
    return Library.open(os.environ["QVSEARCH_LIBRARY"])


def test_indexing_and_searching_load_no_torch(home, files, pictures):  # noqa: F811
    (pictures / "note.txt").write_text("a red star on grass\n")
    lines = [["index", str(pictures), "--model", str(files["F32"][0]), "-q"], ["search", "a star"]]
    code = f"""
if __name__ == "__main__":
    from qvsearch.cli.app import main
    for line in {lines!r}:
        assert main(line) == 0, line
"""
    loaded = loaded_by(code)
    assert "qvsearch.runtime.llama.embedder" in loaded
    assert not loaded & {"torch", "transformers", "tokenizers", "xllamacpp"}
    assert len(library()) == 13


def test_a_library_remembers_both_files_and_takes_no_others(run, home, files, pictures, tmp_path):  # noqa: F811
    text, vision = (tmp_path / each.name for each in files["F32"])
    for own, other in zip((text, vision), files["F32"], strict=True):
        shutil.copy(other, own)
    assert run("index", pictures, "--model", text, "--mmproj", vision, "-q")[0] == 0
    fingerprint = library().fingerprint
    assert (fingerprint.model, fingerprint.mmproj) == (str(text), str(vision))
    assert fingerprint.revision.startswith("F32+F32.")
    assert b"mmproj" in run("status")[1]
    assert run("search", pictures / "3.png", "-k", "1", "--paths")[1].endswith(b"3.png\n")

    moved = tmp_path / "moved"
    moved.mkdir()
    text.rename(moved / text.name)
    code, _, error = run("search", "a star")
    assert (code, "if its files were moved, give them: --model FILE.gguf" in error) == (2, True)
    vision.rename(moved / vision.name)
    assert run("search", "a blue star", "--all", "--model", moved / text.name)[0] == 0
    code, _, error = run("search", "a ring", "--model", files["Q8_0"][0])
    assert code == 2
    assert "at revision F32+F32." in error
    assert "index into a new --library" in error
    code, _, error = run("search", "a ring", "--model", "demo")
    assert (code, "was made with --model" in error) == (2, True)


def test_a_quantised_file_is_compared_and_its_cost_is_reported(run, home, files, pictures):  # noqa: F811
    line = ["index", pictures, "--model", files["Q8_0"][0], "--json"]
    code, out, _ = run(*line)
    assert code == 0
    compared = [each for each in map(json.loads, out.splitlines()) if each["state"] == "compared"]
    assert len(compared) == 1
    assert compared[0]["reason"].startswith("Q8_0 against demo on the first 12 inputs: median")
    (pictures / "0.png").write_bytes((pictures / "1.png").read_bytes() + b"changed")
    assert b'"compared"' not in run("index", pictures, "--json")[1], "once is enough"


@pytest.fixture
def strict(monkeypatch):
    """Let four bits be too few for pictures of the demo's world, whose median is 0.999."""
    monkeypatch.setattr("qvsearch.vectors.agreement.COSINE", 0.9999)


def test_a_file_that_is_too_rough_must_be_accepted(run, home, files, pictures, strict):  # noqa: F811
    line = ["index", pictures, "--model", files["Q4_0"][0]]
    code, _, error = run(*line)
    assert code == 2
    assert "Q4_0 against demo on the first 12 inputs: median cosine 0.99" in error
    assert "No new vector was stored; give a file with more bits, or accept it:" in error
    assert f"qvsearch index -l {os.environ['QVSEARCH_LIBRARY']} with --accept-quantisation" in error
    assert len(library()) == 0
    code, out, _ = run(*line, "--accept-quantisation", "--json")
    assert (code, len(library())) == (0, 12)
    assert b"Q4_0 against demo" in out, "the figures are there all the same"


def test_after_a_failed_comparison_another_file_may_be_given(
    run,
    home,
    files,
    pictures,
    strict,  # noqa: F811
):
    assert run("index", pictures, "--model", files["Q4_0"][0])[0] == 2
    assert run("index", pictures, "--model", files["F32"][0], "-q")[0] == 0
    assert library().fingerprint.revision.startswith("F32")


def test_without_a_checkpoint_to_compare_with_the_ways_out_are_named(
    run,
    home,
    tmp_path,
    pictures,
    tiny,  # noqa: F811
):
    text, _ = write_gguf(tiny, tmp_path / "tiny", GGMLQuantizationType.Q8_0)
    code, _, error = run("index", pictures, "--model", text)
    assert code == 2
    assert "is quantised (Q8_0), and its model is not on this computer" in error
    assert "--accept-quantisation" in error
    assert run("index", pictures, "--model", text, "--accept-quantisation", "-q")[0] == 0


def test_recorded_scores_stand_in_for_a_checkpoint(demo_embedder):
    query, document = EmbedInput("a red star"), EmbedInput("a note about a red star")
    score = float(np.prod(demo_embedder.embed([query, document]), axis=0).sum())
    reported = []

    def require(recorded, **options):
        pairs = ((query, document, recorded),)
        check = WithScores(pairs, 0.02, "do that", "Q4_K against recorded scores", **options)
        assert check.exact([]) is None
        check.require(demo_embedder, None, [], None, reported.append)

    require(score + 0.01)
    with pytest.raises(QvsearchError, match=r"by up to 0\.0300; at most 0\.02 .*; do that$"):
        require(score + 0.03)
    require(score + 0.03, accepted=True)
    assert len(reported) == 3
    assert reported[2].endswith("scores of texts differ by up to 0.0300")


def test_what_llama_does_not_have_is_refused_before_anything_is_written(
    run,
    home,
    files,
    pictures,  # noqa: F811
):
    model = files["F32"][0]
    for arguments, message in (
        (["--video-mode", "clips"], "use --video-mode frames"),
        (["--video-mode", "both"], "use --video-mode frames"),
        (["--dtype", "int8"], "which has its own numbers; leave it out"),
        (["--device", "cuda"], "or use --device cpu"),
        (["--dim", "4096"], "--dim 4096 is outside 64 to 128"),
        (["--mmproj", "none.gguf"], "there is no file"),
    ):
        code, _, error = run("index", pictures, "--model", model, *arguments)
        assert (code, message in error) == (2, True), error
        assert not Library.exists(os.environ["QVSEARCH_LIBRARY"])
    code, _, error = run("warm", "--model", model)
    assert (code, "give its URL: --server URL" in error) == (2, True)
    code, _, error = run("bench", "--model", model)
    assert (code, "is a GGUF file" in error) == (2, True)


def test_words_without_a_library_are_embedded_too(run, home, files):  # noqa: F811
    code, out, _ = run("embed", "a star", "--model", files["F32"][0], "--dim", "64")
    assert code == 0
    assert len(json.loads(out)["vector"]) == 64
