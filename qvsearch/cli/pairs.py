"""Scores a file of pairs for the command similarity."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.cli import output
from qvsearch.cli.vector_options import opened, write_lines
from qvsearch.errors import QvsearchError
from qvsearch.files import new_file
from qvsearch.runtime.loading import find_reranker, load_embedder
from qvsearch.tasks.inputs import embed_inputs, read_inputs
from qvsearch.tasks.pairs import SUFFIXES, PairFile, PairLine, score_pairs
from qvsearch.tasks.similarity import instructions, scores
from qvsearch.tasks.vector_files import check_output
from qvsearch.types import Skipped

if TYPE_CHECKING:
    from qvsearch.cli.similarity_options import MatrixOptions, ScoreOptions, SideOptions
    from qvsearch.cli.vector_options import Reporter, RerankedEmbedModelOptions


def score_file(
    sides: SideOptions,
    scoring: ScoreOptions,
    printing: MatrixOptions,
    model: RerankedEmbedModelOptions,
    report: Reporter,
) -> None:
    """Print a file of pairs again with their scores, or write it."""
    path = Path(os.fsdecode(sides.pairs or b""))
    target = printing.target
    _check(path, target)
    form = PairFile(
        str(path),
        path.suffix,
        os.fsencode(path.parent),
        sides.names(),
        instructions(sides.query and not scoring.rerank, sides.instruction),
    )
    with ExitStack() as stack:
        stream, _ = stack.enter_context(opened(os.fsencode(path)))
        scored = _scored(_readable(form.read(stream), report), scoring, model, report)
        file = None if target is None else stack.enter_context(new_file(target))
        count = 0
        for line, score in scored:
            count += line.pair is not None
            if isinstance(score, Skipped):
                report.fail(None, score)
            data = form.write(line, score if isinstance(score, float) else None)
            if file is not None:
                file.write(data)
                report.progress(count, "pair")
            elif not write_lines(data):
                break
    report.clear()
    if target is not None and not printing.quiet:
        output.line(f"{output.counted(count, 'pair')} written to {target}")


def _check(path: Path, target: Path | None) -> None:
    if path.suffix not in SUFFIXES:
        raise QvsearchError(f"{path} does not end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if target is not None:
        if target.suffix != path.suffix:
            raise QvsearchError(
                f"{target} does not end in {path.suffix}, as the file of pairs does"
            )
        check_output(target)


def _readable(lines: Iterable[PairLine | Skipped], report: Reporter) -> Iterator[PairLine]:
    """Yield the lines that can be written again; report the others, which are left out."""
    for line in lines:
        if isinstance(line, Skipped):
            report.fail(None, replace(line, reason=f"{line.reason}; it is left out"))
        else:
            yield line


def _scored(
    lines: Iterator[PairLine],
    scoring: ScoreOptions,
    model: RerankedEmbedModelOptions,
    report: Reporter,
) -> Iterator[tuple[PairLine, float | Skipped | None]]:
    fingerprint, choice = model.fingerprint(report.quiet), model.choice()
    if not scoring.rerank:
        return score_pairs(
            lines,
            partial(
                embed_inputs,
                load=partial(load_embedder, fingerprint, choice),
                options=fingerprint.decode_options,
            ),
            lambda a, b: float(scores(a[None], b[None], scoring.metric)[0, 0]),
        )
    load = cache(find_reranker(scoring.reranker, fingerprint, choice))
    return score_pairs(
        lines,
        partial(read_inputs, options=fingerprint.decode_options),
        lambda a, b: load().score(a, [b])[0],
    )
