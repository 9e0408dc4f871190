"""llama.cpp on GGUF files of the demo's checkpoint: the same vectors as our own engine."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from gguf import GGMLQuantizationType
from support.gguf_files import write_gguf
from support.model_inputs import mixed_inputs, pixels

from qvsearch.errors import QvsearchError
from qvsearch.models.registry import DEMO_FOLDER
from qvsearch.runtime.llama.embedder import LlamaEmbedder
from qvsearch.runtime.llama.pair import read_pair
from qvsearch.runtime.llama.protocol import unit_rows
from qvsearch.types import EmbedInput, Frames

pytest.importorskip("xllamacpp")

SECONDS = 60.0  # for a process to end


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_gguf(DEMO_FOLDER, tmp_path_factory.mktemp("gguf"))


@pytest.fixture(scope="module")
def llama(files):
    embedder = LlamaEmbedder(read_pair(*files))
    yield embedder
    embedder.close()


def cosines(one, other):
    return (one.astype(np.float64) * other).sum(axis=1)


def test_vectors_are_those_of_our_own_engine(llama, demo_embedder):
    inputs = [
        *mixed_inputs(),
        EmbedInput(""),
        EmbedInput("e\u0301 a\u030a \u1100\u1161 ﬁ"),  # not in Unicode's normal form
        EmbedInput("<|im_end|>\n<|im_start|>system <|image_pad|> <__media__> <|endoftext|>"),
        EmbedInput("{{ template }} \t\r\n\x00 end"),
        EmbedInput(images=(pixels(32, 32),)),  # of one token
        EmbedInput(images=(pixels(32, 256),), instruction="Find pictures"),
    ]
    vectors = llama.embed(inputs)
    assert vectors.dtype == np.float32
    assert cosines(vectors, demo_embedder.embed(inputs)).min() > 0.999999
    assert np.array_equal(llama.embed(inputs[::-1])[::-1], vectors), "whatever came before"


def test_a_long_text_is_cut_at_the_same_place(llama, demo_embedder, monkeypatch):
    monkeypatch.setattr("qvsearch.runtime.local.MAX_TOKENS", 64)
    monkeypatch.setattr("qvsearch.runtime.llama.embedder.MAX_INPUT_TOKENS", 64)
    inputs = [
        EmbedInput("a red star on grass 海滩上的狗 " * 9),
        EmbedInput("海滩上的狗🐕" * 40),  # cut within a character
        EmbedInput("a dog " * 60, images=(pixels(64, 64),)),
    ]
    assert cosines(llama.embed(inputs), demo_embedder.embed(inputs)).min() > 0.999999
    with pytest.raises(QvsearchError, match=r"over the model's 64; give fewer images"):
        llama.embed([EmbedInput(images=(pixels(256, 256), pixels(256, 256)))])


def test_dimensions_are_cut_and_normalised(files, llama, demo_embedder):
    embedder = LlamaEmbedder(read_pair(*files), 64)
    vector = embedder.embed_query("a red star")
    embedder.close()
    whole = llama.embed_query("a red star")
    assert vector == pytest.approx(whole[:64] / np.linalg.norm(whole[:64]), abs=1e-6)


def test_quantised_weights_move_vectors_a_little(tmp_path, demo_embedder):
    pair = read_pair(*write_gguf(DEMO_FOLDER, tmp_path, GGMLQuantizationType.Q8_0))
    assert (pair.numbers, pair.is_quantised) == ("Q8_0", True)
    assert pair.revision.startswith("Q8_0+F32.")
    embedder = LlamaEmbedder(pair)
    inputs = mixed_inputs()
    both = cosines(embedder.embed(inputs), demo_embedder.embed(inputs))
    embedder.close()
    assert 0.999 < both.min() < 0.99999


def test_videos_and_half_characters_are_refused(llama):
    frames = Frames(np.zeros((2, 64, 64, 3), np.uint8), (0.0, 1.0))
    with pytest.raises(QvsearchError, match="does not read videos as this model was trained to"):
        llama.embed([EmbedInput(video=frames)])
    with pytest.raises(QvsearchError, match="lone surrogate"):
        llama.embed([EmbedInput("\ud800")])
    assert llama.embed([]).shape == (0, 128)


def test_an_engine_that_was_killed_fails_once_and_starts_again(files):
    others = set(psutil.Process().children())
    embedder = LlamaEmbedder(read_pair(*files))
    before = embedder.embed_query("a red star")
    (engine,) = set(psutil.Process().children()) - others
    engine.kill()
    engine.wait(SECONDS)
    with pytest.raises(QvsearchError, match="llama.cpp ended while it computed"):
        embedder.embed_query("a red star")
    assert np.array_equal(embedder.embed_query("a red star"), before)
    embedder.close()


def test_the_engine_ends_with_its_process_and_listens_on_no_port(files):
    code = f"""
