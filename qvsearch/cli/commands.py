"""How a command line is read and its help is laid out."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from functools import wraps
from inspect import Parameter, signature
from typing import Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from qvsearch.choices import Pictures, RerankScope
from qvsearch.cli.saving import recall
from qvsearch.errors import QvsearchError

# Typer's classes of contexts, formatters and options are private: Any stands for them here.


# options that may stand without a value: whether the next word is one, and the value otherwise
OPTIONAL: dict[str, tuple[Callable[[str], bool], str]] = {
    "--rerank": (lambda word: word in list(RerankScope), RerankScope.AUTO),
    "--show": (lambda word: word in list(Pictures), Pictures.AUTO),
    "--open": (str.isdecimal, "1"),
}


class Command(TyperCommand):
    """One command. It refuses an option of one value that is given twice.

    It reads values with the parsers of `options.py`. Typer would import pydantic for it, which
    takes a quarter of the time of a cached query.
    """

    grouped = False  # whether the help shows options in groups

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Read a command line into `ctx.params`; raise QvsearchError for a mistake."""
        _fill_optional(self.get_params(ctx), args)
        values, rest, order = _read(self, ctx, args)
        if values.keys() & _TYPERS:
            return super().parse_args(ctx, args)
        self.check(values, rest, order)
        self.complete(ctx, values)
        _set_params(self, ctx, values)
        if rest:
            raise QvsearchError(f"unexpected argument {rest[0]!r}; {see(ctx)}")
        return []

    def check(self, values: dict[str, Any], rest: list[str], order: list[Any]) -> None:
        """Raise QvsearchError for options, in the order given, that contradict each other."""
        for option, count in Counter(order).items():
            if count > 1 and not (option.multiple or option.is_flag):
                name = max(option.opts, key=len)
                raise QvsearchError(f"{name} is given twice; give it once")

    def complete(self, ctx: typer.Context, values: dict[str, Any]) -> None:
        """Add values that the command line refers to; here there are none."""

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Return the parts of the usage line: `PATH...`, not `{PATH}...`."""
        return [
            piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)
        ]

    def format_options(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]  # noqa: ANN401
        """Write the arguments, and the options in their groups, in plain text."""
        for group, records in self.help_records(ctx).items():
            with formatter.section(group):
                formatter.write_dl(records)

    def help_records(self, ctx: typer.Context) -> dict[str, list[tuple[str, str]]]:
        """Return the groups of the help, each with names and descriptions."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            name, text = record[0], record[1].removesuffix("[required]").rstrip()
            if param.param_type_name == "argument":
                name = name.partition(" <")[0] + ("..." if param.nargs == -1 else "")
                groups.setdefault("Arguments", []).append((name, text))
            else:
                panel = getattr(param, "rich_help_panel", None) if self.grouped else None
                groups.setdefault(panel or "Options", []).append((name, text))
        return groups


class GroupedCommand(Command):
    """A command whose help shows its options in groups."""

    grouped = True


class SearchCommand(GroupedCommand):
    """A command with a query, which belongs in quotes."""

    def complete(self, ctx: typer.Context, values: dict[str, Any]) -> None:
        """Add the options of a saved search, if the query is @NAME; `ctx.obj` is then its name."""
        ctx.obj = recall({param.name for param in self.params}, values)

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


class Group(TyperGroup):
    """Commands of one name, or all of them; its own options are read like those of a command."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Read the options before a subcommand; raise QvsearchError for a mistake."""
        values, rest, _order = _read(self, ctx, args)
        if values.keys() & _TYPERS or (self.no_args_is_help and not args):
            return super().parse_args(ctx, args)
        _set_params(self, ctx, values)
        ctx._protected_args, ctx.args = rest[:1], rest[1:]  # noqa: SLF001 - as Typer does
        return ctx.args


def _fill_optional(params: Iterable[Any], args: list[str]) -> None:
    """Write the value behind each option of a command that stands without one."""
    names = OPTIONAL.keys() & {
        name for param in params if not getattr(param, "is_flag", True) for name in param.opts
    }
    end = args.index("--") if "--" in args else len(args)
    for place, name in enumerate(args[:end]):
        if name in names:
            is_value, default = OPTIONAL[name]
            if not any(map(is_value, args[place + 1 : place + 2])):
                args[place] = f"{name}={default}"


def see(ctx: typer.Context) -> str:
    """Return the remedy that leads to the help of a command."""
    return f"see: {ctx.command_path} --help"


# what Typer reads itself: it then exits, or completes a line, which may have mistakes
_TYPERS = {"help", "install_completion", "show_completion", "completed"}


def _read(
    command: TyperCommand | TyperGroup, ctx: typer.Context, args: list[str]
) -> tuple[dict[str, Any], list[str], list[Any]]:
    """Return the values of a command line, the rest of it, and the options in their order."""
    if ctx.resilient_parsing:  # the Tab key
        return {"completed": True}, [], []
    try:
        return command.make_parser(ctx).parse_args(args=list(args))
    except typer.TyperException as error:
        if getattr(error, "ctx", ctx) is None:
            error.ctx = ctx  # type: ignore[attr-defined]  # its help is shown as a remedy
        raise


def _set_params(
    command: TyperCommand | TyperGroup, ctx: typer.Context, values: dict[str, Any]
) -> None:
    """Set the parameters of a context, each read by its own parser."""
    parsers = _parsers(command.callback)
    for param in filter(lambda param: param.expose_value, command.get_params(ctx)):
        value, _source = param.consume_value(ctx, values)
        if param.required and param.value_is_missing(value):
            name = next((each for each in param.opts if each.startswith("-")), param.metavar)
            raise QvsearchError(f"{name} is missing; {see(ctx)}")
        ctx.params[param.name] = _parsed(value, parsers.get(param.name))


def _parsers(callback: Callable[..., Any] | None) -> dict[str, Callable[[str], object]]:
    """Return the `parser` of each option that has one, from the signature of its command."""
    if callback is None:
        return {}
    return {
        name: extra.parser
        for name, hint in get_type_hints(callback, include_extras=True).items()
        for extra in getattr(hint, "__metadata__", ())
        if extra.parser is not None
    }


def _parsed(value: Any, parser: Callable[[str], object] | None) -> object:  # noqa: ANN401
    """Return a value from the command line or the environment as its parser reads it."""
    if parser is None:
        return value
    if isinstance(value, str):
        return parser(value)
    return [parser(each) for each in value] if isinstance(value, list | tuple) else value


def unfolded(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command with an option for each field of the dataclasses that `function` takes.

    Commands that share options take the same dataclass, whose fields are declared once. Typer
    reads options only from a signature, hence this one.
    """
    records: dict[str, Any] = {}
    parameters = []
    for parameter in signature(function, eval_str=True).parameters.values():
        record = parameter.annotation
        if not is_dataclass(record):
            parameters.append(parameter)
            continue
        records[parameter.name] = record
        hints = get_type_hints(record, include_extras=True)
        parameters += [
            Parameter(
                field.name,
                Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=hints[field.name],
            )
            for field in fields(record)
        ]

    @wraps(function)
    def command(**values: object) -> None:  # Typer passes exactly the parameters below
        for name, record in records.items():
            values[name] = record(**{each.name: values.pop(each.name) for each in fields(record)})
        function(**values)

    whole = signature(function).replace(parameters=parameters)
    command.__signature__ = whole  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command
