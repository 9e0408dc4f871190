"""Plain English: pages, help and messages are free of the worst turns, and sentences are short."""

import ast
import inspect
import re
from pathlib import Path

import pytest
from support import pages

from qvsearch.cli.app import command_line, main

ROOT = Path(__file__).parents[2]
TURNS = {
    "a sentence begins with Of, What or Where": r"(?:^|[.:;] )(?:Of|What|Where) ",
    "a thing knows": r"\b(?:it|that|model|which) knows?\b|\bknows (?:nothing|only|of)\b",
    "is said": r"\b(?:is|are|was|as) said\b",
    "as for e.g.": r"\bas \d+ ?[smh]?\b",
    "else for default": r"[,;] else [a-z]",
    "is no for is not a": r"(?<!there )\b(?:is|are) no (?!longer\b|such\b|more\b)",
    "asked": r"\basked\b|\bwho asks\b|\basks it\b",
    "of one that": r"\b[Oo]f (?:one|those|him) (?:that|who)\b",
    "what there is": r"\bwhat (?:there is|is there|it is with|is kept|comes of)\b",
    "where it says": r"\bwhere (?:it|the file|the system) (?:says?|tells?|gives?)\b",
    "takes it for": r"\b(?:is|are|be) taken for\b|\bmade nothing\b",
    "nobody": r"\b(?:nobody|no one)\b",
}
MOST_WORDS = 25


def prose(text):
    """Yield each sentence of a page, without code, tables, headings and links' targets."""
    text = re.sub(r"```.*?```|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    text = re.sub(r"^(?:#|\|).*$", "\n", text, flags=re.M)
    for block in re.split(r"\n\s*\n|\n(?=- |\d+\. )", text):
        words = " ".join(block.split())
        yield from re.split(r"(?<=[.?!:;]) (?=[A-Z`\[])", words)


def wrong(sentences):
    """The turns that sentences have, each with one of them."""
    return {
        name: sentence
        for name, turn in TURNS.items()
        for sentence in sentences
        if re.search(turn, sentence)
    }


def helps():
    def walk(command):
        yield command.help or ""
        yield from (param.help or "" for param in command.params)
        for inner in getattr(command, "commands", {}).values():
            yield from walk(inner)

    for text in walk(command_line()):
        paragraphs = inspect.cleandoc(text).split("\n\n")
        yield from (" ".join(each.split()) for each in paragraphs if not each.startswith("\b"))


PAGES = [ROOT / "README.md", *sorted(pages.DOCS.glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_plain(page):
    text = page.read_text("utf-8")
    cells = [" ".join(each.split("|")[2:]) for each in text.splitlines() if each.startswith("| ")]
    turns = wrong([*prose(text), *cells])
    assert turns == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sentences_are_short(page):
    long = [each for each in prose(page.read_text("utf-8")) if len(each.split()) > MOST_WORDS]
    assert long == []


def commands(command, path=("qvsearch",)):
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


@pytest.mark.parametrize("path", [path for path, _ in commands(command_line())], ids=" ".join)
def test_help_fits_80_columns(path, capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*path[1:], "--help"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    listed = [line for line in lines[lines.index("Commands:") :]] if "Commands:" in lines else []
    assert [line for line in listed if line.endswith("...")] == []


def messages():
    """Every text that the command line itself passes to an error or prints, in its source."""
    for path in (ROOT / "qvsearch" / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in {"QvsearchError", "fail", "hint", "line", "note", "alert"}:
                parts = [each for argument in node.args for each in ast.walk(argument)]
                texts = [each.value for each in parts if isinstance(each, ast.Constant)]
                yield "".join(text for text in texts if isinstance(text, str))


def test_messages_are_plain():
    assert wrong(list(messages())) == {}
    assert len(list(messages())) > 50


def test_help_is_plain():
    assert wrong(list(helps())) == {}
    assert [each for each in helps() if len(each.split()) > 2 * MOST_WORDS] == []
