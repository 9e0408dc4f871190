"""int8 against the same arithmetic in numpy, and against float32 where vectors have a meaning."""

import json
import os
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import platformdirs
import pytest
import torch
from support.reference import write_checkpoint
from torch import nn

from qvsearch.cli.app import main
from qvsearch.demo.world import caption, draw, random_scene
from qvsearch.errors import QvsearchError
from qvsearch.indexing import comparison
from qvsearch.indexing.baseline_queries import queries
from qvsearch.indexing.comparison import (
    INPUTS,
    Agreement,
    agreement_of,
    embed_first,
    first_inputs,
)
from qvsearch.library.library import Library
from qvsearch.library.manifest import Manifest, _parse
from qvsearch.models.devices import pick_dtype
from qvsearch.models.int8 import Int8Linear, check_kernels, quantise, rotation
from qvsearch.models.network import Network
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.models.registry import fingerprint, resolve
from qvsearch.runtime import server as keeper
from qvsearch.runtime.loading import Choice, embedder_key, load_embedder
from qvsearch.runtime.local import LocalEmbedder
from qvsearch.types import (
    Decoded,
    Detail,
    EmbedInput,
    Fingerprint,
    Item,
    Kind,
    Precision,
    Segment,
    Skipped,
)
from qvsearch.vectors import agreement

CPU = torch.device("cpu")


def layer(inputs, outputs, bias=True):
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs, bias).requires_grad_(False)


def hadamard(size):
    found = np.ones((1, 1))
    while len(found) < size:
        found = np.kron([[1, 1], [1, -1]], found)
    return found / np.sqrt(size)


def by_hand(rows, linear, block):
    """The product of rows and weights, both rounded, in exact integers."""
    digits = [f"{number:b}" for number in range(block)]
    pairs = [sum(each[at : at + 2] == "11" for at in range(len(each))) for each in digits]
    signs = (-1.0) ** np.array(pairs)
    turn = np.diag(signs) @ hadamard(block) if block > 1 else np.ones((1, 1))
    weights = linear.weight.double().numpy()
    turned = [(each.reshape(-1, block) @ turn).reshape(each.shape) for each in (rows, weights)]
    tops = [np.maximum(np.abs(each).max(1, keepdims=True), 1e-30) for each in turned]
    left = np.floor(turned[0] * 63 / tops[0] + 0.5).astype(np.int64)
    right = np.round(turned[1] * 127 / tops[1]).astype(np.int64)
    return (left @ right.T) * tops[0] * tops[1].T / (63 * 127) + linear.bias.double().numpy()


def error_of_rows(found, exact):
    return np.linalg.norm(found - exact, axis=1) / np.linalg.norm(exact, axis=1)


@pytest.mark.parametrize("width", [64, 128, 96, 80])
def test_a_layer_is_the_product_of_rounded_numbers(width):
    linear = layer(width, 40)
    rows = torch.randn(50, width)
    found = Int8Linear(linear)(rows).numpy()
    expected = by_hand(rows.double().numpy(), linear, min(64, width & -width))
    # a value just at a half may be rounded otherwise in single precision: a step of one code
    assert np.abs(found - expected).max() < 0.03
    assert np.median(np.abs(found - expected)) < 1e-5


def test_layers_that_share_activations_give_what_each_gives_alone():
    rows = torch.randn(5, 128)
    first, second = layer(128, 64), layer(128, 32)
    model = nn.Module()
    model.first, model.second = first, second
    with torch.inference_mode():
        alone = [Int8Linear(each)(rows) for each in (first, second)]
        quantise(model)
        for same in (rows, rows.clone(), rows):  # a copy is another tensor
            torch.testing.assert_close(model.first(same), alone[0], rtol=0, atol=0)
            torch.testing.assert_close(model.second(same), alone[1], rtol=0, atol=0)
        other = torch.randn(5, 128)
        assert not torch.equal(model.second(other), alone[1])
        torch.testing.assert_close(model.first(other), Int8Linear(first)(other), rtol=0, atol=0)


