"""Headers of GGUF files, against the package that llama.cpp's authors publish."""

import struct

import gguf
import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from qvsearch.errors import QvsearchError
from qvsearch.models.gguf import TYPES, read_gguf


def write(path, tensors=(), kind=GGMLQuantizationType.F32, **keys):
    writer = gguf.GGUFWriter(path, "qwen3vl")
    writer.add_name("a name")
    for name, value in keys.items():
        writer.add_uint32(name, value)
    writer.add_token_list([f"token {number}" for number in range(2000)])
    for name in tensors:
        data = gguf.quants.quantize(np.ones((4, 64), np.float32), kind)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_sizes_of_types_are_those_of_ggml():
    for number, (name, block, size) in TYPES.items():
        assert GGML_QUANT_SIZES[GGMLQuantizationType(number)] == (block, size), name
        assert GGMLQuantizationType[name] == number


def test_a_header_is_read(tmp_path):
    path = write(tmp_path / "x.gguf", ["a", "b"], GGMLQuantizationType.Q8_0, width=7)
    read = read_gguf(path)
    assert (read.architecture, read.name, read.numbers) == ("qwen3vl", "a name", "Q8_0")
    assert (read.parameters, read.size) == (512, path.stat().st_size)
    assert (read.is_quantised, read.number("width")) == (True, 7)
    assert read.keys["tokenizer.ggml.tokens"] == [], "a vocabulary is passed over"
    with pytest.raises(QvsearchError, match=r"x\.gguf has no depth"):
        read.number("depth")


def test_the_numbers_are_those_of_most_quantised_weights(tmp_path):
    assert not read_gguf(write(tmp_path / "x.gguf", ["a"])).is_quantised
    assert read_gguf(write(tmp_path / "x.gguf", [])).numbers == "F32"


def test_any_changed_tensor_changes_the_digest(tmp_path):
    path = write(tmp_path / "x.gguf", ["a", "b"])
    first = read_gguf(path).digest
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert read_gguf(path).digest != first


def test_what_is_no_gguf_file_is_named_with_the_reason(tmp_path):
    path = tmp_path / "x.gguf"
    with pytest.raises(QvsearchError, match=r"there is no file .*x\.gguf"):
        read_gguf(path)
    for content in (b"", b"GGU", b"\x89PNG" * 9):
        path.write_bytes(content)
        with pytest.raises(QvsearchError, match=r"x\.gguf is not a GGUF file"):
            read_gguf(path)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 9, 0, 0))
    with pytest.raises(QvsearchError, match="of GGUF version 9"):
        read_gguf(path)
    with pytest.raises(QvsearchError, match="cannot be read"):
        read_gguf(tmp_path)
    nested = struct.pack("<IQ", 9, 1) * 5000
    path.write_bytes(b"GGUF" + struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"a", 9) + nested)
    with pytest.raises(QvsearchError, match="is damaged: it has an array of arrays; download"):
        read_gguf(path)


def test_no_damage_of_a_header_is_more_than_an_error(tmp_path):
    path = write(tmp_path / "x.gguf", ["a"])
    content = path.read_bytes()
    for end in (*range(4, 200), len(content) // 2, len(content) - 1):
        path.write_bytes(content[:end])
        with pytest.raises(QvsearchError, match="is cut off|is damaged"):
            read_gguf(path)
    for place in range(4, 160):  # counts, lengths and types
        path.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
        try:
            read_gguf(path)
        except QvsearchError as error:
            assert str(path) in str(error)  # noqa: PT017 - it may be another name as well
