"""The forward pass gives what transformers' own gives for each prompt alone, whatever is shared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.padded import padded
from support.photo_sources import PHOTO, SOURCES, pixels
from transformers import Qwen3VLModel

from qvsearch.models.devices import LIMITS, Limits
from qvsearch.models.forward import Beginning, ModelInput, last_states, shared_length
from qvsearch.models.network import Network
from qvsearch.models.prompt import embed_prompt, rerank_prompt
from qvsearch.runtime.local import LocalEmbedder, LocalReranker
from qvsearch.types import EmbedInput

TOLERANCE = 1e-5  # of a state of about length 8 to 45: float32's own noise is 1e-6


def prompts(model: Network, sources: list[EmbedInput]) -> list[ModelInput]:
    ids = model.tokenize([embed_prompt(each) for each in sources], 8192)
    return [ModelInput(i, (each,)) for i, each in zip(ids, sources, strict=True)]


@torch.inference_mode()
def plain(folder: Path, network: Network, inputs: list[ModelInput]) -> np.ndarray:
    """Run transformers' own forward on each prompt by itself."""
    model = Qwen3VLModel.from_pretrained(folder, dtype=torch.float32).eval()
    rows = [
        model(**padded(network, [each]), use_cache=False).last_hidden_state[0, -1]
        for each in inputs
    ]
    return torch.stack(rows).numpy()


def fresh(folder: Path) -> Network:
    network = Network(folder, "cpu", "float32")
    network.load_vision()
    return network


@pytest.fixture(scope="module")
def small(tiny: Path) -> Network:
    return fresh(tiny)


@pytest.fixture(scope="module")
def states(tiny: Path, small: Network) -> np.ndarray:
    return plain(tiny, small, prompts(small, SOURCES))


@pytest.mark.parametrize("padding", [1.0, 1.25, 100.0])
@torch.inference_mode()
def test_a_batch_of_any_lengths_gives_the_plain_states(
    small: Network, states: np.ndarray, padding: float
) -> None:
    inputs = prompts(small, SOURCES)
    none = Beginning.empty(small.model)
    found, kept = last_states(small.model, inputs, none, padding=padding)
    assert np.abs(found.numpy() - states).max() < TOLERANCE
    assert len(kept) == 0


@torch.inference_mode()
def test_tokens_that_all_begin_with_need_not_be_computed_again(
    small: Network, states: np.ndarray
) -> None:
    inputs = prompts(small, SOURCES[:-1])  # the last has another instruction
    pads = {small.model.config.image_token_id, small.model.config.video_token_id}
    length = min(shared_length(inputs[0], each, pads) for each in inputs)
    assert length > 10
    none = Beginning.empty(small.model)
    _, whole = last_states(small.model, inputs[:1], none, cached=length + 50)
    assert len(whole) == length + 50
    for shared in (1, length - 3, length):
        found, _ = last_states(small.model, inputs, whole.cut(shared))
        assert np.abs(found.numpy() - states[:-1]).max() < TOLERANCE
        # a beginning grows from a shorter one without that being computed again
        _, grown = last_states(small.model, inputs[:1], whole.cut(shared), cached=length + 50)
        assert grown.prompt == whole.prompt
        for new, old in zip(grown.layers, whole.layers, strict=True):
            assert all(torch.allclose(a, b, atol=TOLERANCE) for a, b in zip(new, old, strict=True))


@torch.inference_mode()
def test_a_wrong_beginning_would_be_seen(small: Network, states: np.ndarray) -> None:
    inputs = prompts(small, SOURCES)
    other = prompts(small, [EmbedInput(instruction="Find the same scene.")])
    _, wrong = last_states(small.model, other, Beginning.empty(small.model), cached=12)
    found, _ = last_states(small.model, inputs[:2], wrong)
    assert np.abs(found.numpy() - states[:2]).max() > 100 * TOLERANCE


def test_pixels_are_shared_where_they_are_one_object(small: Network) -> None:
    config = small.model.config
    pads = {config.image_token_id, config.video_token_id}
    twin = EmbedInput(images=(PHOTO.copy(),))
    photo, text = EmbedInput(images=(PHOTO,)), EmbedInput("sunset")
    pairs = [(photo, text), (photo, SOURCES[1]), (twin, text), (text, photo), (photo, photo)]
    ids = small.tokenize([rerank_prompt(*pair) for pair in pairs], 8192)
    first, other, copied, turned, doubled = map(ModelInput, ids, pairs)
    assert first.ids == copied.ids
    place = first.ids.index(config.image_token_id)
    assert shared_length(first, copied, pads) == place
    assert shared_length(first, turned, pads) < place
    assert shared_length(first, first, pads) == len(first.ids)
    after_query = place + 15 + len(small.tokenize(["<|vision_end|>\n<Document>:"], 99)[0])
    assert shared_length(first, other, pads) >= after_query
    assert shared_length(first, doubled, pads) >= after_query


