"""Models of sentence-transformers: their vectors are its own, and wrong ones are refused.

The plain calls of sentence-transformers are what vectors are compared with, and for the demo's
checkpoint our own forward pass, which shares no code with it.
"""

import json
import shutil
import socket
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import platformdirs
import pytest
import torch
from PIL import Image
from support import st_models
from support.commands import home, records, run  # noqa: F401 - fixtures
from support.evaluation_sets import world, write_beir
from transformers import AutoTokenizer, SiglipModel

from qvsearch.errors import QvsearchError
from qvsearch.library.library import Library
from qvsearch.machine import doctor
from qvsearch.models import hubs, registry, st_files
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.runtime import server
from qvsearch.runtime.backends import notes, server_key
from qvsearch.runtime.choice import Choice
from qvsearch.runtime.client import WarmEmbedder, make_socket_folder
from qvsearch.runtime.loading import load_embedder, task_fingerprint
from qvsearch.types import EmbedInput, Frames, Kind

CLOSE = 1e-5
TEXTS = ["a red star on the snow", "two green rings", "a"]
COMMITS = ["a" * 40, "b" * 40]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The folder of each model, by its name."""
    writers = {
        "dual": st_models.write_dual,
        "text": st_models.write_text,
        "static": st_models.write_static,
        "demo": st_models.write_demo,
    }
    folder = tmp_path_factory.mktemp("models")
    return {name: write(folder / name) for name, write in writers.items()}


@pytest.fixture(scope="module")
def plain(models):
    """The same models, loaded by sentence-transformers in the plain way."""
    from sentence_transformers import SentenceTransformer

    return {
        name: SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        for name, folder in models.items()
    }


@pytest.fixture(scope="module")
def embedders(models):
    return {name: loaded(f"st:{folder}") for name, folder in models.items()}


def loaded(model, **options):
    choice = Choice(model=model, device="cpu", **options)
    return load_embedder(task_fingerprint(None, choice), choice)


def picture(seed=0, size=(64, 96)):
    return np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["dual", "text", "static", "demo"])
def test_texts_have_the_vectors_of_plain_calls_in_their_order(embedders, plain, name):
    mixed = [
        EmbedInput(each, instruction=how) for each in TEXTS for how in (QUERY_INSTRUCTION, None)
    ]
    rows = embedders[name].embed(mixed)
    assert np.abs(rows[0::2] - unit(plain[name].encode_query(TEXTS))).max() < CLOSE
    assert np.abs(rows[1::2] - unit(plain[name].encode_document(TEXTS))).max() < CLOSE


@pytest.mark.parametrize("name", ["dual", "demo"])
def test_pictures_have_the_vectors_of_plain_calls_beside_texts(embedders, plain, name):
    pictures = [picture(seed) for seed in range(3)]
    mixed = [EmbedInput(images=(each,)) for each in pictures]
    rows = embedders[name].embed([mixed[0], EmbedInput("a"), *mixed[1:]])[[0, 2, 3]]
    shown = [Image.fromarray(each) for each in pictures]
    assert np.abs(rows - unit(plain[name].encode_document(shown))).max() < CLOSE


def test_texts_of_siglip_are_padded_as_in_its_training(tmp_path):
    folder = st_models.write_siglip(tmp_path / "siglip")
    model, tokenizer = SiglipModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    padded = tokenizer(TEXTS, padding="max_length", max_length=32, return_tensors="pt")
    with torch.inference_mode():
        expected = unit(model.eval().get_text_features(**padded).pooler_output.numpy())
    embedder = loaded(f"st:{folder}")
    rows = embedder.embed([EmbedInput(each) for each in TEXTS])
    assert np.abs(rows - expected).max() < CLOSE
    assert np.isfinite(embedder.embed([EmbedInput("a passage of many words " * 100)])).all()


def test_a_text_whose_vector_depends_on_its_neighbours_is_refused(tmp_path, monkeypatch):
    folder = st_models.write_siglip(tmp_path / "siglip")
    monkeypatch.setattr("qvsearch.runtime.st_embedder.PADDED", ())
    with pytest.raises(QvsearchError, match="is padded wrongly by this sentence-transformers"):
        loaded(f"st:{folder}")


def test_our_own_checkpoint_has_our_own_vectors(embedders, demo_embedder):
    first, second = picture(), picture(1, (128, 32))
    inputs = [
        *map(EmbedInput, TEXTS),
        EmbedInput("snow", instruction=QUERY_INSTRUCTION),
        EmbedInput("snow", instruction="Find it."),
        EmbedInput(images=(first,)),
        EmbedInput("at night", images=(first,), instruction=QUERY_INSTRUCTION),
        EmbedInput(images=(first, second)),
        EmbedInput("<|image_pad|> and <|im_end|> of any file"),
    ]
    difference = embedders["demo"].embed(inputs) - demo_embedder.embed(inputs)
    assert np.abs(difference).max() < CLOSE


def test_frames_of_a_clip_are_passed_on_with_their_times(embedders, plain):
    frames = picture(2, (4 * 64, 64)).reshape(4, 64, 64, 3)
    rows = [
        embedders["demo"].embed([EmbedInput(video=Frames(frames, times))])[0]
        for times in ((0.0, 1.0, 2.0, 3.0), (0.0, 4.0, 20.0, 60.0))
    ]
    video = {
        "array": [Image.fromarray(each) for each in frames],
        "video_metadata": {"fps": 2, "frames_indices": [0, 2, 4, 6], "total_num_frames": 7},
    }
    kwargs = {"processing_kwargs": {"video": {"do_sample_frames": False}}}
    expected = unit(plain["demo"].encode_document([{"video": video}], **kwargs))[0]
    assert np.abs(rows[0] - expected).max() < CLOSE
    assert np.abs(rows[1] - expected).max() > CLOSE


@pytest.mark.parametrize("name", ["dual", "static", "demo"])
def test_a_text_that_looks_like_an_address_is_a_text(embedders, monkeypatch, name):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it asked a network"))
    address, other = "https://example.org/photo.jpg", "https://example.org/photo.jpgg"
    rows = embedders[name].embed(map(EmbedInput, [address, other, "a"]))
    assert rows[0] @ rows[1] > rows[0] @ rows[2]


def test_an_instruction_is_a_prompt_or_the_name_of_one(embedders, plain):
    def row(instruction):
        return embedders["text"].embed([EmbedInput("snow", instruction=instruction)])[0]

    for instruction, how in (
        ("topic", {"prompt_name": "topic"}),
        ("find: ", {"prompt": "find: "}),
        ("Find images matching this description.", {}),  # published for Qwen3-VL
    ):
        expected = unit(plain["text"].encode_query(["snow"], **how))[0]
        assert np.abs(row(instruction) - expected).max() < CLOSE


def test_nothing_is_printed_of_what_both_libraries_warn_of(models, tmp_path, capfd, caplog):
    folder = shutil.copytree(models["text"], tmp_path / "model")
    versions = {"sentence_transformers": "99.0.0"}
    edit(
        folder / "config_sentence_transformers.json",
        __version__=versions,
        default_prompt_name="topic",
    )
    loaded(f"st:{folder}").embed([EmbedInput("a " * 1000)])
    assert capfd.readouterr() == ("", "")
    assert caplog.messages == []


def test_a_dimension_cuts_the_vectors_and_scales_them_again(models, embedders):
    choice = Choice(model=f"st:{models['dual']}", dim=32, device="cpu")
    fingerprint = task_fingerprint(None, choice)
    assert (fingerprint.dim, fingerprint.kinds) == (32, ())
    rows = load_embedder(fingerprint, choice).embed([EmbedInput("a")])
    assert np.abs(rows - unit(embedders["dual"].embed([EmbedInput("a")])[:, :32])).max() < CLOSE


def test_what_a_model_cannot_embed_is_named(embedders):
    shown = EmbedInput(images=(picture(),))
    with pytest.raises(QvsearchError, match="embeds no pictures, only text"):
        embedders["text"].embed([shown])
    with pytest.raises(QvsearchError, match="give the picture with --like"):
        embedders["dual"].embed([replace(shown, text="at night")])
    with pytest.raises(QvsearchError, match="one picture at a time"):
        embedders["dual"].embed([replace(shown, images=shown.images * 2)])
    clip = EmbedInput(video=Frames(picture(2, (64, 32)).reshape(2, 32, 32, 3), (0.0, 1.0)))
    with pytest.raises(QvsearchError, match="embeds no videos, only pictures and text; index"):
        embedders["dual"].embed([clip])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 97}, "--dim 97 is outside 1 to 96 of st:"),
        ({"dtype": "int8"}, "--dtype int8 is for Qwen3-VL"),
        ({"adapter": "folder"}, "--adapter is for Qwen3-VL"),
        ({"servers": ("http://localhost:1",)}, "--server is for Qwen3-VL"),
        ({"video_mode": "clips"}, "embeds no clips, only single frames"),
        ({"device": "tpu"}, "device 'tpu' is not usable here"),
    ],
)
def test_options_that_it_does_not_have_are_refused(models, options, message):
    choice = Choice(**{"model": f"st:{models['dual']}", "device": "cpu"} | options)
    with pytest.raises(QvsearchError, match=message):
        task_fingerprint(None, choice)


def test_a_gemma_is_never_loaded_in_float16(models, tmp_path):
    folder = shutil.copytree(models["text"], tmp_path / "gemma")
    edit(folder / "config.json", model_type="gemma3_text")
    with pytest.raises(QvsearchError, match="too large for float16; leave out --dtype"):
        task_fingerprint(None, Choice(model=f"st:{folder}", device="cpu", dtype="float16"))


def edit(path, **fields):
    record = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(record | fields))


def replace_modules(folder, **first):
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([modules[0] | first, *modules[1:]]))


def pickle_weights(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def half(folder):
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: replace_modules(folder, type="own.Model"),
            "needs code of its own .own.Mod",
        ),
        (
            lambda folder: edit(
                folder / "config.json", model_type="new", auto_map={"AutoModel": "own.Model"}
            ),
            "needs code of its own .own.Model.*never runs a model's code .trust_remote_code",
        ),
        (lambda folder: replace_modules(folder, path="../other"), "names ../other, outside"),
        (pickle_weights, "only pickled weights .pytorch_model.bin., which can run code"),
        (lambda folder: (folder / "model.safetensors").unlink(), "it has no .safetensors"),
        (lambda folder: edit(folder / "adapter_config.json"), "is an adapter, not a whole model"),
        (
            lambda folder: edit(
                folder / "config_sentence_transformers.json", model_type="CrossEncoder"
            ),
            "is a CrossEncoder, which makes no vectors",
        ),
        (lambda folder: (folder / "modules.json").write_text("{"), "modules.json cannot be read"),
        (lambda folder: (folder / "modules.json").write_text("{}"), "is not a JSON list"),
        (lambda folder: (folder / "modules.json").unlink(), "has no modules.json, and so does not"),
        (half, "cannot load st:|is not a safetensors file"),
        (lambda folder: edit(folder / "config.json", model_type="none"), "cannot load st:"),
        (lambda folder: shutil.rmtree(folder / "1_Pooling"), "cannot load st:"),
    ],
)
def test_a_folder_that_is_no_sound_model_is_refused(models, tmp_path, damage, message):
    folder = shutil.copytree(models["text"], tmp_path / "model")
    damage(folder)
    with pytest.raises(QvsearchError, match=message):
        loaded(f"st:{folder}")


def test_a_known_architecture_runs_without_the_code_that_it_names(models, tmp_path):
    folder = shutil.copytree(models["text"], tmp_path / "model")
    edit(folder / "config.json", auto_map={"AutoModel": "own.Model"})
    assert loaded(f"st:{folder}").embed([EmbedInput("a")]).shape == (1, st_models.TEXT_DIM)


def test_a_list_of_training_data_beside_the_settings_is_ignored(models, tmp_path):
    folder = shutil.copytree(models["text"], tmp_path / "model")
    (folder / "data_config.json").write_text('[{"name": "pairs.jsonl.gz", "weight": 1}]')
    assert loaded(f"st:{folder}").embed([EmbedInput("a")]).shape == (1, st_models.TEXT_DIM)


@pytest.fixture
def sockets(monkeypatch):
    """A folder for sockets: its name has to be shorter than pytest's are on some systems."""
    with tempfile.TemporaryDirectory(prefix="qv-") as folder:
        monkeypatch.setattr(platformdirs, "user_runtime_path", lambda *_, **__: Path(folder) / "q")
        yield


