"""Prints the labels of files: tables for a person, or JSON."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvsearch.cli import output
from qvsearch.records.classify import labelled_record, labels_record
from qvsearch.types import Skipped

if TYPE_CHECKING:
    from qvsearch.tasks.labelling.classify import Labelled
    from qvsearch.tasks.labelling.examples import ExampleClassifier
    from qvsearch.tasks.labelling.truth import Agreement
    from qvsearch.tasks.labelling.writing import Written

UNSURE = "(unsure)"


@dataclass(frozen=True, slots=True)
class Report:
    """All that one run of classify shows.

    `skipped` are examples that cannot be read. `cuts` is whether a file may be without a label.
    """

    results: Sequence[Labelled | Skipped]
    labels: Sequence[str]
    classifier: ExampleClassifier | None
    agreed: Agreement | None
    written: Written
    skipped: Sequence[Skipped]
    cuts: bool

    @property
    def failed(self) -> list[Skipped]:
        """The examples, inputs, sidecars and links that failed."""
        inputs = [each for each in self.results if isinstance(each, Skipped)]
        return [*self.skipped, *inputs, *self.written.skipped]

    @property
    def labelled(self) -> list[Labelled]:
        """The files that could be read."""
        return [each for each in self.results if not isinstance(each, Skipped)]

    @property
    def counts(self) -> dict[str, int]:
        """The number of files of each label, the most first."""
        counted = Counter(label for each in self.labelled for label in each.labels)
        return dict(sorted(((name, counted[name]) for name in self.labels), key=lambda e: -e[1]))

    @property
    def unsure(self) -> int:
        """The number of files without a label."""
        return sum(not each.labels for each in self.labelled)


def show(report: Report, *, given: bool, json: bool, quiet: bool) -> None:
    """Print a report; a table has each of the given inputs, or the counts of a library."""
    for each in report.failed:
        output.fail(f"{output.safe_text(each.path)}: {each.reason}")
    if json:
        written = report.written
        output.write_json(
            labelled_record(each, written.sidecars.get(each.name), written.links.get(each.name, ()))
            for each in report.labelled
        )
        record = labels_record(
            report.counts, report.unsure, report.classifier, report.agreed, report.failed
        )
        output.write_json([record])
    elif report.labelled:
        if report.classifier is not None and not quiet:
            _print_classifier(report.classifier)
        if given:
            _print_inputs(report)
        if not (given and len(report.labelled) == 1):
            _print_counts(report, gap=given)
        _print_written(report.written)
    if report.agreed is not None:
        _print_agreement(report.agreed, json=json)


def _print_classifier(classifier: ExampleClassifier) -> None:
    from qvsearch.cli.layout import print_table

    if not classifier.validations:
        output.line("by the nearest centroid; too few examples of a label to compare classifiers")
        output.line()
        return
    output.line(f"cross-validation in {classifier.folds} parts; the first is used")
    print_table(
        ["classifier", "accuracy", "macro-F1"],
        [
            (each.classifier, f"{each.scores.accuracy:.3f}", f"{each.scores.macro_f1:.3f}")
            for each in classifier.validations
        ],
    )
    output.line()


def _print_inputs(report: Report) -> None:
    from qvsearch.cli.layout import print_paths

    by_relevance = report.cuts and report.classifier is None
    rows = []
    for each in report.labelled:
        best = each.candidates[0]
        number = best.relevance if by_relevance and best.relevance is not None else best.score
        rows.append(((", ".join(each.labels) or UNSURE, f"{number:.2f}"), each.name))
    print_paths(["label", "relevance" if by_relevance else "score"], rows)


def _print_counts(report: Report, *, gap: bool) -> None:
    from qvsearch.cli.layout import print_paths

    surest: dict[str, Labelled] = {}
    for each in report.labelled:
        for label in each.labels[:1]:
            if label not in surest or each.score > surest[label].score:
                surest[label] = each
    counts = [*report.counts.items(), *([(UNSURE, report.unsure)] if report.cuts else [])]
    rows = []
    for label, count in counts:
        best = surest.get(label)
        score = "" if best is None else f"{best.score:.2f}"
        rows.append(((label, f"{count:,}", score), b"" if best is None else best.name))
    if gap:
        output.line()
    print_paths(["label", "files", "surest"], rows)


def _print_written(written: Written) -> None:
    """Print how many sidecars and links there are, and in a dry run each of them."""
    new = [each for each in written.sidecars.values() if each.added]
    links = [path for paths in written.links.values() for path, is_new in paths if is_new]
    if written.dry_run:
        for sidecar in new:
            output.line(f"would add {', '.join(sidecar.added)} to {os.fsdecode(sidecar.path)}")
        for path in links:
            output.line(f"would link {path}")
    would = "would " if written.dry_run else ""
    if written.sidecars:
        created = sum(each.is_new for each in new)
        output.line(
            f"{would}{'write' if would else 'wrote'} {output.counted(len(new), 'sidecar')},"
            f" {created:,} of them new; {len(written.sidecars) - len(new):,} had their keywords"
        )
    if written.texts:
        output.line(f"texts have no sidecars: {output.counted(written.texts, 'file')}")
    if written.links:
        there = sum(map(len, written.links.values())) - len(links)
        output.line(
            f"{would}{'make' if would else 'made'} {output.counted(len(links), 'link')};"
            f" {there:,} were there"
        )


def _print_agreement(agreed: Agreement, *, json: bool) -> None:
    scores = agreed.scores
    if agreed.unknown:
        names = ", ".join(agreed.unknown[:5]) + (" and others" if len(agreed.unknown) > 5 else "")
        output.note(f"true labels that are not among the labels: {names}")
    if not json:
        output.line(
            f"accuracy {scores.accuracy:.3f}, macro-F1 {scores.macro_f1:.3f}"
            f" of {output.counted(scores.files, 'file')} with a true label"
        )
