"""The loss against its formula in numpy, and gradients in parts against those of the whole."""

from functools import partial

import numpy as np
import pytest
import torch
from support.model_inputs import mixed_inputs

from qvsearch.models.forward import ModelInput
from qvsearch.models.network import Network
from qvsearch.models.prompt import embed_prompt
from qvsearch.tasks.finetuning.batches import Batch, batch_order
from qvsearch.tasks.finetuning.data import Pair
from qvsearch.tasks.finetuning.loop import cached_gradients, share_of_rate
from qvsearch.tasks.finetuning.lora import Lora
from qvsearch.tasks.finetuning.objectives import (
    Contrastive,
    YesNo,
    answers_of,
    info_nce,
    rank,
)
from qvsearch.tasks.finetuning.settings import Settings, matryoshka_dims
from qvsearch.tasks.inputs import TaskInput

TEMPERATURE, MARGIN = 0.05, 0.1


def reference_loss(cosines, own, answers):
    """The formula, one query after the other."""
    losses = []
    for row, column in enumerate(own):
        kept = [
            other
            for other in range(cosines.shape[1])
            if other == column
            or (not answers[row][other] and cosines[row][other] <= cosines[row][column] + MARGIN)
        ]
        powers = np.exp(cosines[row][kept].astype(np.float64) / TEMPERATURE)
        losses.append(-np.log(powers[kept.index(column)] / powers.sum()))
    return np.mean(losses)


def test_the_loss_is_its_formula():
    rng = np.random.default_rng(0)
    cosines = rng.uniform(-1, 1, (6, 9)).astype(np.float32)
    own = np.array([0, 1, 2, 2, 4, 5])
    answers = rng.random((6, 9)) < 0.2
    answers[np.arange(6), own] = True
    found = info_nce(*map(torch.from_numpy, (cosines, own, answers)), TEMPERATURE, MARGIN)
    assert abs(float(found) - reference_loss(cosines, own, answers)) < 1e-5


def test_probable_answers_and_known_ones_are_no_negatives():
    cosines = torch.tensor([[0.5, 0.59, 0.61, 0.4]], requires_grad=True)
    answers = torch.tensor([[True, False, False, True]])
    info_nce(cosines, torch.tensor([0]), answers, TEMPERATURE, MARGIN).backward()
    assert (cosines.grad[0] != 0).tolist() == [True, True, False, False]


@pytest.fixture(scope="module")
def network(tiny):
    network = Network(tiny, "cpu", "float32")
    network.load_vision()
    return network


@pytest.fixture(scope="module")
def lora(network):
    lora = Lora(network, Settings(rank=4, alpha=8, vision=True))
    generator = torch.Generator().manual_seed(1)
    for parameter in lora.parameters.values():
        parameter.data.normal_(0, 0.05, generator=generator)
    network.forget_prefix()
    return lora


def model_inputs(network):
    sources = mixed_inputs()
    ids = network.tokenize([embed_prompt(each) for each in sources], 8192)
    return [ModelInput(i, (each,)) for i, each in zip(ids, sources, strict=True)]


def gradients(network, lora, tokens, *, checkpointing=False):
    def loss(states):
        unit = torch.nn.functional.normalize(states, dim=1)
        return ((unit @ unit.T) ** 3).sum()

    for parameter in lora.parameters.values():
        parameter.grad = None
    states_of = partial(network.trainable_states, checkpointing=checkpointing)
    value = cached_gradients(model_inputs(network), states_of, loss, tokens)
    return value, {name: each.grad.clone() for name, each in lora.parameters.items()}


@pytest.mark.parametrize(("tokens", "checkpointing"), [(1, False), (150, True), (10**6, True)])
def test_gradients_in_parts_are_those_of_the_whole(network, lora, tokens, checkpointing):
    value, whole = gradients(network, lora, 10**6)
    found, parts = gradients(network, lora, tokens, checkpointing=checkpointing)
    assert abs(value - found) < 1e-4
    largest = max(float(each.abs().max()) for each in whole.values())
    assert largest > 0.01
    for name, gradient in whole.items():
        assert float((gradient - parts[name]).abs().max()) < 1e-4 * largest, name


