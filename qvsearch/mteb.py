"""qvsearch's embedder as a model of mteb: `python -m qvsearch.mteb TASK...`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qvsearch.errors import ExitCode, QvsearchError
from qvsearch.models import registry
from qvsearch.runtime.loading import Choice, load_embedder, task_fingerprint
from qvsearch.types import Detail, Dtype, EmbedInput

if TYPE_CHECKING:
    from qvsearch.types import Vectors

MODALITIES = ("text", "image")
OWNER = "qvsearch"  # of a model without one, as mteb wants
DOCUMENT = "document"  # mteb's prompt type


class Encoder:
    """An encoder of mteb 2.x (`EncoderProtocol`): texts, images, or both as one input.

    Queries have the task's instruction, documents have none, as in a library. Inputs without a
    type, e.g. those of similarity and classification, have the task's instruction. mteb loads it
    with the first two arguments.
    """

    def __init__(
        self,
        model_name: str = registry.DEFAULT_MODEL,
        revision: str | None = None,
        *,
        device: str | None = None,
        detail: str | None = None,
        dtype: str | None = None,
        dim: int | None = None,
        **_: object,
    ) -> None:
        """Load a hub's model, a local folder or `demo`.

        Raises QvsearchError for other models, e.g. those that would run their own code, and for
        another revision than the one here.
        """
        choice = Choice(model_name, dim, None if detail is None else Detail(detail), device, dtype)
        fingerprint = task_fingerprint(None, choice)
        if revision not in (None, fingerprint.revision):
            raise QvsearchError(
                f"{model_name} is here at revision {fingerprint.revision}, not {revision}"
            )
        self.embedder = load_embedder(fingerprint, replace(choice, model=fingerprint.model))
        settings = {"detail": fingerprint.detail.value, "dtype": dtype, "dim": fingerprint.dim}
        self.mteb_model_meta = _meta(fingerprint.model, fingerprint.revision, settings)

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,  # noqa: ANN401 - mteb's
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,  # noqa: ANN401 - mteb's
        **_: object,
    ) -> Vectors:
        """Return unit rows (n, dim) of the inputs of all batches, in order.

        A batch has lists under `text` and `image`; an image is a Pillow picture or several.
        """
        del hf_split, hf_subset
        of_document = prompt_type is not None and prompt_type.value == DOCUMENT
        instruction = None if of_document else _instruction(task_metadata, prompt_type)
        rows = [
            self.embedder.embed([replace(each, instruction=instruction) for each in _inputs(batch)])
            for batch in inputs
        ]
        return np.concatenate(rows) if rows else np.empty((0, self.embedder.dim), np.float32)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:  # noqa: ANN401 - mteb's arrays
        """Return the cosines (n, m) of unit rows, a tensor."""
        return _tensor(embeddings1) @ _tensor(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:  # noqa: ANN401
        """Return the cosine (n,) of each row with the one in its place, a tensor."""
        return (_tensor(embeddings1) * _tensor(embeddings2)).sum(-1)


def _inputs(batch: Mapping[str, Any]) -> Iterator[EmbedInput]:
    """Yield the inputs of a batch; raises QvsearchError for sound and video."""
    lists = {name: batch[name] for name in MODALITIES if batch.get(name) is not None}
    if not lists:
        raise QvsearchError(f"a batch has {', '.join(batch)}; qvsearch takes text and image")
    for row in range(len(next(iter(lists.values())))):
        image = lists["image"][row] if "image" in lists else None
        images = () if image is None else tuple(image) if isinstance(image, list) else (image,)
        yield EmbedInput(lists["text"][row] if "text" in lists else None, images)


def _instruction(task_metadata: Any, prompt_type: Any) -> str | None:  # noqa: ANN401 - mteb's
    """Return the instruction of a task, or of its type; None is the default of documents."""
    from mteb.abstasks.abstask import get_abstask_prompt

    prompt = task_metadata.prompt
    if isinstance(prompt, dict):
        prompt = prompt.get("query" if prompt_type is None else prompt_type.value)
    return prompt or get_abstask_prompt(task_metadata.name) or None


def _tensor(rows: Any) -> Any:  # noqa: ANN401 - arrays and tensors
    import torch

    return torch.as_tensor(rows)


def _meta(model: str, revision: str, settings: Mapping[str, object]) -> Any:  # noqa: ANN401 - mteb's
    """Return mteb's description of the model; its results are in a folder of name and settings."""
    from mteb.models import ModelMeta
    from mteb.models.model_meta import ScoringFunction

    known = registry.MODELS.get(model)
    return ModelMeta(
        loader=Encoder,
        name=model if known else f"{OWNER}/{Path(model).name}",
        revision=revision,
        release_date=None,
        languages=None,
        n_parameters=known.parameters if known else None,
        memory_usage_mb=None,
        max_tokens=8192,
        embed_dim=settings["dim"],
        license=None,
        open_weights=True,
        public_training_code=None,
        public_training_data=None,
        framework=["PyTorch", "Transformers"],
        similarity_fn_name=ScoringFunction.COSINE,
        use_instructions=True,
        training_datasets=None,
        modalities=list(MODALITIES),
        experiment_kwargs={name: value for name, value in settings.items() if value is not None},
    )