@pytest.mark.usefixtures("sockets")
def test_a_server_that_keeps_a_model_gives_the_same_vectors(models, embedders):
    choice = Choice(model=f"st:{models['dual']}", device="cpu")
    fingerprint = replace(task_fingerprint(None, choice), dim=32)
    key, weights = server_key(fingerprint.model, choice, fingerprint)
    make_socket_folder()
    listening = threading.Event()
    order = server.Order(key, weights.name, str(key.socket), idle=2.0)
    thread = threading.Thread(target=server.run, args=(order, listening.set))
    thread.start()
    assert listening.wait(60)
    embedder = load_embedder(fingerprint, choice)
    assert isinstance(embedder, WarmEmbedder)
    inputs = [EmbedInput("a", instruction=QUERY_INSTRUCTION), EmbedInput(images=(picture(),))]
    expected = unit(embedders["dual"].embed(inputs)[:, :32])
    assert np.abs(embedder.embed(inputs) - expected).max() < CLOSE
    with pytest.raises(QvsearchError, match="give the picture with --like"):
        embedder.embed([replace(inputs[1], text="at night")])
    thread.join()
    other = replace(fingerprint, revision="of other files")
    with pytest.raises(QvsearchError, match="index into a new --library"):
        server_key(fingerprint.model, choice, other)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("st:", "names no model; give st:OWNER/NAME or st:FOLDER"),
        ("st:nowhere", "nowhere is neither a folder that exists nor a hub's OWNER/NAME"),
        ("st:nobody/nothing", "with a network, run: qvsearch models pull st:nobody/nothing"),
    ],
)
def test_a_model_that_is_not_there_is_named_with_a_remedy(model, message):
    with pytest.raises(QvsearchError, match=message):
        loaded(model)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(QvsearchError, match="is no model of sentence-transformers"):
        loaded(f"st:{tmp_path}")


