"""A server is compared with known vectors before any of its own is used, or it is refused."""

import json
import re
import sys
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from jinja2 import Environment
from PIL import Image
from support.model_inputs import mixed_inputs, pixels
from support.model_server import serving
from tokenizers import Tokenizer

from qvsearch.cli.app import main
from qvsearch.demo.show import PICTURES
from qvsearch.demo.world import draw, scenes
from qvsearch.errors import ServersFailed
from qvsearch.library.library import Library
from qvsearch.models import registry
from qvsearch.models.prompt import embed_prompt, rerank_prompt
from qvsearch.runtime import opened
from qvsearch.runtime.loading import Choice, load_embedder, open_library, task_fingerprint
from qvsearch.runtime.local import LocalReranker
from qvsearch.runtime.remote import handshake, references
from qvsearch.runtime.remote.launch import EMBEDDER_TEMPLATE, RERANKER_TEMPLATE, TEMPLATES
from qvsearch.runtime.remote.layouts import cause
from qvsearch.runtime.remote.loading import load_handshake, load_rerank_handshake
from qvsearch.runtime.remote.references import Form, own_inputs
from qvsearch.types import Detail, EmbedInput

TEXT = EmbedInput("a red star")
PICTURE = EmbedInput(images=(pixels(96, 96),))
PUBLISHED = "Qwen/Qwen3-VL-Embedding-2B"


@pytest.fixture(autouse=True)
def _nothing_is_proven(monkeypatch):
    monkeypatch.setattr(handshake.Handshake, "_made", {})
    monkeypatch.setattr(opened, "_FOLDERS", {})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("world"), np.random.default_rng(1)
    (folder / "pictures").mkdir()
    for number, scene in enumerate(islice(scenes(rng, held_out=True), PICTURES)):
        Image.fromarray(draw(scene, rng)).save(folder / "pictures" / f"{number}.jpg")
    return folder


@pytest.fixture(scope="module")
def library(tmp_path_factory, world):
    folder = tmp_path_factory.mktemp("libraries") / "library"
    arguments = ["index", str(world / "pictures"), "-l", str(folder), "--model", "demo", "-q"]
    assert main([*arguments, "--dtype", "float32"]) == 0
    return folder


TOKENIZER = Tokenizer.from_file(str(registry.DEMO_FOLDER / "tokenizer.json"))


def tokenizing(change=lambda prompt: prompt):
    """Show the tokens of prompts as vLLM does; `change` makes other prompts of ours."""

    def answer(handler, body):
        if handler.path != "/tokenize":
            return None
        prompt = change(embed_prompt(handler.read(body["messages"], body)))
        handler.send(200, {"tokens": TOKENIZER.encode(prompt).ids})
        return True

    return answer


def proof(server, library=None, **changes):
    choice = Choice("demo", servers=(server.url,))
    made = open_library(library, choice).fingerprint if library else task_fingerprint(None, choice)
    return load_handshake(replace(made, **changes), choice, lambda: registry.DEMO_FOLDER)


def computed(server):
    return [body for path, body in server.bodies if "encoding_format" in body]


# ------------------------------------------------------------------ what is compared


def test_vectors_are_those_of_the_librarys_rows(demo_embedder, library):
    with serving(demo_embedder, fault=tokenizing()) as server:
        text, picture = proof(server, library).prove({Form.PICTURE})
    assert (text.form, text.inputs, picture.form, picture.inputs) == ("text", 4, "picture", 3)
    assert {text.origin, picture.origin} == {f"the library {library}"}
    assert min(text.cosine, picture.cosine) > 0.9999
    assert text.layout
    assert picture.layout


def test_without_a_library_they_are_those_of_the_model_here(demo_embedder):
    with serving(demo_embedder) as server:
        comparisons = proof(server).prove(set(Form) - {Form.PAIR})
    assert [each.form for each in comparisons] == ["text", "picture", "clip"]
    assert {each.origin for each in comparisons} == {"the model on this computer"}
    assert min(each.cosine for each in comparisons) > 0.99999
    assert not any(each.layout for each in comparisons)  # this server does not show prompts


def test_changed_files_prove_nothing(demo_embedder, world, tmp_path):
    import shutil

    folder = tmp_path / "pictures"
    shutil.copytree(world / "pictures", folder)
    library = tmp_path / "library"
    assert main(["index", str(folder), "-l", str(library), "--model", "demo", "-q"]) == 0
    for each in folder.iterdir():
        each.write_bytes(b"no picture any more")
    with serving(demo_embedder) as server:
        _, picture = proof(server, library).prove({Form.PICTURE})
    assert picture.origin == "the model on this computer"


