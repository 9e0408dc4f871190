"""Servers of models: vectors and scores are the model's own, and only pixels and words go out.

The server of these tests reads the protocol by itself, and refuses what would give other vectors.
"""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.model_inputs import mixed_inputs, pixels
from support.model_server import Refusal, find_all, serving

from qvsearch.choices import Wire
from qvsearch.cli.app import main
from qvsearch.errors import InputsRefused, QvsearchError, ServersFailed
from qvsearch.models import registry
from qvsearch.models.prompt import embed_prompt
from qvsearch.models.registry import resolve
from qvsearch.runtime import local as local_model
from qvsearch.runtime.loading import Choice, find_reranker, load_embedder, query_embedder
from qvsearch.runtime.local import LocalEmbedder, LocalReranker
from qvsearch.runtime.remote import texts
from qvsearch.runtime.remote.handshake import Handshake
from qvsearch.runtime.remote.rerank_handshake import RerankHandshake
from qvsearch.types import Detail, EmbedInput, Frames, VideoMode

DIM = 64


@pytest.fixture(autouse=True)
def _proven(monkeypatch):
    """Take servers as proven: `test_handshake.py` compares them."""
    monkeypatch.setattr(Handshake, "require", lambda *_: None)
    monkeypatch.setattr(RerankHandshake, "prove", lambda *_: [])


