"""Messages between processes: what goes in comes out, and nothing else comes out."""

import json
import socket
import struct
import threading

import numpy as np
import pytest

from qvsearch import wire as messages
from qvsearch.types import EmbedInput, Frames
from qvsearch.wire import BadMessage, pack_inputs, receive, send, unpack_inputs

RNG = np.random.default_rng(0)


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(30)
        theirs.settimeout(30)
        yield ours, theirs


def picture(height=32, width=64):
    return RNG.integers(0, 256, (height, width, 3), np.uint8)


def same(one, other):
    if (one.text, one.instruction, len(one.images)) != (
        other.text,
        other.instruction,
        len(other.images),
    ):
        return False
    if (one.video is None) != (other.video is None):
        return False
    if one.video is not None and not (
        one.video.times == other.video.times
        and np.array_equal(one.video.pixels, other.video.pixels)
    ):
        return False
    return all(map(np.array_equal, one.images, other.images))


def test_inputs_and_arrays_come_out_as_they_went_in(pair):
    frames = Frames(np.stack([picture(), picture(), picture()]), (0.0, 1 / 3, 2.5))
    inputs = [
        EmbedInput("a dog \udcff\u2028", instruction="Find."),
        EmbedInput(images=(picture(), picture(64, 32)[:, ::-1])),
        EmbedInput("", (picture(),), frames),
        EmbedInput(),
    ]
    said, arrays = pack_inputs(inputs)
    # larger than any socket's buffer, so that it comes in pieces
    numbers = [RNG.standard_normal((700, 600)), np.zeros((0, 64), np.float32), np.float32([[1, 2]])]
    sender = threading.Thread(target=send, args=(pair[0], {"inputs": said}, [*arrays, *numbers]))
    sender.start()
    header, found = receive(pair[1])
    sender.join()
    count = len(arrays)
    again = unpack_inputs(header.pop("inputs"), found[:count])
    assert header == {}
    assert all(map(same, inputs, again))
    for sent, received in zip(numbers, found[count:], strict=True):
        assert received.dtype == sent.dtype
        assert np.array_equal(sent, received)


def start(magic=b"qvs1", header=2, body=0):
    return struct.pack("!4sIQ", magic, header, body)


def whole(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return start(header=len(text), body=len(body)) + text + body


RUBBISH = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a huge header": start(header=2**32 - 1),
    "a huge body": start(body=2**64 - 1) + b"{}",
    "no JSON": whole(b"{]"),
    "no UTF-8": whole(b'{"a": "\xff"}'),
    "no object": whole([]),
    "no arrays": whole({}),
    "deep": whole(b"[" * 100_000),
    "arrays that are none": whole({"arrays": 3}),
    "an object array": whole({"arrays": [["O", [1]]]}, b"\0" * 8),
    "a negative side": whole({"arrays": [["uint8", [-1, -1]]]}, b"\0"),
    "a side that is none": whole({"arrays": [["uint8", ["1"]]]}, b"\0"),
    "a true side": whole({"arrays": [["uint8", [True]]]}, b"\0"),
    "many sides": whole({"arrays": [["uint8", [1] * 70]]}, b"\0"),
    "a huge array": whole({"arrays": [["uint8", [2**62, 4]]]}, b"\0"),
    "too few bytes": whole({"arrays": [["float32", [2]]]}, b"\0" * 7),
    "too many bytes": whole({"arrays": [["uint8", [2]]]}, b"\0" * 3),
}


@pytest.mark.parametrize("data", RUBBISH.values(), ids=RUBBISH)
def test_what_is_no_message_is_refused(pair, data):
    sender = threading.Thread(target=lambda: (pair[0].sendall(data), pair[0].close()))
    sender.start()
    with pytest.raises(ValueError):  # noqa: PT011 (JSON's and ours)
        receive(pair[1])
    pair[1].close()
    sender.join()


@pytest.mark.parametrize("length", [0, 3, 16, 17, 30])
def test_half_a_message_is_the_end(pair, length):
    data = whole({"arrays": [["uint8", [8]]]}, b"12345678")
    pair[0].sendall(data[:length])
    pair[0].close()
    with pytest.raises(EOFError):
        receive(pair[1])


def test_too_large_a_message_is_not_sent(pair, monkeypatch):
    monkeypatch.setattr(messages, "LARGEST_BODY", 100)
    monkeypatch.setattr(messages, "LARGEST_HEADER", 1000)
    with pytest.raises(BadMessage):
        send(pair[0], {}, [np.zeros(101, np.uint8)])
    with pytest.raises(BadMessage):
        send(pair[0], {"text": "a" * 1000})
    pair[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        pair[1].recv(1)


def one(**said):
    return [{"text": "a", "instruction": None, "images": 0, "times": None} | said]


NO_INPUTS = {
    "nothing": (None, []),
    "a number": (3, []),
    "words": ("text", []),
    "no object": ([3], []),
    "a field that lacks": ([{"text": "a"}], []),
    "a text that is none": (one(text=3), []),
    "an instruction that is none": (one(instruction=["a"]), []),
    "an image that lacks": (one(images=1), []),
    "a count that is none": (one(images="1"), []),
    "an array too many": (one(), [picture()]),
    "floats for pixels": (one(images=1), [np.zeros((32, 32, 3), np.float32)]),
    "four colours": (one(images=1), [np.zeros((32, 32, 4), np.uint8)]),
    "a flat image": (one(images=1), [np.zeros((32, 3), np.uint8)]),
    "an empty image": (one(images=1), [np.zeros((0, 32, 3), np.uint8)]),
    "frames without times": (one(times=[]), [np.zeros((1, 32, 32, 3), np.uint8)]),
    "a time that is none": (one(times=["x"]), [np.zeros((1, 32, 32, 3), np.uint8)]),
    "a time without end": (one(times=[float("inf")]), [np.zeros((1, 32, 32, 3), np.uint8)]),
    "an image for a video": (one(times=[0.0]), [picture()]),
}


@pytest.mark.parametrize(("said", "arrays"), NO_INPUTS.values(), ids=NO_INPUTS)
def test_what_are_no_inputs_is_refused(said, arrays):
    with pytest.raises(ValueError):  # noqa: PT011
        unpack_inputs(said, arrays)