@pytest.mark.parametrize("name", ["model.safetensors", "config_sentence_transformers.json"])
def test_the_revision_follows_the_weights_and_the_settings(models, tmp_path, name):
    folder = shutil.copytree(models["text"], tmp_path / "model")
    before = st_files.digest(folder)
    assert before == st_files.digest(models["text"])
    content = bytearray((folder / name).read_bytes())
    is_weights = name.endswith(".safetensors")  # its header has its length before it
    place = 8 + int.from_bytes(content[:8], "little") if is_weights else -4
    content[place] ^= 1  # of the first tensor, or a letter of a prompt
    (folder / name).write_bytes(content)
    assert st_files.digest(folder) != before


def test_the_modules_of_a_router_belong_to_the_model(models, tmp_path):
    folder, transformer = tmp_path / "model", "sentence_transformers.base.modules.transformer"
    inner = Path(shutil.copytree(models["text"], folder / "query_0"))
    kind = "sentence_transformers.base.modules.router.Router"
    st_models.write_json(folder / "modules.json", [{"idx": 0, "path": "", "type": kind}])
    types = {"types": {"query_0": f"{transformer}.Transformer"}, "structure": {}}
    st_models.write_json(folder / "router_config.json", types)
    st_files.check(folder)
    before = st_files.digest(folder)
    edit(inner / "config.json", hidden_act="relu")
    assert st_files.digest(folder) != before
    pickle_weights(inner)
    with pytest.raises(QvsearchError, match="only pickled weights"):
        st_files.check(folder)
    edit(folder / "router_config.json", types={"query_0": "own.Model"})
    with pytest.raises(QvsearchError, match=r"needs code of its own .own\.Model"):
        st_files.check(folder)
    edit(folder / "router_config.json", types={"../x": types["types"]["query_0"]})
    with pytest.raises(QvsearchError, match=r"names \.\./x, outside"):
        st_files.check(folder)