def run(tasks: Sequence[Any], encoder: Encoder, output: Path) -> list[tuple[str, float]]:
    """Return the main score of each task of mteb; all scores are in JSON files in a folder.

    A task whose results are there already is not run again. Raises QvsearchError for tasks with
    sound or video, and for data sets that run their own code.
    """
    import mteb

    for task in tasks:
        other = set(task.metadata.modalities) - set(MODALITIES)
        if other:
            raise QvsearchError(
                f"{task.metadata.name} has {', '.join(sorted(other))}; leave it out"
            )
        if task.metadata.dataset.get("trust_remote_code"):
            raise QvsearchError(f"{task.metadata.name} runs its data set's own code; leave it out")
    cache = mteb.ResultCache(output)
    results = mteb.evaluate(encoder, tasks, cache=cache, co2_tracker=False, show_progress_bar=False)
    return [(each.task_name, each.get_score()) for each in results.task_results]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run tasks by name and print their main scores; return the exit code."""
    parser = argparse.ArgumentParser(
        "python -m qvsearch.mteb", description="Run tasks of mteb, which downloads their data."
    )
    parser.add_argument("tasks", nargs="+", metavar="TASK", help="Name, e.g. SciFact.")
    parser.add_argument(
        "--model",
        default=registry.DEFAULT_MODEL,
        metavar="ID-OR-FOLDER",
        help=f"Model (default: {registry.DEFAULT_MODEL}).",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("results"),
        metavar="FOLDER",
        help="Folder of all scores (default: results).",
    )
    parser.add_argument("--detail", choices=list(Detail), help="Image detail.")
    parser.add_argument("--dtype", choices=list(Dtype), help="Compute precision.")
    parser.add_argument("--dim", type=int, metavar="N", help="Vector dimensions.")
    parser.add_argument("--device", metavar="NAME", help="Device: cuda, mps or cpu.")
    given = parser.parse_args(arguments)
    try:
        tasks = _named_tasks(given.tasks)
        encoder = Encoder(
            given.model, device=given.device, detail=given.detail, dtype=given.dtype, dim=given.dim
        )
        for name, score in run(tasks, encoder, given.output):
            sys.stdout.write(f"{name}\t{score:.4f}\n")
    except QvsearchError as error:
        sys.stderr.write(f"qvsearch: {error}\n")
        return error.exit_code
    return ExitCode.DONE


def _named_tasks(names: Sequence[str]) -> list[Any]:
    try:
        import mteb
    except ImportError as error:
        raise QvsearchError(
            'python -m qvsearch.mteb needs mteb: pip install "qvsearch[mteb]"'
        ) from error
    try:
        return [mteb.get_task(name) for name in names]
    except KeyError as error:
        raise QvsearchError(f"mteb has no such task: {error.args[0]}") from error


if __name__ == "__main__":
    sys.exit(main())
