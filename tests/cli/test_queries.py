"""Queries that were asked before: their vectors come from the cache, and no model is loaded."""

import os
import stat
from dataclasses import replace

import numpy as np
import platformdirs
import pytest
from support.faulty_disk import FaultyDisk, failing
from support.photo_library import asked_anew, photo_library

from qvsearch import files as durable
from qvsearch.cache import first_time
from qvsearch.cli.app import main
from qvsearch.errors import QvsearchError
from qvsearch.models.registry import fingerprint, resolve
from qvsearch.runtime import query_cache as cached
from qvsearch.runtime.loading import Choice, query_embedder
from qvsearch.runtime.query_cache import CachedEmbedder
from qvsearch.types import Detail, EmbedInput, Frames, VideoMode

DIM = 8


class Counting:
    """Gives each input it is asked a vector that no other has."""

    dim = DIM

    def __init__(self):
        self.asked = []

    def embed(self, inputs):
        self.asked += inputs
        rng = np.random.default_rng(len(self.asked))
        vectors = rng.standard_normal((len(inputs), DIM)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def counting():
    return Counting()


def entries():
    folder = platformdirs.user_cache_path() / "queries"
    return sorted(folder.iterdir()) if folder.exists() else []


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (32, 64, 3), np.uint8)


def different_inputs():
    words = EmbedInput("a dog", instruction="Find it.")
    yield words
    yield replace(words, text="a cat")
    yield replace(words, text=None)
    yield replace(words, instruction=None)
    yield replace(words, instruction="Find them.")
    yield replace(words, text="a dog\udc80")
    yield replace(words, images=(picture(),))
    yield replace(words, images=(picture(1),))
    yield replace(words, images=(picture(), picture(1)))
    yield replace(words, images=(picture(1), picture()))
    yield replace(words, images=(picture().reshape(64, 32, 3),))
    frames = np.stack([picture(), picture(1)])
    yield replace(words, video=Frames(frames, (0.0, 1.0)))
    yield replace(words, video=Frames(frames, (0.0, 2.0)))
    yield replace(words, video=Frames(frames[::-1], (0.0, 1.0)))


def test_each_input_is_embedded_once_and_has_its_own_vector(counting):
    inputs = list(different_inputs())
    first = CachedEmbedder(lambda: counting, DIM, "model").embed(inputs)
    assert len(counting.asked) == len(inputs) == len(entries())
    assert len(np.unique(first, axis=0)) == len(inputs)

    def load():
        raise AssertionError("nothing is left to be embedded")

    again = CachedEmbedder(load, DIM, "model").embed(inputs[::-1])
    assert again.dtype == np.float32
    assert np.array_equal(again[::-1], first)


def test_only_what_is_missing_is_embedded_and_rows_keep_their_order(counting):
    inputs = list(different_inputs())
    embedder = CachedEmbedder(lambda: counting, DIM)
    known = embedder.embed(inputs[1:4:2])
    rows = embedder.embed(inputs[:5])
    assert counting.asked == [inputs[1], inputs[3], inputs[0], inputs[2], inputs[4]]
    assert np.array_equal(rows[1:4:2], known)


def test_what_embeds_is_loaded_once(counting):
    loaded = []

    def load():
        loaded.append(counting)
        return counting

    embedder = CachedEmbedder(load, DIM)
    for query in ("a dog", "a cat"):
        embedder.embed([EmbedInput(query)])
    assert (loaded, len(counting.asked)) == ([counting], 2)


def test_another_model_device_or_dtype_has_vectors_of_its_own(tiny, counting, monkeypatch):
    monkeypatch.setattr("qvsearch.runtime.loading.load_embedder", lambda *_: counting)
    made = replace(fingerprint(resolve(str(tiny)), 64, Detail.LOW), dim=DIM)
    query = [EmbedInput("a dog")]
    same = [made, replace(made, detail=Detail.HIGH), replace(made, video_mode=VideoMode.BOTH)]
    for each in same:
        query_embedder(each, Choice()).embed(query)
    assert len(counting.asked) == 1
    for each in (
        replace(made, model="other"),
        replace(made, revision="other"),
        replace(made, prompt_layout=0),
        replace(made, preprocessing=0),
        replace(made, instruction="Other."),
    ):
        query_embedder(each, Choice()).embed(query)
    for choice in (Choice(device="cpu"), Choice(dtype="bfloat16")):
        query_embedder(made, choice).embed(query)
    assert len(counting.asked) == 8 == len(entries())


