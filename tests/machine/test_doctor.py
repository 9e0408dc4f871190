"""The doctor names bundled decoders with known holes, the advisory and the update."""

import os
import re
from importlib.metadata import version

import av
import pillow_heif
import pytest
import torch
from PIL import features

from qvsearch.machine import doctor
from qvsearch.machine.doctor import HOLES, known_hole
from qvsearch.models import devices


def traps(tmp_path):
    """The traps by name, up to the first fact that needs a model."""
    facts = doctor.examine(tmp_path, None, None)
    found = {}
    for fact in facts:
        found[fact.name] = fact.trap
        if fact.name == "video":
            break
    facts.close()
    return found


@pytest.mark.parametrize(
    ("library", "safe", "unsafe"),
    [
        ("FFmpeg", ["8.1.2", "n8.1.2", "8.2", "10.0.1", "8.1.10"], ["8.1.1", "n7.1.4", "8.1"]),
        ("pillow", ["13.0.0", "13.1"], ["12.3.0", "9.5.0"]),
        ("libwebp", ["1.3.2", "1.10.0"], ["1.3.1"]),
        ("libheif", ["1.23.4", "1.23.10"], ["1.23.3", "1.9.9"]),
        ("libde265", ["1.1.2", "1.1.3"], ["1.0.16", "1.1.1"]),
        ("some other", ["0.1"], []),
    ],
)
def test_versions_are_compared_as_numbers(library, safe, unsafe):
    assert [known_hole(library, number) for number in safe] == [None] * len(safe)
    for number in unsafe:
        trap = known_hole(library, number)
        assert HOLES[library].advisory in trap
        assert trap.endswith(f"pip install -U {HOLES[library].package}")


@pytest.mark.parametrize("number", [None, "", "N-118000-gdeadbeef", "unknown"])
def test_of_an_unknown_version_nothing_is_claimed(number):
    assert known_hole("FFmpeg", number) is None


def test_each_hole_can_be_looked_up():
    for hole in HOLES.values():
        assert re.fullmatch(r"CVE-\d{4}-\d{4,}|GHSA(-[0-9a-z]{4}){3}", hole.advisory)


def test_an_update_helps_against_each_trap(tmp_path, monkeypatch):
    heic = pillow_heif.libheif_info()
    heic |= {"libheif": "1.21.2", "decoders": {"libde265": "libde265 HEVC decoder, version 1.0.15"}}
    webp = {"webp": "1.3.1"}
    monkeypatch.setattr(av, "ffmpeg_version_info", "8.1.1")
    monkeypatch.setattr(pillow_heif, "libheif_info", lambda: heic)
    monkeypatch.setattr(features, "version", webp.get)
    monkeypatch.setattr(
        doctor, "version", lambda name: "12.3.0" if name == "pillow" else version(name)
    )
    found = traps(tmp_path)
    for name, advisory, package in (
        ("video", "CVE-2026-8461", "av"),
        ("HEIC", "CVE-2026-84383", "pillow-heif"),
        ("HEVC", "GHSA-xp3h-6f5r-8cxp", "pillow-heif"),
        ("WebP", "CVE-2023-4863", "pillow"),
        ("pillow", "GHSA-5x8w-8jj5-q52h", "pillow"),
    ):
        assert advisory in found[name]
        assert found[name].endswith(f"pip install -U {package}")
    assert found["numpy"] is None


def test_what_is_installed_here_is_read(tmp_path):
    names = {"pillow", "WebP", "HEIC", "HEVC", "video"}
    assert names <= traps(tmp_path).keys()


def test_as_many_threads_are_named_as_the_model_will_take(tmp_path, monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(devices, "DEFAULT_THREADS", before)
    monkeypatch.setattr(devices, "_fastest", lambda most: most + 1)
    try:
        found = {fact.name: fact.value for fact in doctor.examine(tmp_path, "cpu", None)}
    finally:
        torch.set_num_threads(before)
    assert found["threads"] == f"{before + 1} of {os.cpu_count()} cores"
