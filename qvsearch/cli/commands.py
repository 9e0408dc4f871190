"""How the command line is read and its help is laid out."""

import os
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from qvsearch.errors import QvsearchError
from qvsearch.types import RerankScope

if TYPE_CHECKING:
    from collections.abc import Callable

# Typer hides the classes that it calls these with: typer.Context is what it makes of a context,
# and Any stands for what has no public name.


class Commands(TyperGroup):
    """The commands; what stands before one is read without what only some commands need."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Read the options of all commands."""
        _spare(self, ctx)
        return super().parse_args(ctx, args)


class Command(TyperCommand):
    """One command; it refuses an option of one value that is given twice."""

    grouped = False  # whether the help shows options in groups

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Read the options and arguments of this command."""
        _spare(self, ctx)
        if not ctx.resilient_parsing:
            try:
                given = self.make_parser(ctx).parse_args(args=list(args))
            except typer.TyperException as error:
                if getattr(error, "ctx", ctx) is None:
                    error.ctx = ctx  # type: ignore[attr-defined]  # whose help the user is sent to
                raise
            self.check(*given)
        return super().parse_args(ctx, args)

    def check(self, values: dict[str, Any], rest: list[str], order: list[Any]) -> None:
        """Raise QvsearchError for options, in the order given, that cannot be meant."""
        for option, count in Counter(order).items():
            if count > 1 and not (option.multiple or option.is_flag):
                name = max(option.opts, key=len)
                raise QvsearchError(f"{name} is given twice; give it once")

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Return the parts of the usage line: `PATH...`, not `{PATH}...`."""
        return [
            piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)
        ]

    def format_options(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]  # noqa: ANN401
        """Write the arguments, and the options in the groups that they name, in plain text."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            if param.param_type_name == "argument":
                name = record[0].partition(" <")[0] + ("..." if param.nargs == -1 else "")
                groups.setdefault("Arguments", []).append((name, record[1]))
            else:
                panel = getattr(param, "rich_help_panel", None) if self.grouped else None
                groups.setdefault(panel or "Options", []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)


class SearchCommand(Command):
    """A command with a query, which belongs in quotes; `--rerank` may stand without a value."""

    grouped = True

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Write the default scope behind a `--rerank` that none follows."""
        options = args[: args.index("--")] if "--" in args else args
        for place, option in enumerate(options):
            if option == "--rerank" and args[place + 1 : place + 2] not in [
                [s] for s in RerankScope
            ]:
                args[place] = f"--rerank={RerankScope.AUTO}"
        return super().parse_args(ctx, args)

    def check(self, values: dict[str, Any], rest: list[str], order: list[Any]) -> None:
        """Refuse several words without quotes, and several files."""
        super().check(values, rest, order)
        if not rest:
            return
        words = [values["query"], *([values["file"]] if "file" in values else []), *rest]
        end = [words.pop()] if "file" in values else []
        if all(map(os.path.lexists, words)):
            raise QvsearchError(
                f"the query is one file; give the others with --like: qvsearch {self.name}"
                f" {words[0]} --like {words[1]}"
            )
        line = " ".join(["qvsearch", str(self.name), f'"{" ".join(words)}"', *end])
        raise QvsearchError(f"put the query in quotes: {line}")


def _spare(command: TyperCommand | TyperGroup, context: typer.Context) -> None:
    """Let words, and what was not given, be taken as they are.

    Typer reads them with pydantic, too, and the import of that is a quarter of the time that a
    query takes whose model is loaded or whose vector is known.
    """
    hints = get_type_hints(command.callback)
    for param in command.get_params(context):
        if not param.required:
            is_text = hints.get(param.name) in (str | None, list[str] | None)
            read = partial(_read, param.process_value, param.default, is_text)
            param.process_value = read  # type: ignore[method-assign]  # of this object alone


def _read(
    process: "Callable[[Any, Any], object]",
    default: object,
    is_text: bool,
    context: object,
    value: object,
) -> object:
    return value if is_text or value is default else process(context, value)
