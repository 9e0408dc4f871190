"""Whatever bytes a file or a socket holds, reading them gives a value or the failure that is said.

Proved with hypothesis for sidecars, manifests, lists of failures, arrays of facts, messages between
processes and the cache, with rubbish and with all but sound content whose checksums fit; and what
was written comes back. Filters and patterns are in test_filters.py.

    QVSEARCH_EXAMPLES=20000 pytest tests/library/test_parsers.py
"""

import json
import os
import socket
import struct
import zlib
from dataclasses import replace
from functools import wraps

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.library_damage import FINGERPRINT, row

from qvsearch.cache import keep_vectors, read_vectors
from qvsearch.errors import QvsearchError
from qvsearch.files import Seal
from qvsearch.formats import pack_arrays, unpack_arrays
from qvsearch.library.failures import FAILURES, Failure, read_failures, write_failures
from qvsearch.library.manifest import (
    BaselineFile,
    Manifest,
    ShardFiles,
    _checksum,
    read_manifest,
    write_manifest,
)
from qvsearch.library.rules import Rules
from qvsearch.library.shard_columns import TYPES, ShardColumns, columns_of
from qvsearch.library.sidecar import decode_rows, encode_rows, salvage_row
from qvsearch.types import EmbedInput, Frames, Item, Kind, Metadata, Segment, Stored
from qvsearch.wire import pack_inputs, receive, send, unpack_inputs

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("disk")]

EXAMPLES = int(os.environ.get("QVSEARCH_EXAMPLES", "150"))
fuzzed = settings(
    max_examples=EXAMPLES,
    derandomize="QVSEARCH_EXAMPLES" not in os.environ,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
INT64 = st.integers(-(2**63), 2**63 - 1)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
PATHS = st.binary(max_size=20).filter(lambda path: b"\0" not in path)
ROOTS = (b"/photos", b"/disk \xff", None)


@pytest.fixture(autouse=True)
def _counting(request, monkeypatch, tally):
    """Count each input that a test is given and passes with."""
    inner = request.function.hypothesis.inner_test

    @wraps(inner)
    def counted(*arguments, **options):
        inner(*arguments, **options)
        tally["inputs of parsers, drawn at random"] += 1

    monkeypatch.setattr(request.function.hypothesis, "inner_test", counted)


def maybe(strategy):
    return st.none() | strategy


FINITE = st.floats(allow_nan=False, allow_infinity=False)
ITEMS = st.builds(
    Item, st.sampled_from(ROOTS[:2]), PATHS, st.sampled_from(Kind), INT64, st.integers()
)
METADATA = st.builds(
    Metadata,
    maybe(st.text()),
    maybe(st.text()),
    maybe(FINITE),
    maybe(FINITE),
    maybe(FINITE),
    maybe(st.booleans()),
    maybe(st.text()),
    maybe(st.text()),
    maybe(st.booleans()),
)
SEGMENTS = st.builds(
    Segment,
    ITEMS,
    st.text(),
    maybe(FINITE),
    maybe(FINITE),
    maybe(st.tuples(INT64, INT64)),
    maybe(st.text()),
    maybe(INT64),
    maybe(INT64),
    st.booleans(),
    maybe(st.integers(0, 2**64 - 1)),
    METADATA,
    st.integers(1, 2**31),
    maybe(st.text()),
)
BACKGROUNDS = maybe(st.tuples(st.floats(-1, 1), st.floats(0, 1)))


@fuzzed
@given(st.lists(st.tuples(SEGMENTS, BACKGROUNDS, st.binary(max_size=9)), max_size=4))
def test_rows_come_back_as_they_were_written(rows):
    lines = encode_rows(rows, {ROOTS[0]: 0, ROOTS[1]: 1})
    segments, backgrounds = decode_rows(b"".join(lines), ROOTS, [True] * len(rows))
    assert segments == [segment for segment, _, _ in rows]
    assert backgrounds == [background for _, background, _ in rows]
    for line, (segment, background, code) in zip(lines, rows, strict=True):
        assert salvage_row(line[:-1], code, ROOTS) == (segment, background)
        assert salvage_row(line[:-1], code + b"x", ROOTS) is None


def checked(record, code):
    """A line with the checksum that fits it."""
    body = orjson.dumps(record)[:-1]
    return b'%b,"crc":%d}' % (body, zlib.crc32(body, zlib.crc32(code)))


(WRITTEN,) = encode_rows(
    [(replace(row(0), clip=True, dhash=5), (0.1, 0.2), b"")], {ROOTS[0]: 0, ROOTS[1]: 1}
)
SOUND = {key: value for key, value in orjson.loads(WRITTEN).items() if key != "crc"}
SOUND |= {"lines": [1, 2], "snippet": "a", "start": 1.0, "end": 2.0, "page": True, "duration": 5}
CHANGES = st.dictionaries(st.sampled_from([*SOUND, "path_b64", "other"]), JSON, min_size=1)


@fuzzed
@given(st.binary() | st.binary().map(lambda data: data + b"\n"), st.binary(max_size=9))
def test_any_bytes_are_rows_or_none(data, code):
    for alive in ([], [True], [True, False]):
        try:
            decode_rows(data, ROOTS, alive)
        except ValueError:
            continue
    assert salvage_row(data, code, ROOTS) is None


@fuzzed
@given(CHANGES | JSON, st.sets(st.sampled_from(sorted(SOUND)), max_size=2))
def test_any_record_is_a_row_or_none(change, gone):
    record = {**SOUND, **change} if isinstance(change, dict) else change
    if isinstance(record, dict):
        record = {key: value for key, value in record.items() if key not in gone}
    try:
        (segment,), (background,) = decode_rows(orjson.dumps(record) + b"\n", ROOTS, [True])
    except ValueError:
        assert not isinstance(record, dict) or salvage_row(checked(record, b""), b"", ROOTS) is None
        return
    assert salvage_row(checked(record, b""), b"", ROOTS) == (segment, background)
    columns_of([segment], ROOTS).check(1, len(ROOTS))
    encode_rows([(segment, background, b"")], {ROOTS[0]: 0, ROOTS[1]: 1})


SEALS = st.builds(Seal, st.integers(0, 2**40), st.text(max_size=64))


@st.composite
def manifests(draw):
    files, numbers = [], draw(st.lists(st.integers(0, 10**9), unique=True, max_size=5))
    *of_files, last = numbers or [0]
    for number in of_files:
        rows = draw(st.integers(1, 1000))
        edges = sorted(draw(st.lists(st.integers(0, rows), max_size=6)))
        dead = tuple(zip(edges[::2], edges[1::2], strict=False))
        faiss = Seal(rows * FINGERPRINT.dim + draw(st.integers(0, 999)), draw(st.text()))
        sidecar = Seal(rows * draw(st.integers(64, 999)), draw(st.text()))
        bank, facts = draw(maybe(st.text())), draw(maybe(SEALS))
        files.append(ShardFiles(f"{number:06d}", rows, faiss, sidecar, dead, bank, facts))
    bank = draw(maybe(st.builds(BaselineFile, st.just(f"{last:06d}"), st.integers(0, 64), SEALS)))
    roots = draw(st.lists(maybe(PATHS), max_size=3))
    generation = draw(st.integers(0, 10**16))
    store = draw(st.sampled_from(Stored))
    following = max(numbers, default=0) + 1
    known = sorted({root for root in roots if root is not None})
    patterns = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=3)
    kinds = st.lists(st.sampled_from(Kind), max_size=3).map(tuple)
    drawn = st.builds(
        Rules, patterns.map(tuple), patterns.map(tuple), kinds, st.booleans(), st.booleans()
    )
    rules = {root: draw(drawn) for root in known[1:]}
    return Manifest(
        FINGERPRINT, tuple(roots), tuple(files), following, generation, bank, store, rules
    )


