"""The command classify."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.cli import options, output
from qvsearch.cli.commands import GroupedCommand, unfolded
from qvsearch.cli.interrupt import interrupts
from qvsearch.cli.search_options import FilterOptions
from qvsearch.cli.server_options import ServedModelOptions
from qvsearch.errors import ExitCode, QvsearchError
from qvsearch.types import Skipped

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.runtime.loading import Choice
    from qvsearch.tasks.labelling.classify import ClassifyOptions, Labelled
    from qvsearch.tasks.labelling.examples import ExampleClassifier
    from qvsearch.tasks.labelling.file_vectors import FileVectors
    from qvsearch.tasks.labelling.labels import Label
    from qvsearch.tasks.labelling.writing import LinkFolders
    from qvsearch.types import Fingerprint

classifying = typer.Typer(rich_markup_mode=None)
_label = partial(typer.Option, rich_help_panel="Labels")


class SidecarForm(StrEnum):
    """The form of files beside pictures."""

    XMP = "xmp"


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """The labels, and how they are chosen."""

    label: Annotated[
        list[str] | None,
        _label(metavar="TEXT", help="Label, or 'label: phrasing | phrasing'; may be repeated."),
    ] = None
    labels: Annotated[
        bytes | None,
        _label(
            parser=options.path,
            metavar="FILE",
            help="File of labels, one a line, or JSON: a list, or an object of phrasings.",
        ),
    ] = None
    examples: Annotated[
        bytes | None,
        _label(
            parser=options.path,
            metavar="FOLDER",
            help="Folder with a folder of example files for each label.",
        ),
    ] = None
    multi: Annotated[
        bool,
        _label("--multi", help="Give a file all relevant labels."),
    ] = False
    unsure: Annotated[
        bool,
        _label("--unsure", help="Leave files without a label if the best one is not relevant."),
    ] = False
    instruction: Annotated[
        str | None,
        _label(
            metavar="TEXT",
            help="Instruction to the model for labels (default: that of documents).",
        ),
    ] = None

    def parsed(self) -> "tuple[list[Label], ClassifyOptions]":
        """Return the labels, and how they are chosen."""
        from qvsearch.tasks.labelling.classify import ClassifyOptions
        from qvsearch.tasks.labelling.examples import find_examples
        from qvsearch.tasks.labelling.labels import check_labels, parse_label, read_labels

        chosen = ClassifyOptions(self.multi, self.unsure, self.instruction)
        if self.examples is not None:
            if self.label or self.labels:
                raise QvsearchError("--examples has the labels; leave out --label and --labels")
            if self.multi or self.instruction:
                name = "--multi" if self.multi else "--instruction"
                raise QvsearchError(f"{name} is for labels in words; leave it out with --examples")
            return find_examples(self.examples)[0], chosen
        labels = [parse_label(each) for each in self.label or ()]
        labels += [] if self.labels is None else read_labels(self.labels)
        check_labels(labels, single=chosen.cuts)
        return labels, chosen


@dataclass(frozen=True, slots=True)
class WritingOptions:
    """Where labels are written."""

    sidecar: Annotated[
        SidecarForm | None,
        options.choice(
            "--sidecar",
            SidecarForm,
            "Add labels as keywords to .xmp files beside the files.",
            "Output",
        ),
    ] = None
    link_to: Annotated[
        bytes | None,
        options.output_option(
            parser=options.path,
            metavar="FOLDER",
            help="Folder for links to the files, in a folder for each label.",
        ),
    ] = None
    dry_run: Annotated[
        bool,
        options.output_option("--dry-run", help="Print what --sidecar and --link-to would write."),
    ] = False

    def __post_init__(self) -> None:
        """Raise QvsearchError for a dry run of nothing."""
        if self.dry_run and self.sidecar is None and self.link_to is None:
            raise QvsearchError("--dry-run is for --sidecar and --link-to; give one of them")

    def folders(self, labels: Iterable[str]) -> "LinkFolders | None":
        """Return the folders for links; raises QvsearchError if there can be none."""
        from qvsearch.tasks.labelling.writing import LinkFolders

        if self.link_to is None:
            return None
        return LinkFolders(Path(os.fsdecode(self.link_to)), list(labels))


@classifying.command(cls=GroupedCommand)
@unfolded
def classify(
    *,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Files, folders or words; - for lines of them (default: the library's files).",
        ),
    ] = None,
    label: LabelOptions,
    filters: FilterOptions,
    truth: Annotated[
        bytes | None,
        options.output_option(
            parser=options.path,
            metavar="FILE",
            help="True labels: a .csv, .tsv or .jsonl file, or a folder with one for each label.",
        ),
    ] = None,
    writing: WritingOptions,
    quiet: options.Quiet = False,
    json: options.Json = False,
    model: ServedModelOptions,
) -> None:
    """Put files under labels, by the labels' words or by examples.

    Files are never changed. Labels can be added to .xmp files beside them.

    \b
    qvsearch classify --label "a cat" --label "a dog" --unsure
    qvsearch classify --labels rooms.txt --under ~/Photos/House --multi --json
    qvsearch classify photo.jpg clip.mp4 --label indoors --label outdoors
    qvsearch classify - --labels topics.txt --json < headlines.txt
    qvsearch classify --examples ~/Sorted --under ~/Photos/New --truth true.csv
    qvsearch classify --labels rooms.txt --unsure --sidecar xmp --dry-run
    qvsearch classify --labels rooms.txt --link-to ~/Rooms
    """  # noqa: D301 - a \b keeps the lines of examples apart
    from qvsearch.cli.classify_tables import Report, show
    from qvsearch.tasks.labelling.truth import agreement, read_truth
    from qvsearch.tasks.labelling.writing import write_labels

    labels, chosen = label.parsed()
    names = [each.name for each in labels]
    folders = writing.folders(names)
    inputs = _given(inputs, filters)
    true = None if truth is None else read_truth(truth)
    with interrupts() as stop:
        work = _Work(model, filters, inputs, stop, quiet)
        output.hint_demo(work.fingerprint, quiet)
        classifier = None if label.examples is None else work.fitted(label.examples)
        results = work.results(labels, chosen, classifier)
        if stop():
            output.note("interrupted; nothing is labelled")
            raise typer.Exit(ExitCode.INTERRUPTED)
        good = [each for each in results if not isinstance(each, Skipped)]
        agreed = None if true is None else agreement(good, true, {*names}, cuts=chosen.cuts)
        xmp = writing.sidecar is not None
        written = write_labels(good, folders, sidecars=xmp, dry_run=writing.dry_run, stop=stop)
        interrupted = stop()
    report = Report(results, names, classifier, agreed, written, work.skipped, chosen.cuts)
    show(report, given=bool(inputs), json=json, quiet=quiet)
    if true is not None and agreed is None:
        output.fail("no classified file is in --truth; its paths are relative to its own folder")
    if interrupted:
        output.note("interrupted; not all labels are written, run the same command again")
        raise typer.Exit(ExitCode.INTERRUPTED)
    if report.failed or (true is not None and agreed is None):
        raise typer.Exit(ExitCode.INCOMPLETE)
    if not results:
        output.hint("no file of the library passes the filters", quiet)
        raise typer.Exit(ExitCode.NOTHING_FOUND)


def _given(inputs: list[str] | None, filters: FilterOptions) -> list[str] | None:
    """Return the inputs, those of standard input for `-`; none for the files of the library."""
    if inputs == [options.STDIN.decode()]:
        inputs = [os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer if line.strip()]
        if not inputs:
            raise QvsearchError("standard input has no lines; give a path or words on each")
    if inputs and filters != FilterOptions():
        raise QvsearchError("filters choose files of the library; leave them out with INPUT")
    return inputs


class _Work:
    """The files to classify, and the model that their vectors are of.

    `skipped` are examples that cannot be read.
    """

    def __init__(
        self,
        model: ServedModelOptions,
        filters: FilterOptions,
        inputs: Sequence[str] | None,
        stop: Callable[[], bool],
        quiet: bool,
    ) -> None:
        from qvsearch.library.library import library_folder
        from qvsearch.retrieval.selection import allowed_rows
        from qvsearch.runtime.loading import load_embedder, open_library, query_embedder
        from qvsearch.tasks.labelling.file_vectors import Embedding, LibraryVectors

        self.skipped: list[Skipped] = []
        self._inputs, self._stop = inputs, stop
        self._quiet, self._embedded = quiet, 0
        self._rows: FileVectors | None = None
        choice = model.choice()
        if inputs:
            library, fingerprint = _of_inputs(model, choice)
        else:
            library = open_library(library_folder(model.library), choice)
            fingerprint = library.fingerprint
            self._rows = LibraryVectors(library, allowed_rows(library, filters.filters()))
        load = cache(lambda: load_embedder(fingerprint, choice))
        self._how = Embedding(load, fingerprint, library, stop, self._show)
        # words are embedded once, and from then on no model is loaded for them
        self._words = query_embedder(fingerprint, choice)

    @property
    def fingerprint(self) -> "Fingerprint":
        """What decides the vectors."""
        return self._how.fingerprint

    def fitted(self, folder: bytes) -> "ExampleClassifier | None":
        """Return the classifier of a folder of examples, or None after Ctrl-C."""
        from qvsearch.tasks.labelling.examples import embed_examples, fit

        labels, outcomes = embed_examples(folder, self._how)
        self._clear()
        self.skipped += [each for each in outcomes if isinstance(each, Skipped)]
        return None if self._stop() else fit(outcomes, labels)

    def results(
        self,
        labels: "Sequence[Label]",
        chosen: "ClassifyOptions",
        classifier: "ExampleClassifier | None",
    ) -> "list[Labelled | Skipped]":
        """Return each file with its label, or why it has none; incomplete after Ctrl-C."""
        from qvsearch.tasks.labelling.classify import each_labelled, zero_shot
        from qvsearch.tasks.labelling.examples import by_examples
        from qvsearch.tasks.labelling.file_vectors import embed_sources, find_sources

        def labelled(rows: "FileVectors") -> "list[Labelled]":
            if classifier is None:
                return zero_shot(rows, labels, self._words, chosen)
            return by_examples(rows, classifier, unsure=chosen.unsure)

        if self._stop():
            return []
        if self._rows is not None:
            return [*labelled(self._rows)]
        found = find_sources(self._inputs or ())
        outcomes = list(embed_sources(found, self._how))
        self._clear()
        if self._stop():
            return []
        return each_labelled(outcomes, self._how, labelled)

    def _show(self, segments: int) -> None:
        """Show on a terminal how far embedding is."""
        self._embedded += segments
        output.progress(f"embedded {output.counted(self._embedded, 'segment')}", self._quiet)

    def _clear(self) -> None:
        output.progress("", self._quiet)


def _of_inputs(model: ServedModelOptions, choice: "Choice") -> "tuple[Library | None, Fingerprint]":
    """Return what decides the vectors of given inputs, and the library that may have some."""
    from qvsearch.library.library import Library, library_folder
    from qvsearch.library.names import default_folder
    from qvsearch.runtime.loading import task_fingerprint

    folder = None if model.library is None else library_folder(model.library)
    if folder is not None and model.model is not None and not Library.exists(folder):
        folder = None  # the model is enough
    fingerprint = task_fingerprint(folder, choice)
    folder = folder or default_folder()
    library = Library.open(folder) if Library.exists(folder) else None
    return library if library and library.fingerprint == fingerprint else None, fingerprint
