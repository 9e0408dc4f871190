"""Every record that `--json` prints."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.cli.output import safe_text
from qvsearch.formats import path_fields, present, utc_text

if TYPE_CHECKING:
    from qvsearch.duplicates.groups import Group, Member
    from qvsearch.indexing.pipeline import Plan
    from qvsearch.indexing.session import Summary
    from qvsearch.indexing.status import Field, Status
    from qvsearch.library.libraries import Shelved
    from qvsearch.library.library import Library
    from qvsearch.library.repair import Problem, Repair
    from qvsearch.machine.doctor import Fact
    from qvsearch.machine.estimate import Estimate
    from qvsearch.machine.timings import Figure
    from qvsearch.models.registry import ModelState
    from qvsearch.retrieval.explain import Explained, Explanation, Weighed
    from qvsearch.retrieval.recall import Recall
    from qvsearch.retrieval.similar import Similar
    from qvsearch.runtime.manager import Running
    from qvsearch.types import Event, Hit


def hit_record(hit: Hit, library: Path, saved: Path | None = None) -> dict[str, object]:
    """Return what `search --json` prints of a hit of a library, without what it does not have."""
    clip = {} if saved is None else path_fields("saved", os.fsencode(saved))
    return {**hit.to_dict(), **path_fields("library", os.fsencode(library)), **clip}


def event_record(event: Event) -> dict[str, object]:
    """Return what `index --json` says of one file."""
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
    """Return the last line of `index --json`."""
    return {
        "state": "summary",
        "found": summary.found,
        "indexed": summary.indexed,
        "embedded": summary.embedded,
        "read_anew": summary.read_anew,
        "checked": summary.checked,
        "reused": summary.reused,
        "unchanged": summary.unchanged,
        "skipped": summary.skipped,
        "skipped_before": sum(each.known for each in summary.failures),
        "removed": summary.removed,
        "segments": summary.segments,
        "seconds": round(summary.seconds, 3),
        "interrupted": summary.interrupted,
        "left": summary.left,
        "left_aside": summary.left_aside,
        "left_out": summary.left_out,
        **_not_there_record(summary),
    }


def plan_record(plan: Plan, estimate: Estimate | None) -> dict[str, object]:
    """Return the line of `index --dry-run --json`."""
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


def explanation_record(found: Explanation) -> dict[str, object]:
    """Return what `explain --json` says."""
    folded = {} if found.folded_into is None else path_fields("folded_into", found.folded_into)
    return present(
        {
            **path_fields("path", found.path),
            "reason": found.reason,
            "relevance": _rounded(found.relevance),
            "cut": found.cut,
            "rank": found.rank,
            "items": found.items,
            "hidden_by": list(found.hidden_by) or None,
            **folded,
            "segments": [_segment_record(each) for each in found.segments] or None,
        }
    )


def _segment_record(each: Explained) -> dict[str, object]:
    segment = each.segment
    return present(
        {
            "start": segment.start,
            "end": segment.end,
            "clip": segment.clip or None,
            "lines": None if segment.lines is None else list(segment.lines),
            "relevance": _rounded(each.relevance),
            "score": _rounded(each.score),
            "terms": [_term_record(term) for term in each.terms],
        }
    )


def _term_record(term: Weighed) -> dict[str, object]:
    level = term.level
    return present(
        {
            "term": term.text,
            "weight": term.weight,
            "relevance": _rounded(term.relevance),
            "score": _rounded(term.score),
            "best": _rounded(level.best),
            "median": _rounded(level.median),
            "spread": _rounded(level.spread),
            "baseline": _rounded(level.baseline.centre),
            "baseline_spread": _rounded(level.baseline.spread),
        }
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def similar_record(found: Similar, library: Path) -> dict[str, object]:
    """Return what `similar --json` says of a file; what it does not have is left out."""
    segment = found.segment
    record: dict[str, object | None] = {
        "rank": found.rank,
        "score": round(found.score, 6),
        "reason": found.reason,
        "kind": segment.item.kind.value,
        **path_fields("path", segment.item.location),
        "start": segment.start,
        "end": segment.end,
        "lines": None if segment.lines is None else list(segment.lines),
        "width": segment.width,
        "height": segment.height,
        **path_fields("library", os.fsencode(library)),
    }
    return present(record)


def group_record(number: int, group: Group) -> dict[str, object]:
    """Return what `dupes --json` says of a group."""
    return {
        "group": number,
        "kind": group.kind.value,
        "reason": group.reason,
        "reclaimable": group.reclaimable,
        "items": [_member_record(each) for each in group.items],
    }


def _member_record(member: Member) -> dict[str, object]:
    segment = member.segment
    record: dict[str, object | None] = {
        **path_fields("path", segment.item.location),
        "best": True if member.reason is None else None,
        "reason": member.reason,
        "gone": member.gone or None,
        "also": [path_fields("path", each) for each in member.also] or None,
        "width": segment.width,
        "height": segment.height,
        "bytes": segment.item.size,
        "taken": segment.metadata.taken,
        "mtime": utc_text(segment.item.mtime_ns),
    }
    return present(record)


def status_record(status: Status, warm: Iterable[Running]) -> dict[str, object]:
    """Return what `status --json` says."""
    return {
        **path_fields("library", os.fsencode(status.folder)),
        "model": asdict(status.fingerprint),
        "store": status.store,
        "bytes": status.size,
        "kinds": {
            each.kind.value: {"items": each.items, "segments": each.segments}
            for each in status.holdings
        },
        "roots": [
            {
                **path_fields("path", root),
                "reachable": root not in status.unreachable,
                **(asdict(status.rules[root]) if root in status.rules else {}),
            }
            for root in status.roots
        ],
        "changed": [path_fields("path", path) for path in status.changed],
        "gone": [path_fields("path", path) for path in status.gone],
        "failed": [
            {**path_fields("path", each.path), "reason": each.reason, "tries": each.tries}
            for each in status.failures
        ],
        "touched": status.touched,
        "older": status.older,
        "older_segments": status.older_segments,
        "left_aside": status.left_aside,
        "left_out": [
            {**path_fields("path", each.path), "reason": each.reason} for each in status.left_out
        ],
        "not_indexed": sum(run.files for run in status.pending),
        "damaged": [
            {**path_fields("path", path), "missing": missing} for path, missing in status.damaged
        ],
        "warm": [warm_record(each) for each in warm],
    }


def fields_record(library: Library, fields: Iterable[Field]) -> dict[str, object]:
    """Return what `status --fields --json` says."""
    return {
        **path_fields("library", os.fsencode(library.folder)),
        "fields": {
            each.name: {
                "options": list(each.options),
                "files": each.files,
                **(
                    {"values": {safe_text(name): count for name, count in each.values.items()}}
                    if each.values
                    else {}
                ),
                **present({"least": each.least, "most": each.most}),
            }
            for each in fields
        },
    }


def warm_record(process: Running) -> dict[str, object]:
    """Return what JSON says of a warm process; of one that gives no answer only `pid`."""
    kept = process.kept
    if kept is None:
        return {"pid": process.pid}
    since = datetime.fromtimestamp(process.since, UTC)
    return present(
        {
            "pid": process.pid,
            "model": process.model,
            "role": kept.role,
            "revision": kept.revision,
            "device": kept.device,
            "dtype": kept.dtype,
            "version": kept.version,
            "since": since.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "idle": round(process.idle, 1),
            "limit": process.limit,
            "memory": process.memory,
            "socket": str(process.socket),
        }
    )


def check_record(problems: Iterable[Problem], repaired: Repair | None) -> dict[str, object]:
    """Return what `check --json` says."""
    rows = {} if repaired is None else {"kept": repaired.kept, "lost": repaired.lost}
    return {"problems": [asdict(problem) for problem in problems], **rows}


def recall_record(found: Recall) -> dict[str, object]:
    """Return what `check --recall --json` says."""
    return {name: round(value, 6) for name, value in asdict(found).items()}


def library_record(library: Shelved) -> dict[str, object]:
    """Return what `libraries --json` says of a library."""
    return present(asdict(library) | {"folder": str(library.folder)})


def model_record(state: ModelState) -> dict[str, object]:
    """Return what `models list --json` says of a model."""
    return present(asdict(state) | {"folder": state.folder and str(state.folder)})


def fact_record(fact: Fact) -> dict[str, object]:
    """Return what `doctor --json` says of one thing."""
    return present(asdict(fact))


def figure_record(figure: Figure) -> dict[str, object]:
    """Return what `bench --json` says of a measurement."""
    return present(asdict(figure))
