import re
import shlex
import tomllib
from dataclasses import astuple, replace
from pathlib import Path

import pytest
from support import pages
from support.hits import METADATA

from qvsearch.cli.app import command_line
from qvsearch.cli.search_options import FilterOptions
from qvsearch.errors import ExitCode
from qvsearch.indexing.counts import Event
from qvsearch.models.registry import MODELS
from qvsearch.records import explanation as explanations
from qvsearch.records import library as records
from qvsearch.records import reports
from qvsearch.tasks.export import row_record
from qvsearch.types import KIND_OF_SUFFIX, NO_METADATA, Detail, Kind

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMMANDS = command_line().commands


def section(title):
    """The text below a heading, up to the next one of its level or above."""
    match = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,3}} |\Z)", README, re.M | re.S)
    assert match, f"no page has a section {title!r}"
    return match[2]


def options_of(command):
    names = [(*each.opts, *each.secondary_opts) for each in command.params]
    return {name for each in names for name in each if name[:2] == "--"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_section(name):
    assert re.search(rf"^### `qvsearch {name}\b", README, re.M)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_examples_in_its_help(name):
    assert f"qvsearch {name}" in str(COMMANDS[name].help) or name == "models"


def test_the_first_help_and_the_promises_name_every_server_that_gets_anything():
    options = [each for command in COMMANDS.values() for each in command.params]
    servers = {each.opts[0] for each in options if each.metavar == "URL"} - {"--check"}
    assert "--server" in servers
    for text in (str(command_line().help), section("Promises")):
        assert set(re.findall(r"--[a-z-]+", text)) >= servers


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
    for group in ("models", "libraries", "roots", "searches"):
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


def test_generated_pages_are_current():
    commands = (pages.DOCS / "commands.md").read_text("utf-8")
    assert pages.commands_page(commands) == commands, "run: python tests/support/pages.py"
    assert pages.json_page() == (pages.DOCS / "json.md").read_text("utf-8")
    serve = (pages.DOCS / "serve.md").read_text("utf-8")
    assert pages.serve_page(serve) == serve
    shown = set(re.findall(r"<!-- qvsearch ([a-z -]+) -->", commands))
    groups = {"libraries", "models", "roots", "searches"}
    inner = {f"{group} {name}" for group in groups for name in COMMANDS[group].commands}
    assert shown == (set(COMMANDS) - {"models"}) | inner


def test_every_filter_is_on_its_page():
    page = (pages.DOCS / "filters.md").read_text("utf-8")
    names = {f"--{name}".replace("_", "-") for name in FilterOptions.__dataclass_fields__}
    assert names <= set(re.findall(r"^\| `(--[a-z-]+)", page, re.M) + ["--kind"])


TYPES = {
    "boolean": bool,
    "integer": int,
    "list": list,
    "number": (int, float),
    "object": dict,
    "string": str,
    "two": list,
}


def check_described(function, *samples):
    """Check that a record has exactly the fields of its docstring, each of its type."""
    kinds = {
        name: kind.split(",")[0].split()[0]
        for names, (kind, _) in pages.fields_of(function).items()
        for name in names.split(", ")
    }
    for sample in samples:
        for name, value in sample.items():
            assert isinstance(value, TYPES[kinds[name]]), f"{name} is {value!r}"
    return set(kinds) - set().union(*samples)


def test_the_sample_of_metadata_lacks_nothing():
    assert None not in astuple(METADATA)


def test_every_field_of_a_hit_is_described_with_its_type():
    from support.hits import ITEM, hit, record

    from qvsearch.types import Item, Moment, Snippet

    other = hit(b"/photos/a.mp4", Kind.VIDEO, start=0.0, end=1.5).segment
    full = hit(
        moments=(Moment(0.5, 0.25, other, 0.0, 1.5),),
        start=2.0,
        end=3.0,
        lines=(1, 2),
        section="slide 3",
        snippet="a",
        width=1,
        height=1,
        clip=True,
        metadata=METADATA,
        rerank_score=0.5,
    )
    full = replace(full, duplicates=(Item(b"/a", b"", *ITEM),), gone=True)
    full = replace(full, snippet=Snippet("a b", ((2, 3),)), path_marks=((1, 2),))
    files = ({"saved": "/clips/a.mp4"}, {"copy": "/copies/a.mp4"})
    everything = records.hit_record(full, Path("/lib"), *files)
    files = ({"saved_b64": "L/8="}, {"copy_b64": "L/8="})
    other = records.hit_record(hit(b"/photos/\xff.jpg"), Path("/\udcff"), *files)
    assert record(b"/photos/\xff.jpg")["path_b64"]
    item = replace(full.segment.item, root=b"anna/Photos")
    away = records.hit_record(replace(full, segment=replace(full.segment, item=item)), Path("/lib"))
    assert away["root"] == "anna/Photos"
    assert check_described(records.hit_record, {"query": 1, **everything}, other, away) == set()


def test_every_field_of_an_exported_row_is_described_with_its_type():
    from support.hits import hit

    full = hit(
        **{"start": 2.0, "end": 3.0, "lines": (1, 2), "section": "slide 3", "snippet": "a"},
        **{"width": 1, "height": 1, "clip": True, "metadata": METADATA},
    ).segment
    odd = replace(full, item=replace(full.item, path=b"\xff"))
    rows = map(row_record, (full, odd, replace(full, metadata=NO_METADATA, page=3)))
    assert check_described(row_record, *rows) == set()


def test_every_field_of_an_explanation_is_described_with_its_type():
    from support.explanation import SAMPLE

    explanation = explanations.explanation_record(SAMPLE)
    (segment,) = explanation["segments"]
    (term,) = segment["terms"]
    check_described(explanations.explanation_record, explanation)
    check_described(explanations._segment_record, segment)
    assert check_described(explanations._term_record, term) == set()


def test_every_field_of_what_index_prints_is_described_with_its_type():
    from qvsearch.indexing.pipeline import Summary

    file = Event("indexed", b"/a", Kind.TEXT, segments=1, reason="why")
    planned = Event("planned", b"/\xff", files=1, estimate=1)
    planned = reports.event_record(planned), reports.event_record(replace(planned, path=None))
    assert check_described(reports.event_record, reports.event_record(file), *planned) == set()
    lists = {"unreachable": (), "kept": (), "failures": (), "left_aside": {}, "interrupted": True}
    summary = Summary(**dict.fromkeys(Summary.__dataclass_fields__, 0) | lists)
    assert check_described(reports.summary_record, reports.summary_record(summary)) == set()


def test_every_field_of_other_records_is_described():
    from qvsearch.indexing.plan import Plan
    from qvsearch.library.libraries import Shelved
    from qvsearch.machine.bench import Figure
    from qvsearch.machine.doctor import Fact
    from qvsearch.machine.estimate import Estimate
    from qvsearch.machine.gguf_files import GgufState
    from qvsearch.models.registry import ModelState
    from qvsearch.retrieval.recall import Recall

    for function, record in (
        (reports.figure_record, Figure),
        (reports.fact_record, Fact),
        (reports.model_record, ModelState),
        (records.library_record, Shelved),
        (records.recall_record, Recall),
    ):
        assert pages.names_of(function) == set(record.__dataclass_fields__)
    gguf = GgufState(Path("/a"), Path("/b"), "Q8_0", 1, 1, 1, 1, 0.5, measured=True)
    odd = GgufState(Path("/\udcff"), Path("/\udcff"), problem="why")
    described = [reports.gguf_record(each) for each in (gguf, odd, replace(odd, problem=None))]
    assert check_described(reports.gguf_record, *described) == set()
    lists = {"unreachable": (), "kept": (), "skipped": (), "to_index": {}, "left_aside": {}}
    lists["by_kind"] = {}
    plan = Plan(**dict.fromkeys(Plan.__dataclass_fields__, 0) | lists)
    record = reports.plan_record(plan, Estimate(2.0, True, 1.0))
    assert check_described(reports.plan_record, record) == set()


def test_every_field_of_an_answer_is_described_with_its_type():
    from support.hits import hit

    from qvsearch.tasks.answers.ask import Answer
    from qvsearch.tasks.answers.evidence import Source
    from qvsearch.types import Skipped

    moment = Source(1, hit(b"/photos/a.mp4", Kind.VIDEO).segment, 0.5, 1.0, 2.5)
    passage = Source(2, hit(b"/photos/\xff.md", Kind.TEXT, lines=(1, 2)).segment, 0.5)
    page = Source(3, hit(b"/photos/a.pdf", Kind.DOCUMENT, page=4).segment, 0.5)
    slide = Source(4, hit(b"/photos/a.pptx", Kind.TEXT, section="slide 3").segment, 0.5)
    sources = (moment, passage, page, slide)
    answer = Answer("why", "so [1]", sources, (3,), (), (Skipped(b"/b", "gone"),), True, "m", 1, 2)
    record = reports.answer_record(answer)
    assert check_described(reports.answer_record, record) == set()
    assert check_described(reports._citation_record, *record["citations"]) == set()


def test_every_field_of_a_table_is_described_with_its_type():
    from support.colours import FINGERPRINT

    from qvsearch.published.mapped_roots import PublishedRoot
    from qvsearch.published.publishers import Publisher
    from qvsearch.published.status import TableStatus
    from qvsearch.records import published

    here = PublishedRoot("anna/Photos", 1, b"/photos")
    counts, publisher = {Kind.IMAGE: 1}, Publisher("anna", "id", token="t")
    status = TableStatus(
        Path("/a.lance"), FINGERPRINT, 1, counts, counts, (publisher,), (here,), True, 0
    )
    record = published.table_record(status)
    assert check_described(published.table_record, record) == {"library_b64"}
    assert record["publishers"][0]["whole"]
    away = published.root_record(PublishedRoot("anna/Photos", 1, b"/\xff"))
    assert check_described(published.root_record, *record["roots"], away) == set()


def test_every_field_of_repeats_is_described_with_its_type():
    from support.near_duplicates import SHOT, sized

    from qvsearch.duplicates.groups import Group, Member
    from qvsearch.duplicates.rule import Reason
    from qvsearch.retrieval.similar import Similar

    rows = [sized("a", 1, metadata=SHOT), sized("b", 1, metadata=SHOT)]
    odd = replace(rows[1], item=replace(rows[1].item, path=b"\xff"))
    away = replace(rows[1], item=replace(rows[1].item, root=b"anna/Photos"))
    members = Member(rows[0], None, False, (b"/c",)), Member(odd, Reason.COPY, True)
    group = records.group_record(1, Group(Kind.IMAGE, Reason.COPY, 1, members))
    assert check_described(records.group_record, group) == set()
    assert check_described(records._member_record, *group["items"]) == set()
    place = {"start": 1.0, "end": 2.0, "lines": (1, 2), "width": 1, "height": 1}
    similar = [
        records.similar_record(
            Similar(1, 0.5, replace(each, **place), Reason.COPY, relevance=0.5), library
        )
        for each, library in ((rows[0], Path("/a")), (odd, Path("/\udcff")), (away, Path("/a")))
    ]
    assert check_described(records.similar_record, *similar) == set()


def test_every_field_of_a_library_and_its_server_is_described_with_its_type(tmp_path):
    from support.colours import FINGERPRINT

    from qvsearch.indexing.fields import Field
    from qvsearch.indexing.status import library_status
    from qvsearch.library.library import Library
    from qvsearch.library.repair import Problem, Repair
    from qvsearch.runtime.client import ServerKey
    from qvsearch.runtime.manager import Running

    library = Library.create(tmp_path / "library", FINGERPRINT)
    kept = ServerKey("embedder", "1", "cpu", "float32")
    warm = reports.warm_record(Running(tmp_path, 1, "demo", kept, memory=1))
    assert check_described(reports.warm_record, {"state": "running", **warm}) == set()
    status = records.status_record(library_status(library), ())
    assert check_described(records.status_record, status) == {"library_b64"}
    fields = [Field("kind", ("--kind",), 1, {"image": 1}), Field("size", (), 1, {}, "a", "b")]
    record = records.fields_record(library, fields)
    assert check_described(records.fields_record, record) == {"library_b64"}
    described = pages.names_of(records._field_record)
    assert set().union(*record["fields"].values()) == described
    repaired = Repair(problems=(Problem("a", "b"),), kept=1, lost=1)
    check = records.check_record(repaired.problems, repaired)
    assert check_described(records.check_record, check) == set()


def test_every_field_of_roots_and_notices_is_described_with_its_type():
    from qvsearch.freshness.followed import Notice
    from qvsearch.indexing.roots import Root
    from qvsearch.library.moving import Match
    from qvsearch.library.rules import Rules
    from qvsearch.records import roots

    rules = Rules(("a",), ("b",), (Kind.TEXT,), True, True)
    full = roots.root_record(Root(b"/a", True, {Kind.TEXT: 1}, rules, "ext4"), 1.0)
    odd = roots.root_record(Root(b"/\xff", False, {}, Rules(), None), None)
    assert check_described(roots.root_record, full, odd) == set()
    moved = roots.move_record({b"/a": b"/b"}, Match(2, 1))
    assert check_described(roots.move_record, moved) == set()
    notices = [Notice("away", b"/a"), Notice("retry", b"/\xff", "why")]
    assert check_described(roots.notice_record, *map(roots.notice_record, notices)) == set()


def test_the_exit_codes_are_those_of_the_tables():
    commands = (pages.DOCS / "commands.md").read_text("utf-8").split("## Exit codes")[1]
    codes = {int(code) for code in re.findall(r"\| (\d+) \|", commands)}
    assert codes == {int(code) for code in ExitCode}
    readme = PAGES[0].read_text("utf-8").split("## Exit codes")[1].split("##")[0]
    assert {int(code) for code in re.findall(r"\b\d+\b", readme)} == codes


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


def test_ci_runs_every_group_but_those_that_need_more():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    left_out = set(re.findall(r"not (\w+)", options["addopts"]))
    script = (ROOT / ".ci" / "run").read_text()
    run = set(re.findall(r"\w+", " ".join(re.findall(r"^.*pytest .*-m (.*)$", script, re.M))))
    assert left_out - {"weights", "gpu", "soak", "mteb"} == left_out & run - {"soak"}


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
    # @NAME is looked up in a library
    name, *arguments = (word.removeprefix("@") for word in words)
    command = COMMANDS[name]
    if name == "models":
        command, arguments = command.commands[arguments[0]], arguments[1:]
    command.make_context(name, arguments)
