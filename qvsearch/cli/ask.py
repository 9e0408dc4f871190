"""The command ask."""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qvsearch.cli import options, output
from qvsearch.cli.commands import Command, SearchCommand, unfolded
from qvsearch.cli.search_options import FilterOptions, RankingOptions, RerankOptions
from qvsearch.cli.server_options import RerankedModelOptions
from qvsearch.cli.update_option import UpdateOptions
from qvsearch.errors import ExitCode, QvsearchError
from qvsearch.tasks.answers.question import TOP, shown_prompt
from qvsearch.types import Detail, Kind

if TYPE_CHECKING:
    from qvsearch.runtime.loading import Choice
    from qvsearch.tasks.answers.ask import Answer, Found
    from qvsearch.tasks.answers.evidence import Evidence, Source
    from qvsearch.tasks.answers.question import Generator
    from qvsearch.types import Skipped

SERVER_VARIABLE = "QVSEARCH_CHAT_SERVER"

asking = typer.Typer(rich_markup_mode=None)
_answer = partial(typer.Option, rich_help_panel="Answer")


def _question(text: str) -> str:
    """Return a question without spaces around it; raises QvsearchError for an empty one."""
    if not text.strip():
        raise QvsearchError("the question is empty; write it in quotes")
    return text.strip()


class AskCommand(SearchCommand):
    """A command with a question, which belongs in quotes."""

    def check(self, values: dict[str, Any], rest: list[str], order: list[Any]) -> None:
        """Refuse several words without quotes."""
        Command.check(self, values, rest, order)
        if rest:
            words = " ".join([values["question"], *rest])
            raise QvsearchError(f'put the question in quotes: qvsearch ask "{words}"')


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """Which model answers, and what it is given."""

    chat_server: Annotated[
        str | None,
        _answer(
            metavar="URL",
            help=f"OpenAI-compatible server that answers (default: {SERVER_VARIABLE}).",
        ),
    ] = None
    chat_model: Annotated[
        str | None, _answer(metavar="NAME", help="Model of the server (default: its first).")
    ] = None
    generator: Annotated[
        str | None,
        _answer(
            metavar="ID-OR-FOLDER",
            help="Model in this process, without a server (default: Qwen/Qwen3-VL-2B-Instruct).",
        ),
    ] = None
    detail: Annotated[
        Detail,
        options.choice("--detail", Detail, "Detail of the pictures (default: low).", "Answer"),
    ] = Detail.LOW
    show_prompt: Annotated[
        bool, _answer("--show-prompt", help="Print what the model would read, and run none.")
    ] = False

    @property
    def server(self) -> str | None:
        """The URL of the server; that of the environment gives way to a --generator."""
        if self.chat_server is None and self.generator is None:
            return os.environ.get(SERVER_VARIABLE) or None
        return self.chat_server

    def load(self, choice: "Choice") -> "Generator":
        """Return the model that answers; raises QvsearchError for a wrong name or URL."""
        if self.chat_server is not None and self.generator is not None:
            raise QvsearchError("--chat-server and --generator are two models; give one")
        if self.server is not None:
            from qvsearch.tasks.answers.chat import KEY_VARIABLE, ChatServer

            return ChatServer(self.server, self.chat_model, os.environ.get(KEY_VARIABLE))
        if self.chat_model is not None:
            raise QvsearchError(
                "--chat-model is a model of a server; add --chat-server URL, or give --generator"
            )
        from qvsearch.models.registry import DEFAULT_GENERATOR
        from qvsearch.tasks.answers.local_generator import LocalGenerator

        name = self.generator or DEFAULT_GENERATOR
        return LocalGenerator(name, choice.device, choice.dtype, choice.hub)


@dataclass(frozen=True, slots=True)
class AskRanking(RankingOptions):
    """The hits that the answer is taken from."""

    top: Annotated[
        int,
        _answer(
            "--top",
            "-k",
            parser=options.number("-k", int, 1),
            metavar="N",
            help=f"Number of files to answer from (default: {TOP}).",
            show_default=False,
        ),
    ] = TOP
    all_: Annotated[
        bool, _answer("--all", help="Answer from the nearest files even if none is relevant.")
    ] = False
    min_relevance: Annotated[
        float | None,
        _answer(
            parser=options.number("--min-relevance", float, 0, 1),
            metavar="P",
            help="Least relevance of a file, 0 to 1 (default: 0.2, if the best has 0.33).",
        ),
    ] = None
    no_dedupe: Annotated[bool, _answer("--no-dedupe", help="Read near-duplicates, too.")] = False