def test_a_library_takes_its_files_from_another_place_but_no_other_model(models, tmp_path):
    fingerprint = task_fingerprint(None, Choice(model=f"st:{models['text']}", device="cpu"))
    moved = shutil.copytree(models["text"], tmp_path / "moved")
    assert load_embedder(fingerprint, Choice(model=f"st:{moved}", device="cpu")).dim == 64
    for other in (f"st:{models['dual']}", "demo"):
        with pytest.raises(QvsearchError, match=r"index into a new --library"):
            load_embedder(fingerprint, Choice(model=other, device="cpu"))


@pytest.fixture
def published(home, models):  # noqa: F811 - a fixture
    """A hub's cache with two commits of a model, of which the first is the newest so far."""
    place = home / "home" / "models--owner--small"
    for commit, name in zip(COMMITS, ("text", "dual"), strict=True):
        shutil.copytree(models[name], place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMITS[0])
    return place


def test_a_hubs_model_is_pinned_and_needs_no_network(published, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it asked a network"))
    choice = Choice(model="st:owner/small", device="cpu")
    fingerprint = task_fingerprint(None, choice)
    assert (fingerprint.revision, fingerprint.dim) == (COMMITS[0], st_models.TEXT_DIM)
    (published / "refs" / "main").write_text(COMMITS[1])
    assert load_embedder(fingerprint, choice).embed([EmbedInput("a")]).shape == (1, 64)
    assert task_fingerprint(None, choice).revision == COMMITS[1]


def test_code_is_refused_before_the_weights_are_fetched(models, tmp_path, monkeypatch):
    folder = shutil.copytree(models["text"], tmp_path / "model")
    replace_modules(folder, type="own.Model")
    asked = []

    def snapshot(_name, _revision, files, local_only):
        if local_only:
            raise hubs.NotHere("it is not in the cache")
        asked.append(files)
        return folder

    monkeypatch.setattr(hubs, "HUBS", {"huggingface": snapshot})
    with pytest.raises(QvsearchError, match="needs code of its own"):
        st_files.resolve("st:owner/small")
    assert len(asked) == 1
    assert not any("safetensors" in each for each in asked[0])


def test_a_missing_extra_is_one_sentence(models, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(QvsearchError, match=r'pip install "qvsearch\[st\]"'):
        loaded(f"st:{models['text']}")
    fact = doctor._extra("nothing-like-it", "st", "--model st:ID")
    assert (fact.trap, fact.value) == (
        None,
        'not installed; for --model st:ID: pip install "qvsearch[st]"',
    )


def test_commands_without_it_name_it():
    with pytest.raises(QvsearchError, match="which this command does not run"):
        registry.find("st:owner/small")


@pytest.fixture
def album(home):  # noqa: F811 - a fixture
    folder = home / "album"
    folder.mkdir()
    Image.fromarray(picture()).save(folder / "noise.png")
    Image.new("RGB", (64, 64), "red").save(folder / "red.png")
    (folder / "note.txt").write_text("A note about the sea.\n")
    return folder


def test_a_text_model_makes_a_library_of_texts(run, home, album, models):  # noqa: F811
    model = f"st:{models['text']}"
    code, out, _ = run("index", album, "--model", model, "--json")
    assert (code, records(out)[-1]["indexed"]) == (0, 1)
    library = Library.open(home / "library")
    assert (library.fingerprint.kinds, library.fingerprint.model) == ((Kind.TEXT,), model)
    (album / "other.txt").write_text("A second note.\n")
    assert notes(library.fingerprint) == [
        f"{model} embeds only text: files of the kinds image, video and document are left out",
        f"{model} reads only the first 128 tokens of each passage",
    ]
    code, out, _ = run("index", "--json")  # as before
    assert (code, records(out)[-1]["indexed"], records(out)[-1]["found"]) == (0, 1, 2)
    _, out, _ = run("search", "the sea", "--json", "--all")
    assert {record["kind"] for record in records(out)} == {"text"}
    code, _, error = run("search", album / "red.png")
    assert (code, error) == (2, f"qvsearch: {model} embeds no pictures, only text\n")
    code, _, error = run("index", album, "--kind", "image")
    assert (code, "embeds only text files; leave out --kind image" in error) == (2, True)
    _, out, _ = run("explain", "the sea", album / "red.png")
    assert b"embeds no image files" in out


def test_a_dual_encoder_finds_pictures_and_texts(run, home, album, models):  # noqa: F811
    model = f"st:{models['dual']}"
    code, _, _ = run("index", album, "--dry-run", "--model", model)
    assert (code, Library.exists(home / "library")) == (0, False)
    code, out, error = run("index", album, "--model", model, "--dim", "64")
    assert (code, error) == (0, "")
    assert b"found 3 = indexed 3" in out
    code, out, _ = run("search", album / "red.png", "--json", "--all")
    best, *others = records(out)
    assert best["path"] == str(album / "red.png")
    assert best["score"] == pytest.approx(1, abs=1e-3)
    assert {other["kind"] for other in others} == {"image", "text"}
    code, out, _ = run("embed", album / "note.txt", "--dim", "32")
    assert (code, len(records(out)[0]["vector"])) == (0, 32)
    code, _, error = run("search", "a", "--model", f"st:{models['text']}")
    assert (code, "index into a new --library" in error) == (2, True)


def test_models_are_compared_on_a_set(run, tmp_path, models, home):  # noqa: F811
    folder = write_beir(tmp_path / "set", world())
    names = ["demo", *(f"st:{models[name]}" for name in ("demo", "text")), "st:nowhere"]
    code, out, error = run("models", "compare", *names, "--set", folder, "--json")
    assert code == 3
    assert "st:nowhere is left out: no model" in error
    ours, same, texts = records(out)
    assert [each["model"] for each in (ours, same, texts)] == names[:3]
    assert ours["metrics"] == same["metrics"]
    assert (texts["skipped"], texts["dim"], texts["bytes"]) == (6, 64, 128)
    _, out, _ = run("evaluate", folder, "--model", "demo", "--json")
    assert records(out)[0]["metrics"] == ours["metrics"]
    code, out, _ = run("models", "compare", "demo", names[1], "--set", folder)
    head, *rows = out.decode().splitlines()
    assert (code, head.split()[:4]) == (0, ["model", "recall@10", "ndcg@10", "mrr@10"])
    value = ours["metrics"]["ndcg@10"]
    assert f"{value['value']:.3f} {value['low']:.2f}-{value['high']:.2f}" in rows[0]
    code, _, error = run("models", "compare", "demo")
    assert (code, "--set is missing; see: qvsearch models compare --help" in error) == (2, True)
    code, _, error = run("models", "compare", "st:nowhere", "--set", folder)
    assert (code, error.count("qvsearch:")) == (2, 1)
