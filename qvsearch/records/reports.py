"""Records that `--json` prints of work and of the machine: index, ask, warm, doctor, bench, models.

The docstring of each function describes its fields; `docs/json.md` is generated from them.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.formats import path_fields, present
from qvsearch.types import place_fields, skipped_fields

if TYPE_CHECKING:
    from qvsearch.indexing.counts import Event, Summary
    from qvsearch.indexing.plan import Plan
    from qvsearch.machine.bench import Figure
    from qvsearch.machine.doctor import Fact
    from qvsearch.machine.estimate import Estimate
    from qvsearch.machine.gguf_files import GgufState
    from qvsearch.models.registry import ModelState
    from qvsearch.runtime.manager import Running
    from qvsearch.tasks.answers.ask import Answer
    from qvsearch.tasks.answers.evidence import Source
    from qvsearch.tasks.finetuning.run import Result
    from qvsearch.tasks.finetuning.state import Point


def event_record(event: Event) -> dict[str, object]:
    """Return an event of `index --json`, one a line.

    state (string): `checking` contents of files with a changed status; `looking` at unchanged
        files that an older version read; `planned`; `compared` int8 or a quantised GGUF file with
        exact numbers on the first files of a library; `indexed`, `reused`, `unchanged`, `skipped`
        or `removed` a file; `committed`; `words` of files that an older version indexed; `reading`
        words in pictures; and last `summary`
    path, path_b64 (string): the file
    kind (string): `image`, `video`, `text` or `document`
    segments (integer): number of its vectors, or of the pictures for `reading`
    reason (string): why it was skipped or read anew, or the figures of `compared`
    files (integer): number of files that are `planned`, `checking` or `looking`, or whose `words`
        are read
    estimate (integer): about how many segments are `planned`
    """
    path = {} if event.path is None else path_fields("path", event.path)
    kind = None if event.kind is None else event.kind.value
    rest = {
        "kind": kind,
        "segments": event.segments or None,
        "reason": event.reason,
        "files": event.files or None,
        "estimate": event.estimate if event.path is None and event.estimate else None,
    }
    return present({"state": event.state, **path, **rest})


def summary_record(summary: Summary) -> dict[str, object]:
    """Return the summary of `index --json`, the last line.

    state (string): `summary`
    found (integer): number of files, the sum of `indexed`, `unchanged` and `skipped`
    indexed (integer): number of files, the sum of `embedded` and `reused`
    embedded (integer): files that the model has read
    read_anew (integer): unchanged files among these, which this version reads better
    reused (integer): files whose content is in the library by another name or time
    checked (integer): files whose contents were compared, since their ctime or inode had changed
    unchanged (integer): files that need no work
    sampled (integer): documents among the indexed with so many pages that only some were read
    skipped (integer): files that could not be indexed
    skipped_before (integer): files among these that failed before and have not changed since
    removed (integer): files that were removed from the library
    segments (integer): number of vectors added
    pictures_read (integer): pictures whose words were looked for by OCR
    pictures_unread (integer): pictures that may have words, but the extra `[ocr]` is missing
    seconds (number, seconds): duration of the run
    interrupted (boolean): whether Ctrl-C ended the run
    left (integer): files for the next run
    left_aside (object): number of files in other formats by suffix: `{".doc": 5, "others": 12}`
    vendored (integer): files of other people's code, e.g. in `node_modules`, which are left aside
    left_out (integer): files of the library that `index` now leaves out by their names
    unreachable (list of objects): given paths that are not there, as `path` or `path_b64`
    kept (list of objects): folders with missing files that stay in the library: `path` or
        `path_b64`, the number of `files` and the `reason`
    """
    return {
        "state": "summary",
        "found": summary.found,
        "indexed": summary.indexed,
        "embedded": summary.embedded,
        "read_anew": summary.read_anew,
        "checked": summary.checked,
        "reused": summary.reused,
        "sampled": summary.sampled,
        "unchanged": summary.unchanged,
        "skipped": summary.skipped,
        "skipped_before": sum(each.known for each in summary.failures),
        "removed": summary.removed,
        "segments": summary.segments,
        "pictures_read": summary.pictures_read,
        "pictures_unread": summary.pictures_unread,
        "seconds": round(summary.seconds, 3),
        "interrupted": summary.interrupted,
        "left": summary.left,
        "left_aside": summary.left_aside,
        "vendored": summary.vendored,
        "left_out": summary.left_out,
        **_not_there_record(summary),
    }


def plan_record(plan: Plan, estimate: Estimate | None) -> dict[str, object]:
    """Return the plan of `index --dry-run --json`.

    state (string): `plan`
    to_embed (object): number of files that the model will read, by kind
    reused (integer): files whose content is in the library
    unchanged (integer): files that need no work
    skipped (integer): files that cannot be indexed
    gone (integer): files that will be removed from the library
    older (integer): unchanged files that an older version read
    older_segments (integer): number of their vectors, some of which may be embedded again
    touched (integer): files whose contents will be compared
    segments (integer): about how many vectors there will be
    seconds (number, seconds): about how long it will take
    measured (boolean): whether this rests on measurements, or is a rough guess
    seconds_int8 (number, seconds): the same for int8, if a new library in int8 is much faster
    left_aside (object): as in the summary
    vendored (integer): as in the summary
    left_out (integer): as in the summary
    unreachable, kept (list of objects): as in the summary
    """
    time = {}
    if estimate is not None:
        time = {"seconds": round(estimate.seconds), "measured": estimate.measured}
        if estimate.faster is not None:
            time["seconds_int8"] = round(estimate.faster)
    return {
        "state": "plan",
        "to_embed": {kind.value: count for kind, count in plan.to_index.items()},
        "reused": plan.reused,
        "unchanged": plan.unchanged,
        "skipped": len(plan.skipped),
        "gone": plan.gone,
        "older": plan.older,
        "older_segments": plan.older_segments,
        "touched": plan.touched,
        "segments": plan.segments,
        **time,
        "left_aside": plan.left_aside,
        "vendored": plan.vendored,
        "left_out": plan.left_out,
        **_not_there_record(plan),
    }


def _not_there_record(outcome: Summary | Plan) -> dict[str, object]:
    return {
        "unreachable": [path_fields("path", path) for path in outcome.unreachable],
        "kept": [
            {**path_fields("path", kept.path), "files": kept.files, "reason": kept.reason}
            for kept in outcome.kept
        ],
    }


def answer_record(answer: Answer) -> dict[str, object]:
    """Return the object of `ask --json`.

    question (string): the question
    answer (string): the answer; absent if the files do not hold it
    answered (boolean): whether there is an answer that cites a file
    citations (list of objects): the sources that it cites
    unknown (list of integers): cited numbers that are not sources
    cut (boolean): true if the answer ends at the limit of its length
    skipped (list of objects): hits that could not be read: `path` or `path_b64`, and the `reason`
    tokens (object): numbers of tokens, `prompt` and `completion`, if they are known
    model (string): the model that answered; absent if nothing is relevant
    """
    tokens = present({"prompt": answer.prompt_tokens, "completion": answer.answer_tokens})
    return present(
        {
            "question": answer.question,
            "answer": answer.text or None,
            "answered": answer.answered,
            "citations": [_citation_record(each) for each in answer.citations],
            "unknown": list(answer.unknown) or None,
            "cut": answer.is_cut or None,
            "skipped": skipped_fields(answer.skipped) or None,
            "tokens": tokens or None,
            "model": answer.model,
        }
    )


def _citation_record(source: Source) -> dict[str, object]:
    """Return one of the `citations` of an answer.

    n (integer): its number in the answer
    path, path_b64 (string): absolute path
    kind (string): `image`, `video`, `text` or `document`
    start, end (number, seconds): moment of a video, from `start` up to `end`
    lines (two integers): first and last line of a passage, from 1
    page (integer): page of a document, from 1
    section (string): place of a passage without lines, e.g. `slide 3`
    relevance (number, 0 to 1): probability that it answers the question
    """
    segment = source.segment
    return present(
        {
            "n": source.number,
            **path_fields("path", segment.item.location),
            "kind": segment.item.kind.value,
            **place_fields(source.start, source.end, segment),
            "relevance": round(source.relevance, 6),
        }
    )


def warm_record(process: Running) -> dict[str, object]:
    """Return a warm process, as `warm --json` and `status --json` print it.

    state (string): `running` or `ended`; only of `warm --json`
    pid (integer): process id. If the server does not respond, this is the only other field
    model (string): the model that it keeps loaded
    role (string): `embedder`, `reranker` or `generator`
    revision (string): the revision of the model
    device, dtype (string): as given to `warm`; absent for the machine's own
    version (string): its version of qvsearch; another version does not use it
    since (string, ISO 8601 in UTC): when it was started
    idle, limit (number, seconds): time since the last query, and the time after which it ends
    memory (integer, bytes): resident memory, if the system reports it
    socket (string): the address on which it listens
    """
    key = process.key
    if key is None:
        return {"pid": process.pid}
    since = datetime.fromtimestamp(process.since, UTC)
    return present(
        {
            "pid": process.pid,
            "model": process.model,
            "role": key.role,
            "revision": key.revision,
            "device": key.device,
            "dtype": key.dtype,
            "version": key.version,
            "since": since.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "idle": round(process.idle, 1),
            "limit": process.limit,
            "memory": process.memory,
            "socket": str(process.socket),
        }
    )


def model_record(state: ModelState) -> dict[str, object]:
    """Return a model of `models list --json`, one a line.

    name (string): the hub's id
    role (string): `embedder`, `reranker` or `generator`
    parameters (integer): number of parameters
    dim (integer): dimensions of its vectors; only of an embedder
    size (integer, bytes): size of the download
    folder (string): its folder; absent before the download
    """
    return present(asdict(state) | {"folder": state.folder and str(state.folder)})


def gguf_record(state: GgufState) -> dict[str, object]:
    """Return a GGUF file of `models list --json`, one a line after the models.

    path, path_b64 (string): the file
    mmproj, mmproj_b64 (string): its vision tower
    numbers (string): type of most weights, e.g. `Q4_K`
    parameters (integer): number of parameters
    dim (integer): dimensions of its vectors
    size (integer, bytes): size of both files
    memory (integer, bytes): memory that it needs, about
    seconds (number): time of a photo at low detail
    measured (boolean): whether that was measured on this computer; otherwise it is a rough guess
    problem (string): why it cannot be used; then only the path is there
    """
    path = path_fields("path", os.fsencode(state.path))
    if state.problem is not None:
        return {**path, "problem": state.problem}
    mmproj = {} if state.mmproj is None else path_fields("mmproj", os.fsencode(state.mmproj))
    own = asdict(state) | {"path": None, "mmproj": None, "seconds": round(state.seconds, 3)}
    return present(own | path | mmproj)


def fact_record(fact: Fact) -> dict[str, object]:
    """Return a line of `doctor --json`.

    name (string): the thing, e.g. `torch` or `free disk`
    value (string): what is here
    trap (string): a problem with it, and the remedy
    """
    return present(asdict(fact))


def figure_record(figure: Figure) -> dict[str, object]:
    """Return a figure of `bench --json`, one a line as soon as it is measured.

    figure (string): `gemm`, the rate of matrix products; `photo`, `moment` and `passage`, decoded
        photos of 12 megapixels, pictures of a film and texts of 400 tokens embedded; `video`, a
        minute of film decoded and embedded; `decode`, one process decoding a photo of 12
        megapixels or a minute of film; `query`, a query of eight words
    unit (string): `GFLOP/s`; `1/s`; `s/min`, seconds a minute of video; `ms`
    value (number): median in that unit
    least, most (number): extremes
    runs (integer): number of timings
    model, device, dtype (string): the model, where and with which numbers it ran
    detail (string): image detail of `photo`, `moment`, `video` and `decode`
    how (string): of `decode`, `photo` or `video`; of `query`, `loaded`, as the model is in memory
    of_gemm (number): share of the rate of matrix products
    scaled (number): factor from the timed layers to all layers
    random (boolean): true if the weights were random
    reason (string): why it has no value
    """
    return present(asdict(figure))


def training_point_record(point: Point) -> dict[str, object]:
    """Return an evaluation of `finetune --json`, one a line.

    state (string): `evaluated`
    step (integer): steps so far; 0 is the base model
    loss (number): mean loss since the evaluation before
    recall_at_1, mrr (number, 0 to 1): share of held-out queries whose document is the first, and
        the mean of 1 / rank
    queries (integer): number of held-out queries
    control_recall_at_1, control_mrr (number, 0 to 1): the same of the control pairs, if there are
        any
    """
    control = point.control
    return present(
        {
            "state": "evaluated",
            "step": point.step,
            "loss": point.loss,
            "recall_at_1": point.score.recall,
            "mrr": point.score.mrr,
            "queries": point.score.queries,
            "control_recall_at_1": None if control is None else control.recall,
            "control_mrr": None if control is None else control.mrr,
        }
    )


def training_summary_record(result: Result, folder: Path) -> dict[str, object]:
    """Return the summary of `finetune --json`, the last line.

    state (string): `summary`
    folder, folder_b64 (string): folder of the adapter
    role (string): `embedder` or `reranker`
    base, revision (string): the model that it adapts
    train, held_out (integer): number of pairs to train with and to evaluate
    before, after (object): figures of the base, and of the weights in the folder, as `evaluated`;
        `after` is absent before the first evaluation
    parameters (integer): number of trained parameters
    seconds (number, seconds): duration, evaluations included
    left (integer): steps that an interrupted run has left
    skipped (list of objects): lines and files that could not be used: `name` and `reason`
    """
    card = result.card
    return present(
        {
            "state": "summary",
            **path_fields("folder", os.fsencode(folder)),
            "role": card.role,
            "base": card.base,
            "revision": card.revision,
            "train": card.data.train,
            "held_out": card.data.held_out,
            "before": training_point_record(card.before),
            "after": training_point_record(card.after) if card.best else None,
            "parameters": card.parameters,
            "seconds": card.seconds,
            "left": result.left,
            "skipped": [
                {"name": os.fsdecode(each.path), "reason": each.reason} for each in result.skipped
            ],
        }
    )