def test_each_form_is_compared_once_and_only_when_needed(demo_embedder, library):
    with serving(demo_embedder, fault=tokenizing()) as server:
        choice = Choice(servers=(server.url,))
        made = open_library(library, choice).fingerprint

        def requests(number, source):
            before = len(computed(server))
            source = replace(source, instruction=f"Number {number}.")
            load_embedder(made, choice).embed([source])
            return len(computed(server)) - before

        sources = (TEXT, TEXT, PICTURE, PICTURE, TEXT)
        first, alone, picture, again, last = map(requests, range(5), sources)
    assert alone == again == last
    assert first == alone + 3  # two texts of our own, and known ones at once
    assert picture == alone + 2


def test_another_model_behind_the_same_address_is_noticed_later(
    demo_embedder, library, monkeypatch
):
    monkeypatch.setattr(handshake, "AGAIN", 0.0)  # a moment is later than that
    with serving(demo_embedder, fault=tokenizing()) as server:
        choice = Choice(servers=(server.url,))
        embedder = load_embedder(open_library(library, choice).fingerprint, choice)
        embedder.embed([TEXT])
        server.change = noisy(0.3)
        with pytest.raises(ServersFailed, match="it serves another model"):
            embedder.embed([TEXT])


@pytest.fixture
def no_weights(monkeypatch):
    """Let no model be on this disk, once the fingerprint of the demo's is known."""
    made = task_fingerprint(None, Choice("demo", servers=("http://localhost",)))
    monkeypatch.setattr(sys.modules[__name__], "task_fingerprint", lambda *_: made)
    monkeypatch.setattr(registry, "find", lambda _: None)


@pytest.mark.usefixtures("no_weights")
def test_the_published_model_is_proven_by_recorded_scores(demo_embedder, monkeypatch):
    [recorded] = references.recorded_scores(PUBLISHED, registry.MODELS[PUBLISHED].revision)
    made = {"model": PUBLISHED, "revision": registry.MODELS[PUBLISHED].revision}
    score = recorded.score

    def pair(vectors):
        if len(vectors) == 2:
            vectors = np.zeros_like(vectors)
            vectors[0, 0], vectors[1, 0], vectors[1, 1] = 1, score, np.sqrt(1 - score**2)
        return vectors

    with serving(demo_embedder, fault=tokenizing(), change=pair) as server:
        text, picture = proof(server, **made).prove({Form.PICTURE})
        assert text.origin == f"recorded scores of {PUBLISHED}"
        assert text.error < 1e-6
        assert (picture.cosine, picture.origin, picture.layout) == (None, "its prompts", True)
        monkeypatch.setattr(handshake.Handshake, "_made", {})
        score += 0.03
        with pytest.raises(ServersFailed, match=r"two texts is 0\.8196, .* gives 0\.7896"):
            proof(server, **made).prove({Form.TEXT})
        with pytest.raises(ServersFailed, match="there is nothing to compare its vectors of"):
            proof(server, model=PUBLISHED, revision="another").prove({Form.TEXT})


@pytest.mark.usefixtures("no_weights")
def test_a_model_without_recorded_scores_needs_its_name(demo_embedder):
    name = "Qwen/Qwen3-VL-Embedding-8B"
    made = {"model": name, "revision": registry.MODELS[name].revision}
    with serving(demo_embedder) as server:
        with pytest.raises(ServersFailed, match="it names its model served, and .* models pull"):
            proof(server, **made).prove({Form.TEXT})
        proofs = proof(server, **made)
        [(place, dialect)] = proofs.servers.items()
        dialect.model = name
        notices = []
        proofs._notice = notices.append
        assert proofs.prove({Form.TEXT})[0].origin == "its name, dimension and prompts"
        assert notices == [
            f"{place.url}: compared by its name, dimension and prompts alone, because there"
            " are no vectors of its model here"
        ]


# ------------------------------------------------------------------ other kinds of numbers


def test_int8_vectors_are_compared_as_int8_is_with_float32(demo_embedder, world, tmp_path):
    library = tmp_path / "library"
    arguments = ["index", str(world / "pictures"), "-l", str(library), "--model", "demo", "-q"]
    assert main([*arguments, "--dtype", "int8", "--device", "cpu"]) == 0
    with serving(demo_embedder) as server:
        text, picture = proof(server, library).prove({Form.PICTURE})
        assert text.agreement.inputs == 64
        assert picture.agreement.inputs == min(handshake.MANY_ROWS, len(Library.open(library)))
        assert re.fullmatch(
            r"its vectors against the library \S+ on \d+ inputs: median cosine \d\.\d{4},"
            r" \d+\.\d% of the 10 nearest the same",
            str(picture.agreement),
        )
        assert 0.99 < picture.agreement.cosine < 1


