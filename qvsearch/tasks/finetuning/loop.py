"""The training loop: gradients of batches of any size, steps of AdamW, evaluations, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import torch

from qvsearch.errors import QvsearchError
from qvsearch.models.devices import NARROWEST
from qvsearch.tasks.finetuning.batches import Batch, Reader, batch_order
from qvsearch.tasks.finetuning.state import Point, State

if TYPE_CHECKING:
    from qvsearch.models.forward import ModelInput
    from qvsearch.models.network import Network
    from qvsearch.tasks.finetuning.data import Pair
    from qvsearch.tasks.finetuning.lora import Lora
    from qvsearch.tasks.finetuning.objectives import Loss, Objective, Score
    from qvsearch.tasks.finetuning.settings import Settings

SAVE_SECONDS = 60.0  # a kill loses no more work than that
MOST_NORM = 1.0  # of the gradient of a step
EVALUATED_AT_ONCE = 32  # pairs
PASS_MEMORY = {"cpu": 1 << 30, "mps": 1 << 30, "cuda": 4 << 30}  # bytes, beside the weights
STATES_OF_LAYER = (16, 6)  # about so many of the hidden and the intermediate size a layer keeps
MOMENTS = ("exp_avg", "exp_avg_sq")  # AdamW's, by torch's names


@dataclass(frozen=True, slots=True)
class Course:
    """The pairs of a run: to train with, to evaluate, and from elsewhere, evaluated as well."""

    train: Sequence[Pair]
    held_out: Sequence[Pair]
    control: Sequence[Pair] = ()


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What a run calls: `report` after a step with the steps done, all steps and the loss.

    `point` is called after an evaluation, with whether it is the best so far, and `save` with the
    state of the run. When `stop` returns True, the run ends after the step.
    """

    report: Callable[[int, int, float], None]
    point: Callable[[Point, bool], None]
    save: Callable[[State], None]
    stop: Callable[[], bool]


