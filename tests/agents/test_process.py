"""The process of `qvsearch mcp`: its two streams, its end, and calls beside each other."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
from support import agent as agents
from support import pages
from support.modules import HEAVY, loaded_by
from support.processes import children, linux

from qvsearch.cli.app import main
from qvsearch.mcp import answers
from qvsearch.mcp.arguments import QueryArguments, SearchArguments
from qvsearch.mcp.reading import MOST_BYTES, _jpegs
from qvsearch.mcp.schemas import schema_of
from qvsearch.mcp.tools import in_arguments
from qvsearch.records import explanation
from qvsearch.records import library as records

GREETING = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "raw", "version": "1"},
    },
}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    for number in range(3):
        (folder / f"{number}.txt").write_text(f"A note about star {number}.")
    library = folder / "library"
    assert main(["index", str(folder), "-l", str(library), "--model", "demo", "-q"]) == 0
    return library


class Raw:
    """The server as a process, spoken to line by line."""

    def __init__(self, folder, *arguments, **variables):
        started = agents.parameters(folder, *arguments, **variables)
        self.process = subprocess.Popen(
            [started.command, *started.args],
            env=started.env | {"PATH": os.environ["PATH"]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        for each in (self.process.stdin, self.process.stdout, self.process.stderr):
            with suppress(BrokenPipeError):  # unsent messages
                each.close()

    def send(self, *messages):
        for each in messages:
            line = each if isinstance(each, bytes) else json.dumps(each).encode()
            self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def receive(self, number):
        """The answer to a request; every line until then is a message of the protocol."""
        while line := self.process.stdout.readline():
            message = json.loads(line)
            assert message["jsonrpc"] == "2.0"
            if message.get("id") == number:
                return message
        raise AssertionError(self.process.stderr.read().decode())

    def greet(self):
        self.send(GREETING)
        assert self.receive(0)["result"]["serverInfo"]["name"] == "qvsearch"
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})


def call(number, tool, **arguments):
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def ping(number):
    return {"jsonrpc": "2.0", "id": number, "method": "ping"}


def test_nothing_heavy_is_loaded_before_the_first_call():
    serve = (
        "from qvsearch.mcp import server; from qvsearch.retrieval.shelf import Shelf; Shelf([]);"
        " import qvsearch.cli.mcp"
    )
    assert not HEAVY & loaded_by(serve)
    assert "mcp" not in loaded_by("import qvsearch.mcp, qvsearch.cli.mcp")


NOISE = """
import os, sys

def noise(event, arguments):
    if event == "import" and arguments[0] in ("faiss", "torch"):
        print(f"loading {arguments[0]}", flush=True)
        os.write(1, b"from C\\n")