def test_states_of_training_are_those_of_the_network(network, lora):
    inputs = model_inputs(network)
    found = network.trainable_states(inputs, checkpointing=True)
    assert found.requires_grad
    assert np.abs(found.detach().numpy() - network.last_hidden(inputs)).max() < 1e-5


def words(text):
    return TaskInput(b"", text)


def batch(*pairs):
    sources = {each for pair in pairs for each in (pair.query, pair.positive, *pair.negatives)}
    from qvsearch.types import EmbedInput

    return Batch(pairs, {each: EmbedInput(each.text) for each in sources})


PAIRS = (
    Pair(words("a"), words("A"), (words("wrong"),)),
    Pair(words("b"), words("B")),
    Pair(words("b"), words("B2")),
    Pair(words("c"), words("A")),  # one document may answer two queries
)


def test_a_batch_is_compared_at_every_dimension(network):
    settings = Settings(temperature=TEMPERATURE, margin=MARGIN)
    objective = Contrastive(network, settings, (64, 32), answers_of(PAIRS))
    inputs, loss = objective.prepare(batch(*PAIRS))
    assert len(inputs) == 4 + 4  # queries, then A, B, B2 and the hard negative
    states = np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32)
    own = [0, 1, 2, 0]
    answers = [
        [True, False, False, False],
        [False, True, True, False],
        [False, True, True, False],
        [True, False, False, False],
    ]
    expected = []
    for dim in (64, 32):
        unit = states[:, :dim] / np.linalg.norm(states[:, :dim], axis=1, keepdims=True)
        expected.append(reference_loss(unit[:4] @ unit[4:].T, own, answers))
    assert abs(float(loss(torch.from_numpy(states))) - np.mean(expected)) < 1e-5


def test_a_reranker_learns_yes_and_no_alike(network):
    direction = np.linspace(-1, 1, 64).astype(np.float32)
    objective = YesNo(network, Settings(negatives=2), direction, answers_of(PAIRS))
    inputs, loss = objective.prepare(batch(*PAIRS))
    # of `a` the hard one and B; of `b` those that are not B or B2; of `c` B and B2
    assert len(inputs) == 4 * (1 + 2)
    states = np.random.default_rng(0).normal(size=(12, 64)).astype(np.float32)
    logits = (states @ direction).astype(np.float64)
    yes = np.arange(12) % 3 == 0
    expected = (np.log1p(np.exp(-logits[yes])).mean() + np.log1p(np.exp(logits[~yes])).mean()) / 2
    assert abs(float(loss(torch.from_numpy(states))) - expected) < 1e-5


def test_equal_scores_are_not_counted_for_the_model():
    assert rank(np.array([0.5, 0.5, 0.5, 0.1]), np.array([True, False, False, False])) == 3
    assert rank(np.array([0.5, 0.7, 0.6]), np.array([True, False, True])) == 2


def test_the_rate_rises_and_falls():
    shares = [share_of_rate(step, 100, 0.1) for step in range(100)]
    assert shares[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert shares[10] == 1
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert shares[55] == pytest.approx(0.5)
    assert 0 < shares[-1] < 0.001


def test_every_epoch_uses_every_pair_in_another_order():
    pairs = [Pair(words(f"{n}"), words(f"D{n}")) for n in range(12)]
    order = batch_order(pairs, 4, seed=3)
    epochs = [[row for _ in range(3) for row in next(order)] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(12))
    assert epochs[0] != epochs[1]
    again = batch_order(pairs, 4, seed=3)
    assert [next(again) for _ in range(3)] == [epochs[0][n : n + 4] for n in (0, 4, 8)]


def test_documents_that_are_each_others_negatives_share_a_batch():
    chains = [
        Pair(words(f"{chain}{n}"), words(f"D{chain}{n}"), (words(f"D{chain}{n + 1}"),))
        for n in range(3)
        for chain in "abcd"
    ]
    order = batch_order(chains, 3, seed=0)
    batches = [next(order) for _ in range(8)]
    assert all(len({row % 4 for row in batch}) == 1 for batch in batches)
    assert sorted(batches[0]) != batches[0] or sorted(batches[1]) != batches[1]


def test_dimensions_are_halved_down_to_the_smallest():
    assert matryoshka_dims(2048) == (2048, 1024, 512, 256, 128, 64)
    assert matryoshka_dims(64) == (64,)