def test_threads_that_share_a_layer_do_not_take_each_other_s_codes():
    int8 = Int8Linear(layer(64, 8))
    inputs = [torch.randn(2, 64) for _ in range(4)]
    expected = [int8(rows) for rows in inputs]

    def agree(number):
        return all(torch.equal(int8(inputs[number][:]), expected[number]) for _ in range(300))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that threads change in the middle of everything
    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(agree, range(4)))
    finally:
        sys.setswitchinterval(interval)


def test_codes_are_kept_no_longer_than_what_they_are_of():
    int8 = Int8Linear(layer(64, 8))
    rows = torch.randn(2, 64)
    codes = weakref.ref(int8.activations.of(rows)[0])
    assert int8.activations.of(rows)[0] is codes()
    del rows
    assert codes() is None


@pytest.mark.parametrize("block", [1, 2, 16, 64])
def test_the_rotation_is_orthogonal_and_spreads_a_channel_and_a_mean(block):
    turn = rotation(block)
    assert torch.allclose(turn @ turn.T, torch.eye(block), atol=1e-6)
    assert torch.allclose(turn.abs(), torch.full((block, block), block**-0.5))
    if block in (16, 64):  # an even power of two
        assert torch.allclose(turn.sum(0).abs(), torch.ones(block), atol=1e-6)


def test_rows_of_any_size_are_as_exact_as_each_other():
    linear = layer(256, 128, bias=False)
    rows = torch.randn(64, 256) * torch.logspace(-6, 6, 64)[:, None]
    assert error_of_rows(Int8Linear(linear)(rows).numpy(), linear(rows).numpy()).max() < 0.03


def test_outlier_channels_are_spread():
    linear = layer(512, 256)
    rows = torch.randn(64, 512)
    rows[:, [7, 300]] *= 60
    exact = linear(rows).numpy()
    assert error_of_rows(Int8Linear(linear)(rows).numpy(), exact).max() < 0.045
    plain = by_hand(rows.double().numpy(), linear, 1)
    assert np.median(error_of_rows(plain, exact)) > 0.08, "there is something to spread"


def test_a_row_does_not_depend_on_its_neighbours():
    linear = Int8Linear(layer(128, 64))
    rows = torch.randn(9, 128)
    rows[4] *= 1e4
    together = linear(rows.view(3, 3, 128))
    assert together.shape == (3, 3, 64)
    for row, found in zip(rows, together.view(9, 64), strict=True):
        assert torch.equal(linear(row), found)


def test_zeros_give_the_bias_and_what_is_no_number_stays_none():
    linear = layer(64, 8)
    rows = torch.zeros(3, 64)
    rows[1, 5], rows[2, 5] = float("nan"), float("inf")
    found = Int8Linear(linear)(rows)
    assert torch.equal(found[0], linear.bias)
    assert not torch.isfinite(found[1:]).any()


def test_inputs_are_left_as_they_were():
    rows = torch.randn(4, 80)
    before = rows.clone()
    Int8Linear(layer(80, 8))(rows)
    assert torch.equal(rows, before)


def whole_model(folder, dtype):
    network = Network(folder, "cpu", dtype)
    network.load_vision()
    return network.model


def test_only_linear_layers_are_replaced_and_the_rest_is_float32(tiny, tmp_path):
    plain, small = (whole_model(tiny, dtype) for dtype in ("float32", "int8"))
    kinds = {type(module) for module in small.modules()}
    assert nn.Linear not in kinds
    assert {nn.Embedding, nn.LayerNorm, Int8Linear} <= kinds
    expected = dict(plain.named_parameters()) | dict(plain.named_buffers())
    kept = dict(small.named_parameters()) | dict(small.named_buffers())
    assert any("embed_tokens" in name for name in kept)
    assert any("patch_embed" in name for name in kept)
    for name, value in kept.items():
        assert value.dtype == expected[name].dtype
        assert torch.equal(value, expected[name]), name