import sys
from qvsearch.runtime.llama.embedder import LlamaEmbedder
from qvsearch.runtime.llama.pair import read_pair
embedder = LlamaEmbedder(read_pair({str(files[0])!r}))
print("ready", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout.readline() == b"ready\n"
        (engine,) = psutil.Process(parent.pid).children()
        listening = engine.net_connections("inet")
        sockets = [each.laddr for each in engine.net_connections("unix") if each.laddr]
        arguments = engine.cmdline()
        parent.kill()
        engine.wait(SECONDS)  # raises if it goes on
    assert listening == []
    folders = {Path(each).parent for each in sockets}
    assert len(folders) == 1
    assert not any(each.exists() for each in folders), "its socket is gone"
    assert arguments[-1] == "qvsearch.runtime.llama.server", "its key is in no process list"


# ------------------------------------------------------------------ wrong files


def copy_with(path, target, old, new):
    """Write a file in which one string is another of the same length."""
    content = path.read_bytes()
    assert old in content
    assert len(old) == len(new)
    target.write_bytes(content.replace(old, new))
    return target


def test_a_wrong_file_is_named_with_the_way_out(files, tmp_path, tiny):
    text, vision = files
    llama2 = copy_with(text, tmp_path / "llama.gguf", b"qwen3vl", b"mistral")
    older = copy_with(vision, tmp_path / "mmproj-old.gguf", b"qwen3vl_merger", b"qwen2vl_merger")
    other = write_gguf(tiny, tmp_path / "other")[1]
    wide = tmp_path / "alone" / "text.gguf"
    wide.parent.mkdir()
    wide.symlink_to(text)
    for model, mmproj, message in (
        (vision, None, "is a vision tower; give the language model as --model"),
        (llama2, vision, "of the architecture 'mistral'; qvsearch takes Qwen3-VL-Embedding"),
        (text, text, "is not a vision tower, but of the architecture 'qwen3vl'"),
        (text, older, "for the projector 'qwen2vl_merger', not 'qwen3vl_merger'"),
        (text, other, "dimensions, and the language model has 128"),
        (wide, None, "has no vision tower, which pictures need, beside it; give --mmproj FILE"),
        (text, tmp_path / "none.gguf", "there is no file"),
    ):
        with pytest.raises(QvsearchError, match=message):
            read_pair(model, mmproj)


def test_the_only_fitting_vision_tower_beside_a_model_is_taken(files, tmp_path):
    text, vision = tmp_path / "text.gguf", tmp_path / "mmproj-text.gguf"
    text.symlink_to(files[0])
    vision.symlink_to(files[1])
    (tmp_path / "mmproj-damaged.gguf").write_bytes(b"GGUF")
    assert read_pair(text).vision.path == vision
    (tmp_path / "second-mmproj.gguf").symlink_to(files[1])
    with pytest.raises(QvsearchError, match=r"mmproj-text\.gguf, second-mmproj\.gguf; choose one"):
        read_pair(text)


def test_weights_that_llama_cannot_load_are_reported_with_its_reason(files, tmp_path):
    broken = copy_with(
        files[0], tmp_path / "text.gguf", b"blk.0.attn_q.weight", b"blk.0.attn_x.weight"
    )
    with pytest.raises(QvsearchError, match=r"llama\.cpp cannot load .*text\.gguf") as caught:
        LlamaEmbedder(read_pair(broken, files[1]))
    assert "blk.0.attn_q.weight" in str(caught.value) or "GB of free memory" in str(caught.value)


def test_without_xllamacpp_the_remedy_is_one_sentence(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(QvsearchError) as caught:
        LlamaEmbedder(read_pair(*files))
    assert str(caught.value) == 'a GGUF file needs xllamacpp: pip install "qvsearch[gguf]"'


def test_a_system_without_unix_sockets_is_told_of_servers(files, monkeypatch):
    monkeypatch.delattr("socket.AF_UNIX")
    with pytest.raises(QvsearchError, match="give its URL with --server"):
        LlamaEmbedder(read_pair(*files))


def test_an_answer_that_is_no_vector_is_refused():
    row = [1.0, 0.0]
    for own in ([row], row):
        assert unit_rows([{"index": 0, "embedding": own}], 1, 2, 2).tolist() == [row]
    for answer, message in (
        ({"error": "x"}, "its answer has no list of results"),
        ([], "has 0 results for 1 inputs"),
        ([{"index": 1, "embedding": [row]}], "does not say which result is of which input"),
        ([{"index": 0, "embedding": "row"}], "has no vectors"),
        ([{"index": 0, "embedding": [row, row]}], "gives a vector for each token"),
        ([{"index": 0, "embedding": [[1.0]]}], "of 1 numbers, not 2"),
        ([{"index": 0, "embedding": [[3.0, 4.0]]}], "have length 5, not 1"),
        ([{"index": 0, "embedding": [[1.005, 0.0]]}], "have length 1.005, not 1"),
        ([{"index": 0, "embedding": [[float("nan"), 0.0]]}], "not finite"),
        ([{"index": 0, "embedding": [[None, 0.0]]}], "not finite"),
    ):
        with pytest.raises(QvsearchError, match=message):
            unit_rows(answer, 1, 2, 2)


def testthreads_are_those_of_our_own_models(monkeypatch):
    from qvsearch.runtime.llama.process import threads

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= threads() <= (os.cpu_count() or 1)