def noisy(amount):
    rng = np.random.default_rng(0)

    def change(vectors):
        changed = vectors + rng.normal(0, amount, vectors.shape)
        return (changed / np.linalg.norm(changed, axis=1, keepdims=True)).astype(np.float32)

    return change


def test_a_quantised_server_is_judged_by_its_agreement(demo_embedder, library):
    for amount, is_used in ((0.004, True), (0.05, False)):
        with serving(demo_embedder, change=noisy(amount)) as server:
            proofs = proof(server, library)
            [(_, dialect)] = proofs.servers.items()
            dialect.model = "someone/Qwen3-VL-Embedding-2B-FP8"
            if is_used:
                assert 0.99 < proofs.prove({Form.TEXT})[0].agreement.cosine < 0.999
            else:
                with pytest.raises(ServersFailed, match="0.99 and 95% are required"):
                    proofs.prove({Form.TEXT})


@pytest.mark.parametrize(
    ("name", "is_quantised"),
    [
        ("Qwen/Qwen3-VL-Embedding-2B", False),
        ("/models/Qwen3-VL-Embedding-8B", False),
        ("x/Qwen3-VL-Embedding-2B-FP8", True),
        ("x/Qwen3-VL-Embedding-2B-AWQ-4bit", True),
        ("x/embedding.w8a8", True),
        ("x/Qwen3-VL-Embedding-2B-NVFP4", True),
        ("Qwen3-VL-Embedding-2B.Q4_K_M.gguf", True),
        ("/mnt/fp80/model", False),
    ],
)
def test_quantised_weights_are_known_by_their_name(name, is_quantised):
    own = registry.fingerprint(registry.resolve("demo"), 128, Detail.LOW)
    assert handshake.other_kind(name, own) == is_quantised


@pytest.mark.parametrize(
    ("revision", "is_quantised"),
    [
        ("Q4_K+F16.0a1b", True),
        ("F16+Q8_0.0a1b", True),
        ("TQ1_0+F32.0a", True),
        ("BF16+F32.4", False),
    ],
)
def test_the_weights_of_a_library_of_a_gguf_file_may_be_quantised(revision, is_quantised):
    own = replace(
        registry.fingerprint(registry.resolve("demo"), 128, Detail.LOW), revision=revision
    )
    assert handshake.other_kind("model", replace(own, model="/m.gguf")) == is_quantised
    assert not handshake.other_kind("model", own)


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("amount", "reason"),
    [(0.02, "quantised, or of another version"), (0.3, "it serves another model; serve demo")],
)
def test_other_weights_are_refused(demo_embedder, library, amount, reason):
    with serving(demo_embedder, fault=tokenizing(), change=noisy(amount)) as server:
        choice = Choice(servers=(server.url,))
        embedder = load_embedder(open_library(library, choice).fingerprint, choice)
        with pytest.raises(ServersFailed, match=reason) as refusal:
            embedder.embed([TEXT])
    assert str(refusal.value).startswith(
        f"the server {server.url}: it is not used: the lowest cosine of its vectors of 4 texts"
        f" with those of the library {library} is 0."
    )


def test_one_of_several_servers_is_enough_for_a_refusal(demo_embedder, library):
    with serving(demo_embedder) as right, serving(demo_embedder, change=noisy(0.3)) as wrong:
        choice = Choice(servers=(right.url, wrong.url))
        embedder = load_embedder(open_library(library, choice).fingerprint, choice)
        with pytest.raises(ServersFailed, match=f"the server {wrong.url}: it is not used"):
            embedder.embed([TEXT])


def test_a_refused_server_stores_nothing(demo_embedder, world, tmp_path, capfd):
    shown = tokenizing(lambda prompt: prompt.replace("<|image_pad|>", "", 1))
    library = tmp_path / "library"
    with serving(demo_embedder, fault=shown) as server:
        arguments = ["index", str(world / "pictures"), "-l", str(library), "--model", "demo"]
        assert main([*arguments, "-q", "--server", server.url]) == 2
    error = capfd.readouterr().err
    assert re.search(r"makes \d+ visual tokens of a picture of \d+: its pixel budget", error)
    assert len(Library.open(library)) == 0