def test_a_chosen_model_is_checked_even_where_the_vector_is_known(
    tiny, untied, counting, monkeypatch
):
    monkeypatch.setattr("qvsearch.runtime.loading.load_embedder", lambda *_: counting)
    made = replace(fingerprint(resolve(str(tiny)), 64, Detail.LOW), dim=DIM)
    query_embedder(made, Choice(model=str(tiny))).embed([EmbedInput("a dog")])
    with pytest.raises(QvsearchError, match="the library was made with .* at revision"):
        query_embedder(made, Choice(model=str(untied))).embed([EmbedInput("a dog")])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-4],
        lambda data: b"",
        lambda data: data + b"\0\0\0\0",
        lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
    ],
)
def test_a_damaged_entry_is_embedded_anew(counting, spoil):
    embedder = CachedEmbedder(lambda: counting, DIM)
    embedder.embed([EmbedInput("a dog")])
    (path,) = entries()
    path.write_bytes(spoil(path.read_bytes()))
    second = embedder.embed([EmbedInput("a dog")])
    assert len(counting.asked) == 2
    assert np.array_equal(embedder.embed([EmbedInput("a dog")]), second)
    assert len(counting.asked) == 2


def test_an_entry_under_another_name_is_not_believed(counting):
    embedder = CachedEmbedder(lambda: counting, DIM)
    embedder.embed([EmbedInput("a dog"), EmbedInput("a cat")])
    one, other = entries()
    other.write_bytes(one.read_bytes())
    embedder.embed([EmbedInput("a dog"), EmbedInput("a cat")])
    assert len(counting.asked) == 3


def test_what_cannot_be_read_costs_nothing_but_the_next_time(counting):
    embedder = CachedEmbedder(lambda: counting, DIM)
    embedder.embed([EmbedInput("a dog")])
    (path,) = entries()
    path.unlink()
    path.mkdir()
    for _ in range(2):
        assert embedder.embed([EmbedInput("a dog")]).shape == (1, DIM)
    assert len(counting.asked) == 3


@pytest.mark.parametrize("number", [28, 30, 122])  # ENOSPC, EROFS, EDQUOT
def test_a_full_disk_costs_nothing_but_the_next_time(counting, monkeypatch, number):
    embedder = CachedEmbedder(lambda: counting, DIM)
    for at in range(1, 20):
        monkeypatch.setattr(durable, "os", disk := FaultyDisk(at, failing(number)))
        embedder.embed([EmbedInput(f"a dog {at}")])
        if len(disk.steps) < at:
            break
        monkeypatch.setattr(durable, "os", FaultyDisk())
        assert embedder.embed([EmbedInput(f"a dog {at}")]).shape == (1, DIM)
    else:
        raise AssertionError("the disk never was sound")
    assert at > 3


def test_a_cache_folder_that_cannot_even_be_looked_at(counting, monkeypatch, tmp_path):
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: tmp_path / ("x" * 300))
    source = [EmbedInput("a dog")]
    embedder = CachedEmbedder(lambda: counting, DIM)
    assert embedder.embed(source).shape == embedder.embed(source).shape == (1, DIM)
    assert len(counting.asked) == 2


def test_nobody_else_can_read_or_tell_what_was_asked(counting):
    old = os.umask(0)
    try:
        CachedEmbedder(lambda: counting, DIM).embed([EmbedInput("my secret")])
    finally:
        os.umask(old)
    (path,) = entries()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert "secret" not in path.name
    assert b"secret" not in path.read_bytes()
    path.parent.chmod(0o755)
    CachedEmbedder(lambda: counting, DIM).embed([EmbedInput("another")])
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_those_unasked_for_longest_go_when_there_are_many(counting, monkeypatch):
    monkeypatch.setattr(cached, "MOST", 5)
    embedder = CachedEmbedder(lambda: counting, DIM)
    for number in range(5):
        embedder.embed([EmbedInput(f"query {number}")])
        (new,) = [path for path in entries() if path.stat().st_mtime_ns > 10**18]
        os.utime(new, ns=(number, number))
    embedder.embed([EmbedInput("query 0")])  # which is asked again
    embedder.embed([EmbedInput("query 5")])
    assert len(entries()) == 5
    asked = len(counting.asked)
    embedder.embed([EmbedInput(f"query {number}") for number in (0, 2, 3, 4, 5)])
    assert len(counting.asked) == asked


def test_something_is_said_once_and_never_where_that_cannot_be_remembered():
    assert first_time("hint")
    assert not first_time("hint")
    cache = platformdirs.user_cache_path()
    for path in cache.iterdir():
        path.unlink()
    cache.rmdir()
    cache.write_bytes(b"no folder")
    assert not first_time("other")


# ------------------------------------------------------------------ as a whole


def test_a_repeated_query_imports_no_torch_and_finds_the_same(tiny, tmp_path, monkeypatch, capsys):
    cache = tmp_path / "cache"
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: cache / "qvsearch")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    folder = photo_library(tmp_path / "library", fingerprint(resolve(str(tiny)), 64, Detail.LOW))
    query = ["search", "-l", str(folder), "a dog", "--not", "a cat", "--json", "--all"]
    assert main(query) == 0
    hits = capsys.readouterr().out.splitlines()
    assert len(hits) == 10
    assert asked_anew(*query) == (hits, ["0"])
    explain = ["explain", "-l", str(folder), "a cat", "/photos/7", "--json"]
    code = asked_anew(*explain)[1]
    assert code in (["0"], ["1"]), "what was to be left out is known as well"