def test_a_checkpoint_in_bfloat16_is_the_same_in_float32_and_then_rounded(tmp_path):
    folder = write_checkpoint(tmp_path / "half", dtype=torch.bfloat16)
    plain, small = (whole_model(folder, dtype) for dtype in ("float32", "int8"))
    quantise(plain)
    state = dict(plain.named_parameters()) | dict(plain.named_buffers())
    for name, value in (*small.named_parameters(), *small.named_buffers()):
        assert value.dtype == torch.float32
        assert torch.equal(value, state[name]), name
    rows = torch.randn(5, 64)
    ours, theirs = (model.language_model.layers[3].mlp.up_proj for model in (small, plain))
    assert torch.equal(ours(rows), theirs(rows))


def test_the_demo_model_answers_as_in_float32(demo_embedder):
    rng = np.random.default_rng(64)
    scenes = [random_scene(rng) for _ in range(48)]
    pictures = [EmbedInput(images=(draw(scene, rng),)) for scene in scenes]
    asked = [EmbedInput(caption(scene, rng), instruction=QUERY_INSTRUCTION) for scene in scenes]
    asked += [EmbedInput(text, instruction=QUERY_INSTRUCTION) for text in queries("demo")]
    small = LocalEmbedder("demo", "cpu", "int8")
    exact, found = ((each.embed(pictures), each.embed(asked)) for each in (demo_embedder, small))
    agreement = agreement_of(exact, found)
    assert agreement.inputs == 48
    assert agreement.cosine > 0.999
    assert agreement.overlap >= 0.95
    assert (exact[1] * found[1]).sum(1).min() > 0.99


# ------------------------------------------------------------------ the comparison


def unit(rng, count, dim=16):
    rows = rng.standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_equal_vectors_agree_and_others_do_not():
    rng = np.random.default_rng(0)
    for count in (1, 5, 32):
        mine, bank = unit(rng, count), unit(rng, 64)
        same = agreement_of((mine, bank), (mine.copy(), bank.copy()))
        assert same == Agreement(count, pytest.approx(1), 1.0)
        same.require("give up")
        other = agreement_of((mine, bank), (unit(rng, count), bank))
        assert other.overlap < 0.6
        with pytest.raises(QvsearchError, match="median cosine .* of the 10 nearest .*; give up$"):
            other.require("give up")


@pytest.mark.parametrize(("cosine", "overlap"), [(0.989, 1.0), (1.0, 0.949), (float("nan"), 1.0)])
def test_each_figure_has_its_floor(cosine, overlap):
    with pytest.raises(QvsearchError, match=r"0\.99 and 95% are required"):
        Agreement(32, cosine, overlap).require("")
    Agreement(32, 0.99, 0.95).require("")


def test_of_few_inputs_only_the_cosine_has_a_floor():
    Agreement(agreement.FEW - 1, 0.99, 0.9).require("")
    with pytest.raises(QvsearchError):
        Agreement(agreement.FEW - 1, 0.98, 1.0).require("")
    with pytest.raises(QvsearchError):
        Agreement(agreement.FEW, 0.99, 0.9).require("")


def test_an_input_that_the_model_refuses_is_not_compared(tiny):
    rng = np.random.default_rng(1)
    mine, bank = unit(rng, 12), unit(rng, 64)
    theirs = mine.copy()
    mine[3] = np.nan
    assert agreement_of((mine, bank), (theirs, bank)) == Agreement(11, pytest.approx(1), 1.0)
    none = agreement_of((mine[3:4], bank), (theirs[3:4], bank))
    assert none == Agreement(0, 1.0, 1.0)
    with pytest.raises(QvsearchError, match="none of them could be computed on both sides"):
        none.require("")

    class Refusing:
        dim = 16

        def embed(self, sources):
            if sources[0].text == "bad":
                raise QvsearchError("too much")
            return unit(rng, len(sources))

    made = fingerprint(resolve(str(tiny)), 64, Detail.LOW)
    vectors, _ = embed_first(Refusing(), [EmbedInput("good"), EmbedInput("bad")], made)
    assert np.isfinite(vectors).all(axis=1).tolist() == [True, False]