PROMPT = embed_prompt(own_inputs(Form.PICTURE, Detail.LOW)[0])
CLIP = embed_prompt(own_inputs(Form.CLIP, Detail.LOW)[0])


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (PROMPT, PROMPT.replace("<|image_pad|>", "", 200), "56 visual tokens of a picture of 256"),
        (
            PROMPT,
            PROMPT.removesuffix("<|im_start|>assistant\n"),
            "it does not use add_generation_prompt",
        ),
        (PROMPT, PROMPT + "<|endoftext|>", "its tokenizer appends '<|endoftext|>'"),
        (PROMPT, PROMPT[PROMPT.index("<|im_start|>user") :], "its template lays out prompts"),
        (CLIP, CLIP.replace("<|video_pad|>", "", 16), "32 visual tokens of a clip of 48"),
        (CLIP, CLIP.replace("<0.3 seconds>", "<0.5 seconds>"), "its template lays out prompts"),
    ],
)
def test_a_prompt_that_differs_names_its_cause(ours, theirs, words):
    assert words in cause(ours, theirs)


def test_an_early_server_that_shows_one_token_a_picture_is_not_refused(demo_embedder):
    def short(prompt):
        return re.sub(r"(<\|image_pad\|>)+", "<|image_pad|>", prompt)

    with serving(demo_embedder, fault=tokenizing(short)) as server:
        text, picture = proof(server).prove({Form.PICTURE})
    assert (text.layout, picture.layout) == (True, False)


def test_a_server_that_computes_other_prompts_than_it_shows_is_refused(demo_embedder):
    def short(handler, body):
        if handler.path == "/v1/embeddings" and "encoding_format" in body:
            answer = handler.answer(body) | {"usage": {"prompt_tokens": 19}}
            handler.send(200, answer)
            return True
        return tokenizing()(handler, body)

    reason = "prompt of 19 tokens, not .* a proxy before it"
    with serving(demo_embedder, fault=short) as server, pytest.raises(ServersFailed, match=reason):
        proof(server).prove({Form.TEXT})


# ------------------------------------------------------------------ rerankers


@pytest.fixture(scope="module")
def reranker():
    return LocalReranker("demo-reranker", "cpu", "float32")


def test_a_reranker_is_proven_by_scores(reranker, capfd):
    with serving(reranker=reranker) as server:
        assert main(["serve-model", "demo-reranker", "--check", server.url, "--json"]) == 0
        record = json.loads(capfd.readouterr().out)
    assert record.pop("error") < 1e-3
    assert record == {
        "server": server.url,
        "form": "pair",
        "origin": "the model on this computer",
        "inputs": 2,
        "layout": False,
    }
    with serving(reranker=reranker, change=lambda scores: [1 - s for s in scores]) as server:
        choice = Choice(rerank_servers=(server.url,))
        proofs = load_rerank_handshake("demo-reranker", choice, lambda: registry.RERANKER_FOLDER)
        with pytest.raises(ServersFailed, match="its template, its --hf-overrides or its model"):
            proofs.prove()


# ------------------------------------------------------------------ templates


def rendered(name, **values):
    return Environment().from_string((TEMPLATES / name).read_text()).render(values)


def turns(source):
    parts = [{"type": "image"} for _ in source.images]
    parts += [{"type": "text", "text": source.text}] * (source.text is not None)
    system = {"type": "text", "text": source.instruction or "Represent the user's input."}
    return [{"role": "system", "content": [system]}, {"role": "user", "content": parts}]


def plain(source):
    """The content of a pair's side as vLLM passes it to a template."""
    return "<|vision_start|><|image_pad|><|vision_end|>" * len(source.images) + (source.text or "")


def one_pad(prompt):
    return re.sub(r"(<\|image_pad\|>)+", "<|image_pad|>", prompt)


def test_the_templates_render_our_prompts():
    for source in mixed_inputs():
        prompt = rendered(EMBEDDER_TEMPLATE, messages=turns(source), add_generation_prompt=True)
        assert prompt == one_pad(embed_prompt(source))
        query = replace(TEXT, instruction=source.instruction)
        pair = [
            {"role": "query", "content": plain(query)},
            {"role": "document", "content": plain(source)},
        ]
        prompt = rendered(RERANKER_TEMPLATE, messages=pair, instruction=source.instruction)
        assert prompt == one_pad(rerank_prompt(query, source))
        system = [{"role": "system", "content": source.instruction}] if source.instruction else []
        assert rendered(RERANKER_TEMPLATE, messages=[*system, *pair]) == prompt


def test_a_clip_is_one_mark_in_the_template():
    video = [{"role": "user", "content": [{"type": "video"}]}]
    prompt = rendered(EMBEDDER_TEMPLATE, messages=video, add_generation_prompt=True)
    assert prompt == "<|im_start|>user\n<|video_pad|><|im_end|>\n<|im_start|>assistant\n"


def test_own_pictures_have_all_tokens_of_their_detail():
    for detail in Detail:
        [picture] = own_inputs(Form.PICTURE, detail)
        assert picture.images[0].size == 3 * detail.max_pixels