@pytest.mark.parametrize("name", ["tiny", "tiny_appending"])
def test_calls_one_after_another_give_the_plain_states(
    name: str, request: pytest.FixtureRequest
) -> None:
    """Whatever was kept of one call serves the next, or does not."""
    folder = request.getfixturevalue(name)
    model = fresh(folder)
    inputs = prompts(model, SOURCES)
    expected = plain(folder, model, inputs)
    rng = np.random.default_rng(0)
    for _ in range(12):
        rows = rng.permutation(len(inputs))[: rng.integers(1, len(inputs) + 1)]
        found = model.last_hidden([inputs[row] for row in rows])
        assert np.abs(found - expected[rows]).max() < TOLERANCE


def test_small_batches_and_devices_that_share_nothing_give_the_plain_states(
    tiny: Path, states: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limits in (Limits(1, 1.25, shares=True), Limits(200, 1.0, shares=False)):
        monkeypatch.setitem(LIMITS, "cpu", limits)
        model = fresh(tiny)
        found = model.last_hidden(prompts(model, SOURCES))
        assert np.abs(found - states).max() < TOLERANCE


def test_the_device_that_masks_badly_gets_no_mask(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qvsearch.models import attention

    def kernel(*arguments, attn_mask, **options):
        masks.append(attn_mask)
        return torch.nn.functional.scaled_dot_product_attention(
            *arguments, attn_mask=attn_mask, **options
        )

    masks: list[torch.Tensor | None] = []
    monkeypatch.setattr(attention, "scaled_dot_product_attention", kernel)
    for device, masked in [("cpu", True), ("mps", False)]:
        masks.clear()
        with monkeypatch.context() as patch:
            patch.setitem(LIMITS, "cpu", LIMITS[device])
            model = fresh(tiny)
            for _ in range(2):
                model.last_hidden(prompts(model, SOURCES))
        assert any(mask is not None for mask in masks) is masked


def test_what_an_input_begins_with_is_computed_once(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh(tiny)
    tokens = []
    embeddings = model.model.language_model.embed_tokens
    embeddings.register_forward_hook(lambda _, ids, __: tokens.append(len(ids[0])))
    texts = prompts(model, [EmbedInput(f"{number} dogs on a beach") for number in range(9)])
    start = len(model.tokenize(["<|im_start|>system\nRepresent the user's input."], 99)[0])
    model.last_hidden(texts[:1])
    model.last_hidden(texts[1:2])  # one at a time, as a slow processor's batches are
    assert tokens[0] == len(texts[0].ids)
    assert tokens[1] <= len(texts[1].ids) - start
    tokens.clear()
    other = fresh(tiny)
    other.model.language_model.embed_tokens.register_forward_hook(
        lambda _, ids, __: tokens.append(len(ids[0]))
    )
    other.last_hidden(texts)
    assert len(tokens) == 2  # one alone, the others together
    assert tokens[1] <= sum(len(each.ids) - start for each in texts[1:])


def test_a_querys_picture_goes_through_the_tower_once(tiny: Path) -> None:
    reranker = LocalReranker(tiny, device="cpu", dtype="float32")
    query = EmbedInput("but at night", images=(PHOTO,))
    documents = [EmbedInput(f"dog {number}") for number in range(6)]
    documents += [EmbedInput(images=(pixels(64, 64, number),)) for number in range(3)]
    alone = [
        LocalReranker(tiny, device="cpu", dtype="float32").logits(query, [each])[0]
        for each in documents
    ]
    patches = []
    reranker.network.load_vision()
    reranker.network.model.visual.register_forward_pre_hook(
        lambda _, arguments: patches.append(len(arguments[0]))
    )
    assert np.abs(reranker.logits(query, documents) - alone).max() < 1e-4
    assert sum(patches) == 60 + 3 * 16
    patches.clear()
    assert np.abs(reranker.logits(query, documents[:4]) - alone[:4]).max() < 1e-4
    assert not patches


def test_one_item_alone_has_the_vector_that_it_has_in_a_batch_at_the_2b_widths(wide: Path) -> None:
    embedder = LocalEmbedder(wide, device="cpu", dtype="float32")
    sources = [SOURCES[row] for row in (1, 2, 4, 5)]
    together = embedder.embed(sources)
    alone = np.concatenate([embedder.embed([each]) for each in reversed(sources)])[::-1]
    assert np.abs(together - alone).max() < TOLERANCE
    inputs = prompts(embedder.network, sources)
    expected = plain(wide, embedder.network, inputs)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs(together - expected).max() < TOLERANCE


def test_gradients_are_those_of_the_plain_forward(tiny: Path) -> None:
    """After an embedding as before, for words, pictures and a film together."""
    model = fresh(tiny)
    inputs = prompts(model, SOURCES)
    model.last_hidden(inputs)
    model.trainable_states(inputs, checkpointing=False).square().sum().backward()
    whole = Qwen3VLModel.from_pretrained(tiny, dtype=torch.float32).eval()
    for each in inputs:
        states = whole(**padded(model, [each]), use_cache=False).last_hidden_state
        states[0, -1].square().sum().backward()
    expected = {name: each.grad for name, each in whole.named_parameters()}
    for name, weight in model.model.named_parameters():
        found = weight.grad
        if "patch_embed" in name:
            name = name.replace("patch_embed", "patch_embed.proj")
        wanted = expected.pop(name)
        assert (found.flatten() - wanted.flatten()).abs().max() < 1e-4 * wanted.abs().max(), name
    assert not expected