@fuzzed
@given(manifests())
def test_a_manifest_comes_back_as_it_was_written(tmp_path, manifest):
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path / "manifest.json") == manifest


def places(record, way=()):
    """The way to each value in a JSON record."""
    yield way
    if isinstance(record, dict | list):
        pairs = record.items() if isinstance(record, dict) else enumerate(record)
        for key, value in pairs:
            yield from places(value, (*way, key))


@fuzzed
@given(manifests(), st.data())
def test_any_manifest_is_one_or_is_refused(tmp_path, manifest, data):
    record = orjson.loads(manifest.to_bytes())
    del record["sha256"]
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from([way for way in places(record) if way]))
        inner = record
        for key in way:
            inner = inner[key]
        inner[last] = orjson.loads(orjson.dumps(data.draw(JSON)))
    path = tmp_path / "manifest.json"
    path.write_bytes(orjson.dumps(record | {"sha256": _checksum(record)}))
    try:
        found = read_manifest(path)
    except QvsearchError as error:
        assert "manifest.json" in str(error)  # noqa: PT017
        return
    write_manifest(tmp_path, found)
    assert read_manifest(path) == found


@fuzzed
@given(st.binary() | JSON.map(orjson.dumps))
def test_any_bytes_are_a_manifest_or_refused(tmp_path, data):
    path = tmp_path / "manifest.json"
    path.write_bytes(data)
    with pytest.raises(QvsearchError, match=r"manifest\.json"):
        read_manifest(path)


FAILED = st.builds(Failure, PATHS, INT64, st.integers(), st.text(), INT64)


@fuzzed
@given(st.lists(FAILED, max_size=4), st.lists(st.binary() | JSON.map(orjson.dumps), max_size=3))
def test_failures_come_back_whatever_lies_between_them(tmp_path, failures, rubbish):
    write_failures(tmp_path, failures)
    assert read_failures(tmp_path) == failures
    path = tmp_path / FAILURES
    path.write_bytes(path.read_bytes() + b"\n".join(rubbish))
    assert read_failures(tmp_path)[: len(failures)] == failures


