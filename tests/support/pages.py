"""Writes the generated parts of docs: options in `commands.md`, endpoints in `serve.md`, `json.md`.

`python tests/support/pages.py` writes these pages anew, and `test_docs.py` holds them current.
"""

import inspect
import re
from pathlib import Path

import typer

from qvsearch.cli.app import command_line
from qvsearch.records import (
    classify,
    cluster,
    evaluate,
    explanation,
    library,
    published,
    reports,
    roots,
    searches,
    served,
    servers,
    similarity,
)
from qvsearch.tasks import export, vector_files
from qvsearch.web.app import ENDPOINTS

DOCS = Path(__file__).parents[2] / "docs"
# the help, examples and options of a command, between two comments that no reader of the page sees
BLOCK = re.compile(r"(<!-- qvsearch ([a-z -]+) -->\n)(.*?)(<!-- end -->)", re.S)
ENDPOINT_TABLE = re.compile(r"(<!-- endpoints -->\n).*?(<!-- end -->)", re.S)
FIELD = re.compile(r"^([a-z0-9_]+(?:, [a-z0-9_]+)*) \(([^)]+)\): (.*)$")
JSON_HEAD = """\
# JSON

`--json` prints one object a line, in UTF-8. Absent fields are left out. A path whose bytes are not
UTF-8 is in a field with the suffix `_b64` instead, in base64. Fields may be added; those below keep
their names and meanings.

`python tests/support/pages.py` generates this page from the record modules of `qvsearch/records/`.
"""


def command_named(name: str):
    """Return the command of `qvsearch NAME`; the name may be of two words."""
    command = command_line()
    for word in name.split():
        command = command.commands[word]
    return command


def command_block(name: str) -> str:
    """Return the help of a command as Markdown: text, examples, and a table for each group."""
    command = command_named(name)
    parts = []
    for paragraph in inspect.cleandoc(command.help).split("\n\n"):
        if paragraph.startswith("\b\n"):
            lines = "\n".join(f"$ {line}" for line in paragraph.splitlines()[1:])
            parts.append(f"```console\n{lines}\n```")
        else:
            parts.append(paragraph)
    context = typer.Context(command, info_name=name)
    for group, rows in getattr(command, "help_records", lambda _: {})(context).items():
        table = [f"| {group} | |", "|---|---|"]
        for names, text in rows:
            if "--help" not in names:
                names, text = names.replace("|", r"\|"), " ".join(text.replace("*", r"\*").split())
                table.append(f"| `{names}` | {text} |")
        if len(table) > 2:
            parts.append("\n".join(table))
    return "\n\n".join(parts) + "\n"


def commands_page(text: str) -> str:
    """Return `commands.md` with its blocks written anew; the rest stays."""
    return BLOCK.sub(lambda block: block[1] + command_block(block[2]) + block[4], text)


def fields_of(function) -> dict[str, tuple[str, str]]:
    """Return the type and the meaning of each line of fields in the docstring of a record."""
    fields, names = {}, None
    for line in (inspect.getdoc(function) or "").splitlines()[1:]:
        if match := FIELD.match(line):
            names = match[1]
            fields[names] = (match[2], match[3])
        elif names is not None:
            fields[names] = (fields[names][0], f"{fields[names][1]} {line.strip()}".rstrip())
    return fields


def names_of(function) -> set[str]:
    """Return the names of all fields that the docstring of a record describes."""
    return {name for names in fields_of(function) for name in names.split(", ")}


def record_functions():
    """Yield the functions of records with described fields, in the order of the page."""
    for module in (
        *(
            library,
            explanation,
            roots,
            published,
            searches,
            reports,
            vector_files,
            export,
            similarity,
            classify,
        ),
        *(evaluate, cluster, servers, served),
    ):
        functions = filter(inspect.isfunction, vars(module).values())
        for function in functions:
            if function.__module__ == module.__name__ and fields_of(function):
                yield function


def json_page() -> str:
    """Return `json.md`."""
    parts = [JSON_HEAD]
    for function in record_functions():
        summary = inspect.getdoc(function).splitlines()[0].removeprefix("Return ").rstrip(".")
        heading, _, rest = re.sub("^(an?|one of|the) ", "", summary).partition("; ")
        heading, _, more = heading.partition(", ")
        note = "; ".join(filter(None, [more, rest]))
        parts.append(f"## {heading[0].upper()}{heading[1:]}\n")
        if note:
            parts.append(f"{note[0].upper()}{note[1:]}.\n")
        rows = [
            "| {} | {} | {} |".format(
                ", ".join(f"`{name}`" for name in names.split(", ")),
                kind,
                meaning.replace("|", r"\|"),
            )
            for names, (kind, meaning) in fields_of(function).items()
        ]
        parts.append("\n".join(["| field | type | meaning |", "|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def serve_page(text: str) -> str:
    """Return `serve.md` with its table of endpoints written anew; the rest stays."""
    rows = []
    for each in ENDPOINTS:
        parameters = " ".join(f"`{name}`" for name in sorted(each.parameters))
        rows.append(f"| `{each.method} {each.path}` | {parameters} | {each.text} |")
    table = "\n".join(["| endpoint | parameters | answer |", "|---|---|---|", *rows])
    return ENDPOINT_TABLE.sub(lambda block: f"{block[1]}{table}\n{block[2]}", text)


if __name__ == "__main__":
    page = DOCS / "commands.md"
    page.write_text(commands_page(page.read_text("utf-8")), "utf-8")
    (DOCS / "json.md").write_text(json_page(), "utf-8")
    page = DOCS / "serve.md"
    page.write_text(serve_page(page.read_text("utf-8")), "utf-8")
