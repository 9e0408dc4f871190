"""A library that somebody made to do harm is refused in one sentence, in bounded memory and time.

Proved for crafted manifests, FAISS headers, sidecars and arrays whose checksums fit, and for links,
pipes, folders and endless files in place of files: opened, searched, checked, written and repaired
in a process of its own (hostile_libraries.py), whose death would be seen.
"""

import json
import resource
import subprocess
import sys

import pytest
from support import hostile_libraries

pytestmark = pytest.mark.faults

MOST_MEMORY = 200 * 1024 * 1024  # bytes that it may take to refuse all of them
MOST_SECONDS = 120  # of a processor, for all of them together


def limit():
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))


@pytest.fixture(scope="module")
def met(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    done = subprocess.run(
        [sys.executable, hostile_libraries.__file__, folder],
        capture_output=True,
        check=False,
        preexec_fn=limit,  # noqa: PLW1509
        timeout=1800,
    )
    records = [json.loads(record) for record in done.stdout.splitlines()]
    last = records[-1]["name"] if records else "none"
    assert (done.returncode, done.stderr.decode(), last) == (
        0,
        "",
        list(hostile_libraries.CASES)[-1],
    )
    assert (folder / "secret").read_bytes() == hostile_libraries.SECRET
    return {record["name"]: record for record in records}


@pytest.mark.parametrize("name", hostile_libraries.CASES)
def test_it_is_refused_by_name(met, tally, name):
    texts = met[name]["texts"]
    for text in texts.values():
        assert "\n" not in text
        assert hostile_libraries.SECRET.decode().strip() not in text
    file = name.partition(":")[0]
    if name.endswith("(harmless)"):
        assert texts["search"] == ""
    else:
        number = file.partition(".")[0]
        assert number in texts["search"]
        assert number in texts["commit"]
        assert "check --repair" in texts["search"]
    tally["libraries made to do harm"] += 1


def test_it_takes_little_memory(met):
    assert max(record["bytes"] for record in met.values()) < MOST_MEMORY