@pytest.fixture(scope="module", params=["tiny", "tiny_appending"])
def folder(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def local(folder):
    return LocalEmbedder(folder, "cpu", "float32")


def made_with(folder, dim=DIM, mode=VideoMode.FRAMES):
    weights = resolve(str(folder))
    return registry.fingerprint(weights, dim, Detail.LOW, mode)


def remote(folder, *servers, dim=DIM, mode=VideoMode.FRAMES, **choice):
    urls = tuple(each.url for each in servers)
    return load_embedder(made_with(folder, dim, mode), Choice(servers=urls, **choice))


def clip(count=5, step=0.5, height=64):
    frames = np.stack([pixels(height, 96, seed) for seed in range(count)])
    return EmbedInput(video=Frames(frames, tuple(0.03 + step * each for each in range(count))))


def every_form():
    yield from mixed_inputs()
    yield EmbedInput("")
    yield EmbedInput("<|im_end|>\n<|im_start|>assistant <|image_pad|> {{ }}")
    yield EmbedInput("a", instruction="Find <|im_end|> it")
    yield clip()
    yield replace(clip(40, 1.049, 32), text="forty frames", images=(pixels(32, 64),))


# ------------------------------------------------------------------ the contract of an embedder


@pytest.mark.parametrize("lists", [(True,), (False,), (True, False, True)])
def test_its_vectors_are_those_of_the_model(folder, local, lists):
    inputs = list(every_form())
    expected = local.embed_to(inputs, DIM)
    with (
        serving(local, lists=lists[0]) as one,
        serving(local, lists=lists[-1]) as other,
    ):
        embedder = remote(folder, *(one, other)[: len(lists)], mode=VideoMode.CLIPS)
        found = embedder.embed(inputs)
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() < 1e-5
        assert embedder.embed([]).shape == (0, DIM)
        if len(lists) == 1:
            assert any(isinstance(body["messages"][0], list) for body in one.work) is lists[0]


def test_dimensions_are_cut_here(tiny):
    local = LocalEmbedder(tiny, "cpu", "float32")
    with serving(local) as server:
        found = remote(tiny, server, dim=32).embed([EmbedInput("a dog")])
        assert "dimensions" not in json.dumps(server.bodies)
    assert np.abs(found - local.embed_to([EmbedInput("a dog")], 32)).max() < 1e-5


def test_a_text_that_is_too_long_is_cut_here_as_the_model_cuts_it(folder, local, monkeypatch):
    monkeypatch.setattr(local_model, "MAX_TOKENS", 300)
    monkeypatch.setattr(texts, "MAX_INPUT_TOKENS", 300)
    words = " ".join(f"word{each}" for each in range(200))
    signs = " ".join(f"u\u0308ber 狗🐕{each}" for each in range(100))
    inputs = [EmbedInput(words), EmbedInput(words, (pixels(64, 64),)), EmbedInput(signs)]
    with serving(local) as server:
        found = remote(folder, server).embed(inputs)
        assert not find_all(server.bodies, "truncate_prompt_tokens")
        (sent,) = [body["messages"][2][-1]["content"][0]["text"] for body in server.work]
    assert np.abs(found[:2] - local.embed_to(inputs[:2], DIM)).max() < 1e-5
    assert signs.startswith(sent)  # without half a character, which the model alone would see
    (ids,) = local.network.tokenize([embed_prompt(EmbedInput(sent))], 10_000)
    assert 296 <= len(ids) <= 300


def test_an_input_that_is_too_large_is_refused_here_with_the_words_of_the_model(tiny):
    local = LocalEmbedder(tiny, "cpu", "float32")
    large = EmbedInput(images=(np.zeros((4096, 4096, 3), np.uint8),))
    with pytest.raises(QvsearchError) as expected:
        local.embed([large])
    with serving(local) as server:
        embedder = remote(tiny, server)
        with pytest.raises(InputsRefused) as refused:
            embedder.embed([EmbedInput("a"), large, EmbedInput("\ud800"), EmbedInput("b")])
        assert len(server.work) == 1
    assert refused.value.reasons[1] == str(expected.value)
    assert "lone surrogate" in refused.value.reasons[2]
    assert np.isfinite(refused.value.vectors).all(axis=1).tolist() == [True, False, False, True]


def test_a_tokenizer_that_is_not_there_is_not_the_inputs_fault(tiny, tmp_path):
    with serving(LocalEmbedder(tiny, "cpu", "float32")) as server:
        embedder = remote(tiny, server)
        embedder.texts = texts.Texts(lambda: tmp_path)
        with pytest.raises(QvsearchError, match="has no usable tokenizer") as failed:
            embedder.embed([EmbedInput("word " * 3000)])
    assert not isinstance(failed.value, InputsRefused)


def test_pixels_arrive_as_they_are(tiny):
    noise = np.random.default_rng(0).integers(0, 256, (96, 64, 3), np.uint8)
    wide = np.random.default_rng(1).integers(0, 256, (32, 16_384 + 32, 3), np.uint8)
    seen = []

    class Model:
        def embed(self, inputs):
            seen.extend(inputs)
            return np.full((len(inputs), DIM), DIM**-0.5, np.float32)

    with serving(Model()) as server:
        remote(tiny, server).embed([EmbedInput(images=(noise, wide))])
        assert (seen[-1].images[0] == noise).all()
        assert (seen[-1].images[1] == wide).all()
        remote(tiny, server, wire=Wire.JPEG95).embed([EmbedInput(images=(noise,))])
        assert 0 < np.abs(seen[-1].images[0].astype(int) - noise).mean() < 4
        lossless, _, jpeg = (json.dumps(body) for body in server.work[-2:] + [server.work[-1]])
        assert "data:image/webp" in lossless
        assert "data:image/jpeg" in jpeg


def test_with_the_demo_jpeg95_changes_little(demo_embedder):
    picture = pixels(256, 256)
    with serving(demo_embedder) as server:
        embedder = load_embedder(
            made_with("demo", 128), Choice(servers=(server.url,), wire=Wire.JPEG95)
        )
        found = embedder.embed([EmbedInput(images=(picture,))])
    assert (found @ demo_embedder.embed([EmbedInput(images=(picture,))]).T).item() > 0.999


def test_clips_need_a_server_that_takes_their_times(tiny):
    local = LocalEmbedder(tiny, "cpu", "float32")
    with serving(local, kwargs=False) as server:
        remote(tiny, server)  # a library of frames asks for none
        with pytest.raises(ServersFailed, match=r"start it with --trust-request-mm-kwargs, or"):
            remote(tiny, server, mode=VideoMode.BOTH)


def test_queries_of_servers_and_of_this_computer_have_caches_of_their_own(tiny):
    local = LocalEmbedder(tiny, "cpu", "float32")
    fingerprint = made_with(tiny)
    with serving(local) as one, serving(local) as other:
        for server in (one, other, one):
            query_embedder(fingerprint, Choice(servers=(server.url,))).embed_query("a dog")
        assert len(one.work) == len(other.work) == 1
    here = query_embedder(fingerprint, Choice(device="cpu", dtype="float32"))
    loaded = []
    here._loaded = lambda: loaded.append(True) or local
    here.embed_query("a dog")
    assert loaded


# ------------------------------------------------------------------ the contract of a reranker


@pytest.mark.parametrize("path", ["/score", "/rerank"])
def test_its_scores_are_those_of_the_reranker(path, tiny, monkeypatch):
    monkeypatch.setattr(local_model, "MAX_RERANK_TOKENS", 500)
    monkeypatch.setattr(texts, "MAX_PAIR_TOKENS", 500)
    local = LocalReranker(tiny, "cpu", "float32")
    query = EmbedInput("a dog <|im_end|>", (pixels(64, 64),), instruction="Find the dog")
    documents = [*mixed_inputs(), EmbedInput(""), clip(3), EmbedInput("word " * 600)]

    def fault(handler, _):
        if handler.path != path:
            raise Refusal(404, "Not Found")

    with serving(reranker=local, fault=fault) as server:
        choice = Choice(rerank_servers=(server.url,))
        reranker = find_reranker(str(tiny), made_with(tiny), choice)()
        found = reranker.score(query, documents)
        assert reranker.score(query, []) == []
        assert len(server.work) < len(documents)
    assert np.abs(np.array(found) - local.score(query, documents)).max() < 1e-5


@pytest.mark.parametrize("scores", [[0.5], [0.5, 1.5], [0.5, float("nan")], [0.5, None]])
def test_scores_that_are_none_are_refused(tiny, scores):
    class Model:
        def score(self, _, documents):
            return [0.5] * len(documents)

    with serving(reranker=Model(), change=lambda _: scores) as server:
        reranker = find_reranker(str(tiny), made_with(tiny), Choice(rerank_servers=(server.url,)))
        with pytest.raises(ServersFailed, match="its (scores are not|answer has)"):
            reranker().score(EmbedInput("a"), [EmbedInput("b")] * 2)


# ------------------------------------------------------------------ what leaves


def test_requests_have_no_names_and_no_paths(tiny, tmp_path):
    local = LocalEmbedder(tiny, "cpu", "float32")
    secret = tmp_path / "secretfolder"
    secret.mkdir()
    Image.fromarray(pixels(64, 64)).save(secret / "secretname.png")
    (secret / "secretnote.txt").write_text("words of a note\n")
    with serving(local) as server:
        command = ["index", str(secret), "-l", str(tmp_path / "secretlibrary"), "-q"]
        assert main([*command, "--model", str(tiny), "--server", server.url]) == 0
        said = json.dumps(server.bodies + server.heads)
        for _path, body in server.bodies:
            for url in find_all(body, "url"):
                said += base64.b64decode(url.partition(",")[2]).decode("latin-1")
    assert "words of a note" in said
    for word in ("secret", str(tmp_path), str(tiny)):
        assert word not in said
