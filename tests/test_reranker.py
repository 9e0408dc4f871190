"""P(relevant) is what the whole vocabulary's head of the plain class says of yes and no."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from qvsearch.backends.local import LocalReranker
from qvsearch.errors import QvsearchError
from qvsearch.types import EmbedInput

pytest.importorskip("torchvision", reason="the reference's processors need torchvision")

import reference  # noqa: E402 (needs torchvision)
from reference import Reference, load_generator, logit_difference  # noqa: E402

JUDGE = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct"
    ' provided. Note that the answer can only be "yes" or "no".'
)
INSTRUCTION = "Given a search query, retrieve relevant candidates that answer the query."


def pixels(height: int, width: int, seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height)))


def parts(source: EmbedInput) -> list[dict]:
    content: list[dict] = [
        {"type": "image", "image": Image.fromarray(image), "min_pixels": 1024}
        for image in source.images
    ]
    if source.text is not None:
        content.append({"type": "text", "text": source.text})
    return content


def conversation(query: EmbedInput, document: EmbedInput) -> list[dict]:
    """Say a pair in the messages that the published reranker builds."""
    instruct = f"<Instruct>: {query.instruction or INSTRUCTION}"
    return [
        {"role": "system", "content": [{"type": "text", "text": JUDGE}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": instruct},
                {"type": "text", "text": "<Query>:"},
                *parts(query),
                {"type": "text", "text": "\n<Document>:"},
                *parts(document),
            ],
        },
    ]


QUERIES = [
    EmbedInput("a dog on a beach"),
    EmbedInput(images=(pixels(64, 64, 9),), instruction="Find the same scene."),
    EmbedInput("but at night", images=(pixels(64, 96, 8),)),
]
DOCUMENTS = [
    EmbedInput("der Hund am Strand"),
    EmbedInput(images=(pixels(96, 64, 1),)),
    EmbedInput("sunset", images=(pixels(64, 64, 2), pixels(64, 128, 3))),
    EmbedInput("x" * 200),
]


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
    with pytest.raises(QvsearchError, match=r"is no reranker: it has no lm_head\.weight"):
        LocalReranker(folder, device="cpu", dtype="float32")


def test_a_tokenizer_without_yes_is_no_rerankers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "CORPUS", ["a dog on a beach"])
    folder = reference.write_checkpoint(tmp_path / "mute")
    with pytest.raises(QvsearchError, match="is no reranker: its tokenizer has no token 'yes'"):
        LocalReranker(folder, device="cpu", dtype="float32")
