"""What every command promises to whoever reads its output, whatever the files are called.

Proves for all commands and for hostile names that JSON is JSON with exact paths, that nothing that
is not a terminal gets an escape, that a terminal gets none that a name has made, that readers that
leave and streams that are closed or full are no crash, that help loads nothing, and that with the
model at hand no command, and no process that it starts, asks for a network.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from contextlib import contextmanager, suppress

import pytest
from PIL import Image
from rich.cells import cell_len
from support import hostile
from support.commands import brief_doctor  # noqa: F401 - a fixture
from support.modules import HEAVY, loaded_by
from support.terminal import in_terminal, is_harmless, without_escapes

from qvsearch.cli.app import command_line, main
from qvsearch.models.registry import DEFAULT_MODEL, MODELS

NOTES, PICTURES = hostile.named(b".txt"), hostile.named(b".png")


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny):
    """A library of hostile names, twice each, and of files that fail; and what `index` said."""
    home = os.fsencode(tmp_path_factory.mktemp("world"))
    folder = os.path.join(home, b"media \x1b[2J\n\xff")
    os.mkdir(folder)
    for number, name in enumerate(NOTES):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(f"note {number} about the \u202esea\n")
    for number, name in enumerate(PICTURES):
        with open(os.path.join(folder, name), "wb") as file:
            Image.new("RGB", (64, 64), (number * 15, 0, 90)).save(file, "PNG")
        shutil.copyfile(os.path.join(folder, name), os.path.join(folder, b"2" + name[1:]))
    for name in hostile.named(b".jpg"):
        os.close(os.open(os.path.join(folder, name), os.O_CREAT | os.O_WRONLY))
    library = os.path.join(home, b"library")
    return folder, library, str(tiny)


def commands(world, *, json_only=False):
    """Every command that prints, as one would give it for the library of hostile names."""
    folder, library, _ = map(os.fsdecode, world)
    note = os.path.join(folder, os.fsdecode(NOTES[5]))
    both = [
        ["search", "the sea", "--all"],
        ["search", "the sea", "--all", "--no-dedupe", "-k", "100"],
        ["search", "--image", os.path.join(folder, os.fsdecode(PICTURES[5])), "--all", "--by-kind"],
        ["index", folder],
        ["index", folder, "--dry-run", "--force"],
        ["explain", "the sea", note, "--all", "-k", "100"],
        ["similar", note],
        ["dupes"],
        ["status"],
        ["status", "--fields"],
        ["check"],
        ["doctor"],
        ["models", "list"],
        ["warm", "--stop"],
    ]
    plain = [
        ["search", "the sea", "--all", "--paths"],
        ["models", "verify", "demo"],
        ["search", "--help"],
        ["--version"],
        [],
    ]
    without_library = {"models", "--version"}

    def whole(arguments):
        if not arguments or arguments[0] in without_library or "--help" in arguments:
            return arguments
        return [*arguments, "-l", library]

    if json_only:
        return [[*whole(arguments), "--json"] for arguments in both]
    return [whole(arguments) for arguments in both + plain]


@pytest.fixture(scope="module")
def indexed(world):
    folder, library, tiny = map(os.fsdecode, world)
    code = main(["index", folder, "--model", tiny, "-l", library, "--quiet"])
    assert code == 3, "what is empty is skipped"
    return world


@pytest.fixture
def run(capfdbinary):
    def run(arguments):
        code = main(arguments)
        captured = capfdbinary.readouterr()
        return code, captured.out, captured.err

    return run


def no_constant(text):
    raise AssertionError(f"{text} is no JSON")


def paths_in(record):
    """Every path that a record or a part of it names, as bytes."""
    if isinstance(record, dict):
        if isinstance(record.get("path"), str):
            yield record["path"].encode()
        if "path_b64" in record:
            yield base64.b64decode(record["path_b64"], validate=True)
        record = list(record.values())
    if isinstance(record, list):
        for each in record:
            yield from paths_in(each)


@pytest.mark.usefixtures("brief_doctor")
def test_json_of_every_command_is_a_record_a_line_with_exact_paths(indexed, run):
    folder, _, _ = indexed
    seen = {}
    for arguments in commands(indexed, json_only=True):
        code, output, error = run(arguments)
        assert (arguments, code in (0, 3), error) == (arguments, True, b""), (code, output)
        assert is_harmless(output.decode().replace("\n", "")), arguments
        assert output.endswith(b"\n") or not output
        records = [json.loads(line, parse_constant=no_constant) for line in output.splitlines()]
        assert all(isinstance(record, dict) for record in records)
        seen[arguments[0]] = seen.get(arguments[0], set()) | set(paths_in(records))
    every = {os.path.join(folder, name) for name in os.listdir(folder)}
    found = {path for path in every if os.path.getsize(path)}
    assert len(found) == 3 * len(hostile.NAMES)
    assert seen["search"] == found
    assert seen["dupes"] == {path for path in found if path.endswith(b".png")}
    assert seen["status"] == {folder} | (every - found)
    assert seen["index"] >= every - found
    assert seen["explain"] == {os.path.join(folder, NOTES[5])}
    assert seen["similar"] <= found


@pytest.mark.usefixtures("brief_doctor")
def test_what_is_no_terminal_gets_plain_harmless_text(indexed, run):
    for arguments in commands(indexed):
        code, output, error = run(arguments)
        assert (arguments, code in (0, 3), error) == (arguments, True, b""), (code, output)
        if "--paths" in arguments:  # exact bytes are what it is for
            continue
        lines = output.decode().split("\n")
        assert lines.pop() == ""
        assert all(is_harmless(line) for line in lines), arguments


def test_a_terminal_gets_no_escape_that_a_name_has_made(indexed):
    shown = ("search", "index", "explain", "similar", "dupes", "status")
    asked = [each for each in commands(indexed) if each and each[0] in shown]
    asked = [each for each in asked if not {"--image", "--dry-run", "--no-dedupe"} & {*each}]
    code = "import sys; from qvsearch.cli.app import main\n"
    code += f"for arguments in {asked!r}:\n    assert main(arguments) in (0, 3), arguments"
    shown = without_escapes(in_terminal(code))
    bad = {each for each in shown if unicodedata.category(each) in ("Cc", "Cs") and each != "\n"}
    assert bad == set()
    assert "\u202e" not in shown
    assert "owned" in shown


def test_a_terminal_gets_each_number_of_an_explanation_with_its_spread(indexed):
    folder, library, _ = map(os.fsdecode, indexed)
    note, picture = (os.path.join(folder, os.fsdecode(each[5])) for each in (NOTES, PICTURES))
    words = "people who walk along it with their dogs when the sun goes down"
    query = ["the sea", note, "--not", words, "--like", picture, "--all", "-k", "100"]
    code = "from qvsearch.cli.app import main\n"
    code += f"assert main({['explain', *query, '-l', library]!r}) == 0"
    narrow = without_escapes(in_terminal(code, columns=40))
    shown = without_escapes(in_terminal(code))
    spreads = re.findall(r"\d\.\d{3} ± \d\.\d{3}\b", shown)
    assert len(spreads) == shown.count("±") == 6
    assert words.replace(" ", "") in re.sub(r"[^a-z]", "", shown)
    assert "…" not in narrow, "what does not fit is broken, and not left out"
    # a path is not broken
    assert all(cell_len(each) <= 40 or each.startswith("  /") for each in narrow.splitlines())
    assert all(cell_len(each) <= 80 or each.startswith("  /") for each in shown.splitlines())


@contextmanager
def no_reader():
    """A pipe that nobody reads any more, as a file to write to."""
    ours, theirs = os.pipe()
    os.close(ours)
    printed = open(theirs, "w")  # noqa: SIM115
    yield printed
    with suppress(BrokenPipeError):
        printed.close()


def test_a_reader_that_leaves_is_quiet_and_changes_no_exit_code(indexed, capfd, monkeypatch):
    asked = [*commands(indexed), *commands(indexed, json_only=True)]
    for arguments in [each for each in asked if "doctor" not in each]:  # which takes its time
        with no_reader() as printed, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", printed)
            patch.setattr(sys, "stderr", sys.stderr)  # Typer wraps both once a reader has left
            code = main(arguments)
        assert (arguments, code in (0, 3)) == (arguments, True)
    assert capfd.readouterr() == ("", "")


@pytest.mark.faults
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["models", "list"], ["--version"], ["--help"]])
def test_closed_and_full_streams_are_no_crash(arguments, unbuffered):
    command = " ".join(["exec", sys.executable, "-m", "qvsearch", *arguments])
    for redirection, code in ((">&-", 0), (">&- 2>&- <&-", 0), ("> /dev/full", 2)):
        done = subprocess.run(
            ["sh", "-c", f"{command} {redirection}"],
            capture_output=True,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            check=False,
        )
        assert (redirection, done.returncode) == (redirection, code), done.stderr
        full = b"qvsearch: cannot write to standard output: No space left on device\n"
        assert done.stderr == (full if code == 2 else b"")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_error_that_cannot_be_said_keeps_its_exit_code(tmp_path, unbuffered):
    command = f"exec {sys.executable} -m qvsearch status --library {tmp_path}"
    for redirection in ("2>&-", "2> /dev/full"):
        done = subprocess.run(
            ["sh", "-c", f"{command} {redirection}"],
            capture_output=True,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


def helps(command, words=()):
    """The words of every command and group of commands, each with --help behind them."""
    yield [*words, "--help"]
    for name, each in getattr(command, "commands", {}).items():
        yield from helps(each, (*words, name))


def test_the_help_of_no_command_loads_anything_heavy():
    every = [*helps(command_line()), ["--version"]]
    assert ["models", "pull", "--help"] in every
    code = f"from qvsearch.cli.app import main\nassert not any(map(main, {every!r}))"
    assert not HEAVY & loaded_by(code)


# read by every Python that starts with it on its path, so by the decode processes as well
REFUSING = """
import os, socket, sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        if arguments[0].family == socket.AF_UNIX:
            return
    elif event not in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        return
    with open({log!r}, "a") as log:
        log.write(f"{{event}} {{arguments}}\\n")
    raise OSError("no network here")
