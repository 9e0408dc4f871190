import re
import shlex
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from typer.main import get_command

from qvsearch.cli import records
from qvsearch.cli.app import app
from qvsearch.cli.records import explanation_record
from qvsearch.models.registry import MODELS
from qvsearch.types import KIND_OF_SUFFIX, Detail, Kind

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMMANDS = get_command(app).commands


def section(title):
    """The text below a heading, up to the next one of its level or above."""
    match = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,3}} |\Z)", README, re.M | re.S)
    assert match, f"no page has a section {title!r}"
    return match[2]


def options_of(command):
    return {name for parameter in command.params for name in parameter.opts if name[:2] == "--"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_section(name):
    assert re.search(rf"^### `qvsearch {name}\b", README, re.M)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_examples_in_its_help(name):
    assert f"qvsearch {name}" in str(COMMANDS[name].help) or name == "models"


@pytest.mark.parametrize("name", ["index", "search", "explain", "status", "check", "warm", "bench"])
def test_every_option_is_described(name):
    undescribed = {
        option
        for option in options_of(COMMANDS[name])
        if not re.search(f"`[^`]*{option}\\b", README)
    }
    assert undescribed == set()


def test_every_option_that_is_described_exists():
    known = set().union(*(options_of(command) for command in COMMANDS.values()), {"--help"})
    for group in ("models", "libraries"):
        for command in COMMANDS[group].commands.values():
            known |= options_of(command)
    described = PAGES[0].read_text("utf-8") + (ROOT / "docs/commands.md").read_text("utf-8")
    assert set(re.findall(r"`(--[a-z0-9-]+)", described)) <= known


def test_every_kind_and_suffix_is_in_the_table_of_formats():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section("Formats"), re.M))
    assert set(rows) == set(Kind)
    for kind, suffixes in rows.items():
        expected = {suffix for suffix, of in KIND_OF_SUFFIX.items() if of == kind}
        assert set(re.findall(r"`(\.\w+)`", suffixes)) == expected


def test_every_extra_is_listed():
    listed = re.findall(r"^\| `\[(\w+)\]` \|", section("Install"), re.M)
    assert set(listed) == set(PROJECT["optional-dependencies"])


def test_every_model_and_detail_is_listed():
    assert set(MODELS) <= set(re.findall(r"`(Qwen/[^`]+)` \|", section("Models")))
    tokens = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", section("Models"), re.M))
    assert {Detail(name): int(count) * 1024 for name, count in tokens.items()} == {
        detail: detail.max_pixels for detail in Detail
    }


def fields_in(text):
    """The names in the first column of the tables of fields, with whether each has a type."""
    rows = re.findall(r"^\| (`.*?`) \| [a-z]", text, re.M)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_every_field_of_a_hit_is_in_the_table_with_its_type():
    from test_output import ITEM, Item, Kind, Metadata, Moment, hit, record

    other = hit(b"/photos/a.mp4", Kind.VIDEO, start=0.0, end=1.5).segment
    metadata = Metadata("2023-07-04", "Canon", 1.0, 2.0, 3.0, True, taken_from="name")
    full = hit(
        moments=(Moment(0.5, 0.25, other, 0.0, 1.5),),
        start=2.0,
        end=3.0,
        lines=(1, 2),
        snippet="a",
        width=1,
        height=1,
        clip=True,
        metadata=metadata,
        rerank_score=0.5,
    )
    full = replace(full, duplicates=(Item(b"/a", b"", *ITEM),), gone=True)
    everything = records.hit_record(full, Path("/lib"), Path("/clips/a.mp4"))
    described = fields_in(section("`qvsearch search [QUERY]`"))
    assert {"query", *everything, *record(b"/photos/\xff.jpg")} == described


def test_every_field_of_an_explanation_is_in_the_table():
    from test_explain import SAMPLE

    text = section("`qvsearch explain QUERY FILE`")
    said = explanation_record(SAMPLE)
    (segment,) = said["segments"]
    (term,) = segment["terms"]
    described = set(re.findall(r"`(\w+)`", text))
    assert {*said, *segment, *term} <= described
    assert fields_in(text) - {"path_b64", "folded_into_b64"} <= {*said, *segment}


def test_every_field_of_what_index_says_is_described():
    from qvsearch.cli.records import event_record, summary_record
    from qvsearch.indexing.pipeline import Summary
    from qvsearch.types import Event

    file = Event("indexed", b"/a", Kind.TEXT, segments=1, reason="why")
    planned = Event("planned", files=1, estimate=1)
    summary = Summary(
        **dict.fromkeys(Summary.__dataclass_fields__, 0)
        | {
            "unreachable": (),
            "kept": (),
            "failures": (),
            "left_aside": {},
        }
    )
    text = section("`qvsearch index PATH...`")
    described = {
        name
        for row in re.findall(r"^\| (`.*?) \|", text, re.M)
        for name in re.findall(r"`(\w+)`", row)
    }
    fields = {*event_record(file), *event_record(planned), *summary_record(summary)}
    assert fields <= described


def test_every_field_of_a_figure_is_in_the_table_with_its_type():
    from qvsearch.machine.bench import Figure

    assert fields_in(section("`qvsearch bench`")) == set(Figure.__dataclass_fields__)


def test_the_file_tree_is_the_tree():
    block = re.search(r"```\nqvsearch/\n(.*?)```", README, re.S)[1]
    listed, folders = set(), []
    for line in filter(None, block.splitlines()):
        depth, name = (len(line) - len(line.lstrip())) // 2, line.split()[0]
        folders[depth - 1 :] = [name]
        if not name.endswith("/"):
            listed.add("".join(folders))
    package = ROOT / "qvsearch"
    actual = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if path.name != "__init__.py"
    }
    assert listed == actual


def test_the_readme_is_short_and_its_links_lead_somewhere():
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) <= 250
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]*)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_ci_runs_the_test_command():
    command = re.search(r"^\$ (.*)$", section("Tests"), re.M)[1]
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert set(command.split(" && ")) <= set(script)


def test_the_version_of_python_is_the_one_that_is_needed():
    assert f"Python {PROJECT['requires-python'].removeprefix('>=')} or later" in README


def examples():
    """Every command line that a page or a help text shows, without what follows a pipe."""
    lines = re.findall(r"^\$ (qvsearch .*)$", README, re.M)
    for command in [*COMMANDS.values(), *COMMANDS["models"].commands.values()]:
        lines += re.findall(r"^\s*(qvsearch (?!\[).*)$", str(command.help), re.M)
    for line in lines:
        words = shlex.split(line, comments=True)
        ends = [place for place, word in enumerate(words) if word in {"|", "&&", ">"}]
        yield words[1 : ends[0] if ends else None]


@pytest.mark.parametrize("words", list(examples()), ids=" ".join)
def test_every_example_is_a_command_line(words):
    name, *arguments = words
    command = COMMANDS[name]
    if name == "models":
        command, arguments = command.commands[arguments[0]], arguments[1:]
    command.make_context(name, arguments)