def test_few_inputs_of_each_file_are_compared_and_none_is_lost():
    def decoded(name, count):
        item = Item(b"/files", name, Kind.TEXT, 1, 1)
        inputs = [EmbedInput(f"{name!r} {number}") for number in range(count)]
        return Decoded(item, tuple((Segment(item, "0"), each) for each in inputs))

    outcomes = [decoded(b"long", 41), Skipped(b"/bad", "damaged"), decoded(b"none", 0)]
    outcomes += [decoded(b"%d" % number, 1) for number in range(40)]
    inputs, rest = first_inputs(iter(outcomes))
    assert len(inputs) == INPUTS
    assert [each.text for each in inputs[:5]] == [f"b'long' {n}" for n in (0, 11, 22, 33)] + [
        "b'0' 0"
    ]
    assert list(rest) == outcomes
    assert first_inputs(iter([]))[0] == []


def test_files_of_many_pixels_are_not_gathered_for_the_comparison(monkeypatch):
    monkeypatch.setattr(comparison, "HELD_PIXELS", 2000)
    item = Item(b"/files", b"a", Kind.IMAGE, 1, 1)
    picture = EmbedInput(images=(np.zeros((32, 32, 3), np.uint8),))
    outcomes = iter([Decoded(item, ((Segment(item, "0"), picture),))] * 10)
    inputs, rest = first_inputs(outcomes)
    assert len(inputs) == 2
    assert len(list(outcomes)) == 8, "the rest is not decoded yet"


# ------------------------------------------------------------------ where it does not run


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_other_devices_are_refused(device):
    with pytest.raises(QvsearchError, match=f"CPU only, not on {device}; add --device cpu"):
        pick_dtype("int8", torch.device(device), 2048)


def test_a_torch_without_the_kernels_is_said(monkeypatch):
    check_kernels(CPU)
    with monkeypatch.context() as patch:
        patch.setattr(type(torch.backends.quantized), "supported_engines", ["fbgemm"])
        with pytest.raises(QvsearchError, match="needs oneDNN, which this torch lacks; leave out"):
            check_kernels(CPU)
    with monkeypatch.context() as patch:
        patch.setattr(torch.ops, "onednn", object())
        with pytest.raises(QvsearchError, match="int8 does not run here .*; leave out --dtype"):
            check_kernels(CPU)
    with monkeypatch.context() as patch:
        patch.setattr(Int8Linear, "forward", lambda self, rows: rows.sum() / 2)
        with pytest.raises(QvsearchError, match="multiplies wrongly on this processor"):
            check_kernels(CPU)


# ------------------------------------------------------------------ libraries


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Drawn pictures to index, and a library's name."""
    from PIL import Image

    monkeypatch.setenv("QVSEARCH_LIBRARY", str(tmp_path / "library"))
    rng = np.random.default_rng(3)
    (tmp_path / "pictures").mkdir()
    for number in range(36):
        Image.fromarray(draw(random_scene(rng), rng)).save(tmp_path / f"pictures/{number}.png")
    return tmp_path / "pictures"


def index(folder, *arguments):
    return main(["index", str(folder), "--device", "cpu", *map(os.fspath, arguments)])


def test_an_int8_library_is_compared_says_so_and_takes_no_other_documents(pictures, capfd):
    assert index(pictures, "--model", "demo", "--dtype", "int8", "--json") == 0
    records = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    (compared,) = [each for each in records if each["state"] == "compared"]
    assert compared["reason"].startswith("int8 against float32 on the first 32 inputs: median")
    library = Library.open(os.environ["QVSEARCH_LIBRARY"])
    assert (len(library), library.fingerprint.precision) == (36, Precision.INT8)
    assert main(["status"]) == 0
    assert ", in int8" in capfd.readouterr().out

    (pictures / "0.png").unlink()
    (pictures / "new.png").write_bytes((pictures / "1.png").read_bytes() + b"changed")
    assert index(pictures, "--json") == 0, "its own dtype is the default"
    assert '"compared"' not in capfd.readouterr().out, "once is enough"
    assert index(pictures, "--dtype", "float32") == 2
    error = capfd.readouterr().err
    assert "was made with --dtype int8, not float32; leave the option out" in error
    for dtype in ([], ["--dtype", "float32"]):  # a query may be either
        code = main(["search", "a star", "--all", "-k", "5", "--json", "--device", "cpu", *dtype])
        assert code == 0
        assert len(capfd.readouterr().out.splitlines()) == 5