sys.addaudithook(noise)
"""


def test_only_the_protocol_is_written_to_standard_output(library, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(NOISE)
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    with Raw(tmp_path, "-l", library, PYTHONPATH=path) as raw:
        raw.greet()
        raw.send(b"no JSON", b"{}", b"[]", b"\xff", call(1, "search", query="a star"))
        assert raw.receive(1)["result"]["structuredContent"]["hits"]
        raw.send(call(2, "none"), {"jsonrpc": "2.0", "id": 3, "method": "none"}, ping(4))
        assert "there is no tool none" in raw.receive(2)["error"]["message"]
        assert "error" in raw.receive(3)
        assert raw.receive(4)["result"] == {}
        rest, errors = raw.process.communicate(timeout=60)
    assert rest == b""
    assert errors.count(b"from C\n") == 2
    assert raw.process.returncode == 0


def test_a_ping_is_answered_and_input_may_end_while_a_model_loads(library, tmp_path):
    with Raw(tmp_path, "-l", library) as raw:
        raw.greet()
        raw.send(call(1, "search", query="a star that no cache has"), ping(2))
        assert raw.receive(2)["result"] == {}
        raw.process.stdin.close()
        assert raw.process.wait(timeout=60) == 0


def test_a_client_that_goes_away_ends_the_process(library, tmp_path):
    with Raw(tmp_path, "-l", library) as raw:
        raw.greet()
        raw.process.stdout.close()
        raw.send(*(ping(number) for number in range(1, 20)))
        raw.process.stdin.close()
        assert raw.process.wait(timeout=60) == 0
        assert b"Traceback" not in raw.process.stderr.read()


def test_a_person_is_told_that_a_client_is_awaited(library, tmp_path):
    ours, theirs = pty.openpty()
    started = agents.parameters(tmp_path, "-l", library)
    process = subprocess.Popen(
        [started.command, *started.args],
        env=started.env | {"PATH": os.environ["PATH"]},
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while b"Ctrl-D ends" not in shown and select.select([ours], [], [], 60)[0]:
        shown += os.read(ours, 1000)
    assert b"waiting for a client" in shown
    os.write(ours, b"\x04")
    out, _ = process.communicate(timeout=60)
    assert (out, process.returncode) == (b"", 0)
    os.close(ours)


@pytest.mark.faults
@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_process_and_its_decoders(library, tmp_path, number):
    with Raw(tmp_path, "-l", library) as raw:
        raw.greet()
        raw.send(call(1, "search", sort="path"))
        hits = raw.receive(1)["result"]["structuredContent"]["hits"]
        raw.send(call(2, "read", id=hits[0]["id"]))
        assert "A note about" in raw.receive(2)["result"]["content"][0]["text"]
        decoders = [os.pidfd_open(pid) for pid in children(raw.process.pid)]
        assert decoders
        raw.process.send_signal(number)
        expected = 130 if number == signal.SIGINT else -signal.SIGTERM
        assert raw.process.wait(timeout=60) == expected
        for each in decoders:
            ended, _, _ = select.select([each], [], [], 60)
            os.close(each)
            assert ended


def test_a_missing_extra_is_one_sentence(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "mcp.server", None)
    assert main(["mcp"]) == 2
    assert capfd.readouterr() == (
        "",
        'qvsearch: qvsearch mcp needs mcp: pip install "qvsearch[mcp]"\n',
    )


def test_pictures_stay_below_what_clients_accept():
    import numpy as np

    noise = np.random.default_rng(0).integers(0, 256, (1344, 1344, 3), np.uint8)
    (encoded,) = _jpegs([noise])
    assert len(encoded) <= MOST_BYTES
    assert encoded[:2] == b"\xff\xd8"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--min-size 'x' is wrong; see --after", "min_size 'x' is wrong; see after"),
        ("it ranks 4, and 2 are shown; see --top", "it ranks 4, and 2 are shown; see k"),
        ("a copy of a.jpg, which is shown; see --no-dedupe", "a copy of a.jpg, which is shown"),
        ("run `qvsearch check --repair`", "run `qvsearch check --repair`"),
        ("-k must be at least 1", "k must be at least 1"),
        ("--not is empty", "not is empty"),
    ],
)
def test_messages_name_arguments(text, expected):
    assert in_arguments(text, SearchArguments) == expected


def test_no_argument_of_a_query_is_a_path_to_open():
    fields = set(QueryArguments.__dataclass_fields__)
    assert "file" not in fields
    assert "path" not in fields


# fields of options that no tool has
BESIDE = {"query", "saved", "saved_b64", "copy", "copy_b64"}


@pytest.mark.parametrize(
    ("record", "answer", "others"),
    [
        (records.hit_record, answers.HitAnswer, BESIDE),
        (records.similar_record, answers.SimilarFile, set()),
        (explanation.explanation_record, answers.ExplainAnswer, set()),
        (explanation._segment_record, answers.SegmentAnswer, set()),
        (explanation._term_record, answers.TermAnswer, set()),
        (records.status_record, answers.LibraryAnswer, set()),
        (records._field_record, answers.FieldAnswer, set()),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_answer_has_every_field_of_the_command_line(record, answer, others):
    expected = pages.names_of(record) - others - {"library_b64"}
    assert expected <= set(schema_of(answer)["properties"])
