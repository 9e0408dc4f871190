"""A file is there whole and for good, or not at all; the disk has the data before the name."""

import errno
import hashlib
import os

import numpy as np
import pytest
from support.faulty_disk import FaultyDisk, failing

from qvsearch import files as durable
from qvsearch.errors import QvsearchError
from qvsearch.files import MIB, Seal, content_hash, make_folder, move_file, write_file

OLD, NEW = b"old content", [b"new ", memoryview(b"content"), b""]


def test_a_file_is_its_parts_and_its_seal_is_known(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(OLD)
    seal = write_file(path, *NEW)
    assert path.read_bytes() == b"new content"
    assert seal == Seal(11, hashlib.sha256(b"new content").hexdigest())
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_vector_array_is_written_as_it_lies_in_memory(tmp_path):
    array = np.arange(12, dtype=np.float16).reshape(3, 4)
    write_file(tmp_path / "file", array.view(np.uint8).reshape(-1).data)
    assert (tmp_path / "file").read_bytes() == array.tobytes()


def test_the_disk_has_the_data_before_the_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    disk = FaultyDisk()
    monkeypatch.setattr(durable, "os", disk)
    write_file(tmp_path / "file", b"data")
    assert disk.names == ["open", "write", "fsync", "close", "replace", "open", "fsync", "close"]
    written, folder = disk.steps[0][1][0], disk.steps[5][1][0]
    assert written.parent == tmp_path
    assert written.name != "file"
    assert folder == tmp_path


def failure_of(call):
    try:
        call()
    except QvsearchError as error:
        return str(error)
    return None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
def test_every_operation_may_fail_and_leaves_the_old_file_or_the_new(tmp_path, monkeypatch, number):
    path = tmp_path / "file"
    at, raised = 1, True
    while raised:
        path.write_bytes(OLD)
        disk = FaultyDisk(at, failing(number))
        with monkeypatch.context() as patch:
            patch.setattr(durable, "os", disk)
            said = failure_of(lambda: write_file(path, *NEW))
        raised = said is not None
        assert not raised or said.startswith(("no space for file in", "cannot write file in"))
        renamed = "replace" in disk.names[: at - 1]
        assert path.read_bytes() == (b"new content" if renamed else OLD)
        assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
        at += 1
    assert at > 8


def test_a_full_disk_is_said_with_the_bytes_needed_and_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(durable, "os", FaultyDisk(2, failing(errno.ENOSPC)))
    with pytest.raises(QvsearchError) as caught:
        write_file(tmp_path / "000001.faiss", b"x" * 12345)
    assert "12,345 bytes" in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "free some" in str(caught.value)


def test_an_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(durable, "os", FaultyDisk(2, interrupt))
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "file", b"data")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_a_few_bytes_at_a_time_gets_them_all(tmp_path, monkeypatch):
    class Slow(FaultyDisk):
        def write(self, descriptor, data):
            return os.write(descriptor, data[:3])

    monkeypatch.setattr(durable, "os", Slow())
    write_file(tmp_path / "file", *NEW)
    assert (tmp_path / "file").read_bytes() == b"new content"


def test_folders_are_made_with_those_above_and_a_file_in_the_way_is_named(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "c"):
        with pytest.raises(
            QvsearchError, match=r"cannot create the folder .*/file: a file has that name$"
        ):
            make_folder(path)


def test_a_file_that_is_moved_is_whole_at_its_new_place(tmp_path):
    (tmp_path / "file").write_bytes(OLD)
    move_file(tmp_path / "file", tmp_path / "other")
    assert (tmp_path / "other").read_bytes() == OLD
    with pytest.raises(QvsearchError, match="cannot move"):
        move_file(tmp_path / "file", tmp_path / "third")


def hashed(path, content):
    path.write_bytes(content)
    return content_hash(os.fsencode(path), len(content))


def test_a_small_file_is_hashed_whole(tmp_path):
    content = bytearray(np.random.default_rng(1).bytes(4 * MIB))
    whole = hashed(tmp_path / "a", content)
    assert hashed(tmp_path / "b", content) == whole
    for place in (0, 1_234_567, 4 * MIB - 1):
        content[place] ^= 1
        assert hashed(tmp_path / "c", content) != whole
        content[place] ^= 1


def test_a_large_file_is_told_by_its_size_and_three_samples(tmp_path):
    size = 9 * MIB + 1
    content = bytearray(size)
    whole = hashed(tmp_path / "a", content)
    assert hashed(tmp_path / "b", content + b"\0") != whole
    for place, seen in [(0, True), (size // 2, True), (size - 1, True), (2 * MIB, False)]:
        content[place] = 1
        assert (hashed(tmp_path / "c", content) != whole) == seen
        content[place] = 0


def test_what_is_no_plain_file_of_that_size_is_an_error_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_bytes(b"12345")
    for name, size in [("fifo", 0), (".", 0), ("missing", 0), ("file", 4), ("file", 6)]:
        with pytest.raises(OSError, match=r".+"):
            content_hash(os.fsencode(tmp_path / name), size)