class Training:
    """One run; `train` does what is left of it."""

    def __init__(
        self, network: Network, lora: Lora, objective: Objective, settings: Settings, reader: Reader
    ) -> None:
        self._network, self._lora, self._objective = network, lora, objective
        self._settings, self._reader = settings, reader
        self._optimizer = torch.optim.AdamW(
            lora.parameters.values(), settings.learning_rate, weight_decay=0.0
        )
        # wide models would fill the memory with what every layer has to keep
        self._checkpointing = network.model.config.text_config.hidden_size >= NARROWEST
        self._tokens = tokens_at_once(network, self._checkpointing)

    def train(self, course: Course, calls: Callbacks, state: State | None = None) -> State:
        """Evaluate, and train to the last step or until `stop`; return the state then.

        A state continues a run, with the same weights at its end as without the interruption.
        """
        settings, pairs = self._settings, course.train
        steps = settings.steps(len(pairs))
        every = math.ceil(steps / settings.evaluations)
        if state is None:
            first = Point(0, None, *self._evaluate(course))
            calls.point(first, False)
            state = State(0, 0, 0.0, torch.get_num_threads(), (first,), (), {})
        else:
            self._restore(state)
        began = saved = time.monotonic()
        before = state.seconds
        rows = islice(batch_order(pairs, settings.batch_of(len(pairs)), settings.seed), steps)
        groups = ([pairs[row] for row in each] for each in islice(rows, state.step, None))
        for batch in self._reader.batches(groups):
            loss = self._step(batch, state.step, steps)
            state = replace(
                state,
                step=state.step + 1,
                updates=state.updates + (loss is not None),
                losses=state.losses if loss is None else (*state.losses, loss),
                seconds=before + time.monotonic() - began,
            )
            calls.report(state.step, steps, math.nan if loss is None else loss)
            is_due = state.step % every == 0 or state.step == steps
            if is_due:
                state = self._evaluated(state, course, calls)
            is_stopped = calls.stop()
            if is_due or is_stopped or time.monotonic() - saved >= SAVE_SECONDS:
                calls.save(replace(state, tensors=self._tensors()))
                saved = time.monotonic()
            if is_stopped:
                break
        return state

    def _evaluated(self, state: State, course: Course, calls: Callbacks) -> State:
        """Return the state with one more point; its best weights are handed on."""
        loss = sum(state.losses) / len(state.losses) if state.losses else None
        point = Point(state.step, loss, *self._evaluate(course))
        trained = [each.score.mrr for each in state.history if each.step > 0]
        calls.point(point, not trained or point.score.mrr >= max(trained))
        return replace(state, history=(*state.history, point), losses=())

    def _evaluate(self, course: Course) -> tuple[Score, Score | None]:
        self._network.forget_prefix()
        score = self._objective.evaluate(self._batches(course.held_out))
        control = self._objective.evaluate(self._batches(course.control))
        return score, control if course.control else None

    def _batches(self, pairs: Sequence[Pair]) -> Iterator[Batch]:
        size = EVALUATED_AT_ONCE
        return self._reader.batches(pairs[n : n + size] for n in range(0, len(pairs), size))

    def _step(self, batch: Batch, step: int, steps: int) -> float | None:
        """Take one step and return its loss; None for a batch of less than two readable pairs."""
        if len(batch.pairs) < 2:
            return None
        inputs, loss_of = self._objective.prepare(batch)
        loss = self._gradients(inputs, loss_of)
        if not math.isfinite(loss):
            raise QvsearchError(
                f"the loss of step {step + 1} is not finite; try a smaller --learning-rate, or"
                " --dtype float32"
            )
        torch.nn.utils.clip_grad_norm_(self._lora.parameters.values(), MOST_NORM)
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.learning_rate * share_of_rate(
                step, steps, self._settings.warm_up
            )
        self._optimizer.step()
        self._optimizer.zero_grad()
        return loss

    def _gradients(self, inputs: Sequence[ModelInput], loss_of: Loss) -> float:
        """Compute the gradients of a batch, in smaller parts if the memory does not hold them."""
        states_of = partial(self._network.trainable_states, checkpointing=self._checkpointing)
        while True:
            try:
                return cached_gradients(inputs, states_of, loss_of, self._tokens)
            except torch.OutOfMemoryError as error:
                longest = max(len(each.ids) for each in inputs)
                if self._tokens <= longest:
                    raise QvsearchError(
                        f"{self._network.device} has no memory to train with an input of"
                        f" {longest} tokens; try a lower --detail"
                    ) from error
                self._tokens = max(longest, self._tokens // 2)
                self._optimizer.zero_grad()

    def _tensors(self) -> dict[str, torch.Tensor]:
        moments = {
            f"{moment}.{name}": self._optimizer.state[parameter][moment].detach().cpu()
            for name, parameter in self._lora.parameters.items()
            if parameter in self._optimizer.state
            for moment in MOMENTS
        }
        return {**self._lora.tensors(), **moments}

    def _restore(self, state: State) -> None:
        """Take the weights and moments of a state; raises QvsearchError if one is missing."""
        torch.set_num_threads(state.threads)
        try:
            self._lora.load(state.tensors)
            for name, parameter in self._lora.parameters.items() if state.updates else ():
                self._optimizer.state[parameter] = {
                    "step": torch.tensor(float(state.updates)),
                    **{
                        moment: state.tensors[f"{moment}.{name}"].to(parameter.device, copy=True)
                        for moment in MOMENTS
                    },
                }
        except (KeyError, RuntimeError) as error:
            raise QvsearchError(f"the state of the run lacks weights: {error}") from error


def tokens_at_once(network: Network, checkpointing: bool) -> int:
    """Return the tokens of a pass whose states, kept for the backward pass, fill PASS_MEMORY."""
    text = network.model.config.text_config
    layer = STATES_OF_LAYER[0] * text.hidden_size + STATES_OF_LAYER[1] * text.intermediate_size
    layers = text.num_hidden_layers
    kept = layers * text.hidden_size + layer if checkpointing else layers * layer
    return PASS_MEMORY[network.device.type] // int(kept * network.dtype.itemsize)


def cached_gradients(
    inputs: Sequence[ModelInput],
    states_of: Callable[[Sequence[ModelInput]], torch.Tensor],
    loss_of: Loss,
    tokens: int,
) -> float:
    """Add the gradient of a loss over all inputs together, and return the loss.

    Passes have at most `tokens` each, so memory does not limit the batch. The states are computed
    without gradients first; then each pass is repeated, and takes the gradient of its states
    (GradCache, Gao et al. 2021).
    """
    parts = list(_parts(inputs, tokens))
    if len(parts) == 1:
        loss = loss_of(states_of(inputs).float())
        loss.backward()  # type: ignore[no-untyped-call]  # torch has none for it
        return loss.item()
    with torch.no_grad():
        found = [states_of([inputs[row] for row in part]).float() for part in parts]
    order = torch.tensor([row for part in parts for row in part]).argsort()
    states = torch.cat(found)[order.to(found[0].device)].requires_grad_()
    loss = loss_of(states)
    loss.backward()  # type: ignore[no-untyped-call]
    assert states.grad is not None  # noqa: S101 - a leaf of the loss has one
    for part in parts:
        again = states_of([inputs[row] for row in part]).float()
        again.backward(states.grad[part])  # type: ignore[no-untyped-call]
    return loss.item()


def _parts(inputs: Sequence[ModelInput], tokens: int) -> Iterator[list[int]]:
    """Yield rows of inputs of similar length with at most `tokens` together, or one row."""
    part: list[int] = []
    total = 0
    for row in sorted(range(len(inputs)), key=lambda row: len(inputs[row].ids)):
        own = len(inputs[row].ids)
        if part and total + own > tokens:
            yield part
            part, total = [], 0
        part.append(row)
        total += own
    yield part


def share_of_rate(step: int, steps: int, warm_up: float) -> float:
    """Return the share of the learning rate at a step, from 0: up in a line, down in a cosine.

    `warm_up` is the share of the steps to go up. The cosine ends at 0 (Loshchilov & Hutter 2017).
    """
    rising = max(1, round(warm_up * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