def test_a_float_library_takes_no_int8_documents(pictures, capfd):
    assert index(pictures, "--model", "demo", "-q") == 0
    assert index(pictures, "--dtype", "int8") == 2
    assert "was made with --dtype float32, or a half of it, not int8" in capfd.readouterr().err
    assert index(pictures, "--dtype", "float32") == 0


def test_too_far_from_float32_nothing_is_kept_and_the_way_out_works(pictures, capfd, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(agreement, "COSINE", 1.5)
        assert index(pictures, "--model", "demo", "--dtype", "int8") == 2
    error = capfd.readouterr().err
    assert error.startswith("qvsearch: int8 against float32 on the first 32 inputs: median cosine")
    assert error.endswith("No new vector was stored; go on with --dtype float32\n")
    folder = os.environ["QVSEARCH_LIBRARY"]
    assert (len(Library.open(folder)), Library.open(folder).generation) == (0, 0)
    assert index(pictures, "--dtype", "float32", "-q") == 0
    assert Library.open(folder).fingerprint.precision == Precision.FLOAT
    assert len(Library.open(folder)) == 36


def test_an_older_manifest_is_of_floats():
    made = Fingerprint("some/model", "abc123", 64, Detail.LOW, "Represent.", 1, 1)
    record = json.loads(Manifest(made).to_bytes())
    assert record["fingerprint"].pop("precision") == "float"
    assert _parse(record).fingerprint == made
    record["fingerprint"]["precision"] = "int3"
    with pytest.raises(ValueError, match="int3"):
        _parse(record)


def test_a_bank_of_each_precision_is_kept(demo_embedder):
    from dataclasses import replace

    from qvsearch.indexing.baseline_queries import baseline_vectors
    from qvsearch.models.registry import fingerprint

    made = fingerprint(demo_embedder.weights, demo_embedder.dim, Detail.LOW)
    small = replace(made, precision=Precision.INT8)
    exact = baseline_vectors(demo_embedder, made)
    found = baseline_vectors(load_embedder(small, Choice(device="cpu")), small)
    assert 0 < np.abs(exact - found).max() < 0.02
    assert len(list((platformdirs.user_cache_path() / "banks").iterdir())) == 2


def test_a_library_with_rows_is_told_another_way_out(pictures, capfd, monkeypatch):
    first = sorted(pictures.iterdir())[:3]
    options = ["--model", "demo", "--dtype", "int8", "--device", "cpu", "-q"]
    assert main(["index", *map(str, first), *options]) == 0
    monkeypatch.setattr(agreement, "COSINE", 1.5)
    assert index(pictures) == 2
    assert capfd.readouterr().err.endswith(
        "No new vector was stored; index into a new --library with --dtype float32\n"
    )
    assert len(Library.open(os.environ["QVSEARCH_LIBRARY"])) == 3


def test_a_warm_process_for_an_int8_library_is_the_one_that_its_search_looks_for(pictures):
    assert index(pictures, "--model", "demo", "--dtype", "int8", "-q") == 0
    folder = Path(os.environ["QVSEARCH_LIBRARY"])
    kept, _ = embedder_key(folder, Choice())
    assert (kept.dtype, kept.precision) == (None, Precision.INT8)
    assert embedder_key(folder, Choice(model="demo"))[0] == kept
    asked, _ = embedder_key(folder, Choice(dtype="float32"))
    assert (asked.dtype, asked.precision) == ("float32", Precision.FLOAT)
    compute = keeper.load(keeper.Order(replace(kept, device="cpu"), "demo", "", 600))
    source = EmbedInput("a red star")
    small, plain = (LocalEmbedder("demo", "cpu", dtype) for dtype in ("int8", "float32"))
    found = compute({"dim": 128}, [source])
    assert np.abs(found - small.embed([source])).max() < 1e-5
    assert np.abs(found - plain.embed([source])).max() > 1e-4
