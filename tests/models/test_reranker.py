"""P(relevant) is what the whole vocabulary's head of the plain class says of yes and no."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from qvsearch.errors import QvsearchError
from qvsearch.runtime import local
from qvsearch.runtime.local import LocalReranker
from qvsearch.types import EmbedInput

pytest.importorskip("torchvision", reason="the reference's processors need torchvision")

from support import reference  # noqa: E402 (needs torchvision)
from support.pairs import DOCUMENTS, QUERIES, conversation, pixels
from support.reference import Reference, load_generator, logit_difference  # noqa: E402


@pytest.mark.parametrize("name", ["tiny", "untied", "tiny_appending"])
def test_logits_equal_the_whole_heads(name: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(name)
    reference, reranker = (
        Reference.load(folder),
        LocalReranker(folder, device="cpu", dtype="float32"),
    )
    generator, tokenizer = load_generator(folder), reference.processor.tokenizer
    for query in QUERIES:
        found = reranker.logits(query, DOCUMENTS)
        scores = reranker.score(query, DOCUMENTS)
        for logit, score, document in zip(found, scores, DOCUMENTS, strict=True):
            inputs = reference.inputs([conversation(query, document)])
            expected = logit_difference(generator, inputs, tokenizer)
            assert abs(logit - expected) < 1e-4
            assert math.isclose(score, 1 / (1 + math.exp(-expected)), abs_tol=1e-4)


def test_logits_equal_the_whole_heads_at_the_2b_widths(wide: Path) -> None:
    reference, reranker = Reference.load(wide), LocalReranker(wide, device="cpu", dtype="float32")
    found = reranker.logits(QUERIES[2], DOCUMENTS)
    inputs = reference.inputs([conversation(QUERIES[2], DOCUMENTS[2])])
    expected = logit_difference(load_generator(wide), inputs, reference.processor.tokenizer)
    assert abs(found[2] - expected) < 1e-4


def shortened(ids: list[int], most: int, special: set[int], closing: int) -> list[int]:
    """Apply the published rule: all but the closing turn is cut to so many, special tokens stay."""
    kept = ids[:-closing]
    while len(kept) > most and any(token not in special for token in kept):
        last = max(place for place, token in enumerate(kept) if token not in special)
        del kept[last]
    return kept + ids[-closing:]


@pytest.mark.parametrize("name", ["tiny", "untied"])
@pytest.mark.parametrize(
    ("query", "document"),
    [
        (EmbedInput("a dog on a beach " * 60, (pixels(64, 64, 9),)), EmbedInput("the beach")),
        (EmbedInput("a dog on a beach " * 60), EmbedInput(images=(pixels(96, 64, 1),))),
        (QUERIES[0], EmbedInput("sunset " * 150, (pixels(64, 64, 2), pixels(64, 128, 3)))),
        (EmbedInput(images=(pixels(320, 320, 9),)), EmbedInput(images=(pixels(320, 320, 1),))),
    ],
)
def test_too_long_a_pair_loses_its_last_words_and_no_picture(
    name: str,
    query: EmbedInput,
    document: EmbedInput,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, most = request.getfixturevalue(name), 150
    monkeypatch.setattr(local, "MAX_RERANK_TOKENS", most)
    reranker = LocalReranker(folder, device="cpu", dtype="float32")
    reference = Reference.load(folder)
    inputs = reference.inputs([conversation(query, document)])
    tokenizer, config = reference.processor.tokenizer, reference.model.config
    closing = len(tokenizer("<|im_end|>\n<|im_start|>assistant\n")["input_ids"])
    whole = inputs["input_ids"][0].tolist()
    ids = shortened(whole, most, set(tokenizer.all_special_ids), closing)
    assert len(ids) < len(whole)
    inputs["input_ids"] = torch.tensor([ids])
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["mm_token_type_ids"] = (inputs["input_ids"] == config.image_token_id).int()
    expected = logit_difference(load_generator(folder), inputs, tokenizer)
    [found] = reranker.logits(query, [document])
    assert abs(found - expected) < 1e-4


def test_a_pair_of_the_models_length_is_left_whole(tiny: Path) -> None:
    network = LocalReranker(tiny, device="cpu", dtype="float32").network
    prompt = "a dog on a beach " * 30 + "<|im_end|>\n<|im_start|>assistant\n"
    [whole] = network.tokenize([prompt], 8192)
    before = len(whole) - network.tail
    assert network.tokenize_pairs([prompt], before) == [whole]
    assert network.tokenize_pairs([prompt], before - 1) == [
        whole[: before - 1] + whole[-network.tail :]
    ]


def test_documents_keep_their_order_and_do_not_see_each_other(tiny: Path) -> None:
    reranker = LocalReranker(tiny, device="cpu", dtype="float32")
    together = reranker.logits(QUERIES[0], DOCUMENTS * 2)
    alone = [reranker.logits(QUERIES[0], [document])[0] for document in DOCUMENTS * 2]
    assert np.abs(together - alone).max() < 1e-4
    assert reranker.score(QUERIES[0], []) == []


def test_a_sure_verdict_is_0_or_1_without_a_warning(tiny: Path) -> None:
    reranker = LocalReranker(tiny, device="cpu", dtype="float32")
    reranker.direction = reranker.direction * 1e6
    scores = reranker.score(QUERIES[0], DOCUMENTS)
    assert all(score < 1e-6 or score > 1 - 1e-6 for score in scores)


def test_an_untied_checkpoint_without_a_head_is_no_reranker(untied: Path, tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(untied, tmp_path / "headless")
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(QvsearchError, match=r"is not a reranker: it has no lm_head\.weight"):
        LocalReranker(folder, device="cpu", dtype="float32")


def test_a_tokenizer_without_yes_is_no_rerankers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "CORPUS", ["a dog on a beach"])
    folder = reference.write_checkpoint(tmp_path / "mute")
    with pytest.raises(QvsearchError, match="is not a reranker: its tokenizer has no token 'yes'"):
        LocalReranker(folder, device="cpu", dtype="float32")