@asking.command(cls=AskCommand)
@unfolded
def ask(
    *,
    question: Annotated[
        str, typer.Argument(metavar="QUESTION", help="The question, in quotes.", parser=_question)
    ],
    answering: AnswerOptions,
    filters: FilterOptions,
    ranking: AskRanking,
    quiet: options.Quiet = False,
    json: options.Json = False,
    reranking: RerankOptions,
    model: RerankedModelOptions,
    fresh: UpdateOptions,
) -> None:
    """Answer a question from your own files, with citations.

    A vision-language model reads the most relevant files and answers only from
    them. If they do not hold the answer, the exit code is 1.

    \b
    qvsearch ask "when is the boiler due for service?"
    qvsearch ask "who came to the party?" --chat-server http://localhost:11434
    qvsearch ask "what did we pay in March?" --kind text --rerank -k 8
    qvsearch ask "which boat is it?" --under ~/Photos --detail high --json
    qvsearch ask "which boat is it?" --show-prompt
    """  # noqa: D301 - a \b keeps the lines of examples apart
    from qvsearch.cli.results import hint_nothing
    from qvsearch.library.library import library_folder
    from qvsearch.records.reports import answer_record
    from qvsearch.retrieval.options import SearchOptions
    from qvsearch.runtime.loading import find_reranker, open_library, query_embedder
    from qvsearch.tasks.answers.ask import Answer, find

    if answering.show_prompt and json:
        raise QvsearchError("--show-prompt prints a text, not JSON; leave out --json")
    wanted = SearchOptions(
        ranking.top,
        filters.filters(),
        ranking.least,
        dedupe=not ranking.no_dedupe,
        rerank=reranking.parsed(),
    )
    choice = model.choice()
    fresh.apply(library_folder(model.library), choice, quiet)
    library = open_library(library_folder(model.library), choice)
    output.hint_demo(library.fingerprint, quiet)
    generator = None if answering.show_prompt else answering.load(choice)
    found = find(
        library,
        question,
        wanted,
        lambda: query_embedder(library.fingerprint, choice),
        find_reranker(reranking.reranker, library.fingerprint, choice) if wanted.rerank else None,
        lambda missed: output.hint(f"not reranked: {_reason(missed)}", quiet),
        detail=answering.detail,
    )
    if not found.evidence.sources:
        hint_nothing([library], wanted, quiet)
        if json:
            output.write_json([answer_record(Answer(found.question))])
        raise typer.Exit(ExitCode.NOTHING_FOUND)
    for each in found.evidence.skipped:
        output.fail(f"not read: {_reason(each)}")
    if generator is None:
        output.stream(shown_prompt(found.prompt))
    else:
        _hint_sources(found.evidence, answering.server, quiet)
        answer = _answered(found, generator, json=json, quiet=quiet)
        if answering.server and answering.chat_model is None:
            output.hint(f"answered by {answer.model}; --chat-model names another model", quiet)
        if not answer.answered:
            raise typer.Exit(ExitCode.NOTHING_FOUND)
    if found.evidence.skipped:
        raise typer.Exit(ExitCode.INCOMPLETE)


def _answered(found: "Found", generator: "Generator", *, json: bool, quiet: bool) -> "Answer":
    """Print the answer as it arrives, and its citations; with `json` one object at its end."""
    from qvsearch.cli.wrapping import Wrapping
    from qvsearch.records.reports import answer_record
    from qvsearch.tasks.answers.ask import respond

    written: list[str] = []
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    wrapping = Wrapping(output.stream, width)

    def write(piece: str) -> None:
        if not written:
            output.progress("", quiet)
        written.append(piece)
        if not json:
            wrapping.add(piece)

    try:
        answer = respond(found, generator, write)
    finally:
        if not written:
            output.progress("", quiet)
        elif not json:
            wrapping.end()
            if not written[-1].endswith("\n"):
                output.line()
    if json:
        output.write_json([answer_record(answer)])
    elif answer.citations:
        _print_citations(answer.citations)
    _print_remarks(answer, quiet)
    return answer


def _print_citations(citations: "Sequence[Source]") -> None:
    """Print an empty line, and the number, path and place of each source that is cited."""
    from rich.text import Text

    from qvsearch.cli.layout import link, new_console, print_parts

    lines = [
        Text(f"[{each.number}] ").append_text(link(each.segment.item.location)).append(_place(each))
        for each in citations
    ]
    output.line()
    print_parts(new_console(), [Text("\n").join(lines)])


def _print_remarks(answer: "Answer", quiet: bool) -> None:
    """Print on standard error what is wrong with an answer."""
    if answer.is_cut:
        output.note("the answer ends at the limit of its length")
    if answer.unknown:
        numbers = ", ".join(f"[{number}]" for number in answer.unknown)
        output.note(f"left out of the citations: {numbers}; there is no such source")
    if not answer.text:
        output.hint("the files do not hold the answer", quiet)
    elif not answer.citations:
        output.note("the answer cites none of its sources; compare it with them:")
        for each in answer.sources:
            path = output.safe_text(each.segment.item.location)
            output.note(f"[{each.number}] {path}{_place(each)}")


def _hint_sources(evidence: "Evidence", server: str | None, quiet: bool) -> None:
    """Tell a person what is read, and where it is sent."""
    if evidence.left_out:
        output.hint(
            f"{output.counted(evidence.left_out, 'source')} left out: the prompt would be too long",
            quiet,
        )
    sources = output.counted(len(evidence.sources), "source")
    output.progress(f"{sources} sent to {server}" if server else f"reading {sources}", quiet)


def _place(source: "Source") -> str:
    """Return the moment or the lines of a source, after a comma."""
    is_part = source.segment.item.kind is not Kind.IMAGE or source.start is not None
    return f", {output.place_text(source)}" if is_part else ""


def _reason(skipped: "Skipped") -> str:
    return f"{output.safe_text(skipped.path)}: {skipped.reason}"