sys.addaudithook(refuse)
with open({log!r}, "a") as log:
    log.write("started\\n")
"""


# the speed of this machine is measured for much less than a second
BRIEFLY = """
from functools import partial
from qvsearch.machine import doctor, estimate
doctor.gemm_rate = estimate.gemm_rate = partial(estimate.gemm_rate, seconds=0.02)
"""


@pytest.fixture
def guarded(tmp_path, tiny, monkeypatch):
    """Every Python started from here notes and refuses a network; the default model is on disk."""
    (tmp_path / "site").mkdir()
    log = tmp_path / "log"
    (tmp_path / "site" / "sitecustomize.py").write_text(REFUSING.format(log=str(log)))
    search_path = [str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(search_path))
    commit = MODELS[DEFAULT_MODEL].revision
    model = tmp_path / "hub" / ("models--" + DEFAULT_MODEL.replace("/", "--"))
    shutil.copytree(tiny, model / "snapshots" / commit)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for variable in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "QVSEARCH_MODEL"):
        monkeypatch.delenv(variable, raising=False)
    return log


def test_no_command_asks_for_a_network_once_the_model_is_there(guarded, tmp_path):
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "a.txt").write_text("a note about the sea")
    Image.new("RGB", (64, 64)).save(tmp_path / "media" / "b.png")
    asked = [
        ["index", "media"],
        ["search", "the sea", "--all"],
        ["search", "--image", "media/b.png", "--all"],
        ["explain", "the sea", "media/a.txt", "--all"],
        ["similar", "media/a.txt", "--kind", "image"],
        ["dupes"],
        ["status"],
        ["check"],
        ["doctor"],
        ["index", "media", "--force", "--dry-run"],
        ["remove", "media"],
    ]
    asked = [[*each, "-l", "./library"] for each in asked]
    asked += [["models", "list"], ["models", "verify"], ["warm", "--stop"]]
    code = f"{BRIEFLY}from qvsearch.cli.app import main\nprint([main(each) for each in {asked!r}])"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stderr == ""
    assert set(json.loads(done.stdout.splitlines()[-1])) == {0}, done.stdout
    lines = guarded.read_text().splitlines()
    assert len(lines) > 2, "the decode processes are guarded too"
    assert set(lines) == {"started"}


def test_the_guard_would_notice(guarded):
    code = "import socket\ntry: socket.create_connection(('localhost', 9))\nexcept OSError: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "socket.getaddrinfo" in guarded.read_text()