@fuzzed
@given(st.lists(SEGMENTS, max_size=5))
def test_columns_are_of_the_rows_and_come_back(segments):
    found = columns_of(segments, ROOTS)
    found.check(len(segments), len(ROOTS))
    again = ShardColumns(**unpack_arrays(b"".join(map(bytes, pack_arrays(found.arrays))), TYPES))
    again.check(len(segments), len(ROOTS))
    files, cameras = again.paths(), again.texts("camera")
    for number, segment in enumerate(segments):
        root, path = files[again.places[number]]
        assert (ROOTS[root], path) == (segment.item.root, segment.item.path)
        name = segment.metadata.camera or None
        assert name == (cameras[again.cameras[number]] if again.cameras[number] >= 0 else None)


ROWS = [row(number) for number in range(8)]
ARRAYS = columns_of(ROWS, (b"/photos", b"/disk \xff")).arrays


@fuzzed
@given(st.sampled_from(sorted(TYPES)), st.data())
def test_any_arrays_are_facts_or_refused(name, data):
    kind = TYPES[name]
    shape = data.draw(st.lists(st.integers(0, 9), max_size=3))
    kept = data.draw(st.booleans())
    shape = ARRAYS[name].shape if kept else tuple(shape)
    size = int(np.prod(shape)) * kind.itemsize
    other = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), kind).reshape(shape)
    if name == "on_the_wall":
        other = other.view("u1") > 127
    found = ShardColumns(**(ARRAYS | {name: other}))
    try:
        found.check(len(ROWS), 2)
    except ValueError:
        return
    assert all(place < len(found.paths()) for place in found.places)
    assert all(camera < len(found.texts("camera")) for camera in found.cameras)


@fuzzed
@given(st.binary(), JSON, st.binary(max_size=200))
def test_any_bytes_are_arrays_or_refused(data, header, rest):
    text = json.dumps(header).encode()
    for each in (data, b"qvarray1" + struct.pack("<Q", len(text)) + text + rest):
        try:
            unpack_arrays(each, TYPES)
        except ValueError:
            continue
        raise AssertionError("these are no facts")


def received(data):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(data)
        ours.close()
        return receive(theirs)


ARRAY_JSON = st.lists(
    st.tuples(st.sampled_from(["uint8", "float32", "float64", "object"]) | JSON, JSON)
)


@fuzzed
@given(st.binary(), JSON | st.fixed_dictionaries({"arrays": JSON | ARRAY_JSON}), st.binary())
def test_any_bytes_are_a_message_or_none(data, header, body):
    text = json.dumps(header).encode()
    for each in (data, struct.pack("!4sIQ", b"qvs1", len(text), len(body)) + text + body):
        try:
            found, arrays = received(each)
        except (ValueError, EOFError):
            continue
        assert isinstance(found, dict)
        assert sum(array.nbytes for array in arrays) == len(body)


PICTURES = st.tuples(st.integers(1, 5), st.integers(1, 5)).map(
    lambda size: np.arange(3 * size[0] * size[1], dtype=np.uint8).reshape(*size, 3)
)
VIDEOS = st.lists(FINITE, min_size=1, max_size=3).map(
    lambda times: Frames(np.zeros((len(times), 2, 3, 3), np.uint8), tuple(times))
)
INPUTS = st.builds(
    EmbedInput,
    maybe(st.text()),
    st.lists(PICTURES, max_size=2).map(tuple),
    maybe(VIDEOS),
    maybe(st.text()),
)


@fuzzed
@given(st.lists(INPUTS, max_size=3))
def test_messages_come_out_as_they_went_in(inputs):
    said, arrays = pack_inputs(inputs)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send(ours, {"inputs": said}, arrays)
        header, found = receive(theirs)
    again = unpack_inputs(header["inputs"], found)
    assert [(each.text, each.instruction) for each in again] == [
        (each.text, each.instruction) for each in inputs
    ]
    for one, other in zip(inputs, again, strict=True):
        assert all(map(np.array_equal, one.images, other.images))
        assert (one.video and one.video.times) == (other.video and other.video.times)


SAID = {"text": "a", "instruction": None, "images": 0, "times": None}


@fuzzed
@given(
    st.lists(JSON | st.dictionaries(st.sampled_from(sorted(SAID)), JSON).map(lambda d: SAID | d)),
    st.lists(st.sampled_from([np.zeros((2, 2, 3), np.uint8), np.zeros((1, 2, 2, 3), np.uint8)])),
)
def test_any_header_is_inputs_or_none(said, arrays):
    try:
        found = unpack_inputs(said, arrays)
    except ValueError:
        return
    assert len(found) == len(said)


@fuzzed
@given(st.binary(max_size=200), st.integers(0, 3), st.integers(1, 8))
def test_any_bytes_in_the_cache_are_no_vectors(tmp_path, data, rows, dim):
    path = tmp_path / "cached"
    path.write_bytes(data)
    assert read_vectors(path, (rows, dim)) is None
    vectors = np.arange(rows * dim, dtype=np.float32).reshape(rows, dim)
    keep_vectors(path, vectors, 9)
    np.testing.assert_array_equal(read_vectors(path, (rows, dim)), vectors)
    assert read_vectors(path, (rows + 1, dim)) is None
