"""Pictures that a person gives, and bombs that an attacker gives."""

import errno
import io
import os
import struct
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image
from support.served import Browser, png

from qvsearch.web import receiving, uploads

PNG = {"content-type": "image/png"}


def test_a_picture_becomes_a_query(browser, world):
    picture = (world / "files/pictures/picture-05.jpg").read_bytes()
    answer = browser.post("/api/uploads", content=picture, headers={"content-type": "image/jpeg"})
    record = answer.json()
    assert (record["width"], record["height"]) == (160, 128)
    hits = browser.hits(f"upload={record['upload']}&kind=image")
    assert Path(hits[0]["path"]).name == "picture-05.jpg"
    assert hits[0]["score"] > 0.99
    both = browser.get(f"/api/search?q=but+blue&upload={record['upload']}&all=1").json()["hits"]
    assert both[0]["score"] != hits[0]["score"]
    shown = browser.get(f"/api/uploads/{record['upload']}")
    assert shown.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(shown.content)).size == (160, 128)


def test_it_is_private_and_deleted_at_the_end(browser, world):
    before = set(browser_folder(browser).iterdir())
    browser.post("/api/uploads", content=png(20, 20), headers=PNG)
    (kept,) = set(browser_folder(browser).iterdir()) - before
    assert browser_folder(browser).stat().st_mode & 0o077 == 0
    assert kept.suffix == ".png"


def browser_folder(browser):
    return browser.services.uploads.new_path().parent


@pytest.mark.parametrize(
    "type_", ["image/svg+xml", "text/html", "application/octet-stream", "", "image/", "video/mp4",
              "multipart/form-data; boundary=x", "image/png, text/html"],
)  # fmt: skip
def test_other_types_are_refused(browser, type_, tally):
    answer = browser.post("/api/uploads", 415, content=png(9, 9), headers={"content-type": type_})
    assert answer.json()["error"]
    tally["uploads of other types refused"] += 1


def bomb(width, height):
    """A PNG of few bytes that claims, and has, very many pixels."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    rows = zlib.compress(bytes((width // 8 + 1) * height), 9)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


BOMBS = {
    "pixels": bomb(30_000, 30_000),
    "width": bomb(2_000_000, 1),
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "html": b"<!doctype html><script>alert(1)</script>",
    "nothing": b"",
    "text": b"hello" * 100,
    "half a picture": png(400, 400)[:60],
    "zip": b"PK\x03\x04" + bytes(100),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n",
    "noise": bytes(range(256)) * 40,
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_is_no_sound_picture_is_refused(browser, name, tally):
    before = set(browser_folder(browser).iterdir())
    answer = browser.post("/api/uploads", 415, content=BOMBS[name], headers=PNG)
    assert "cannot be read" in answer.json()["error"]
    assert set(browser_folder(browser).iterdir()) == before, "nothing is left of it"
    browser.get("/api/status")
    tally["upload bombs refused"] += 1


@pytest.mark.parametrize("claims", [True, False])
def test_too_many_bytes_are_refused_early(browser, claims, tally):
    sent = 0

    def pieces():
        nonlocal sent
        for _ in range(400):
            sent += 2**20
            yield bytes(2**20)

    headers = {**PNG, "content-length": str(400 * 2**20)} if claims else PNG
    before = set(browser_folder(browser).iterdir())
    answer = browser.post("/api/uploads", 413, content=pieces(), headers=headers)
    assert "at most 30 MB" in answer.json()["error"]
    assert set(browser_folder(browser).iterdir()) == before
    tally["upload bombs refused"] += 1


@pytest.mark.parametrize("length", ["-1", "1e9", "٣", "99999999999999999999999"])
def test_a_nonsense_length_is_refused(browser, length):
    headers = [("origin", "http://127.0.0.1:7600"), ("content-type", "image/png")]
    answer = browser.http.post(
        "/api/uploads", content=b"x", headers=[*headers, ("content-length", length.encode())]
    )
    assert answer.status_code == 413


def test_only_the_last_few_are_kept(browser):
    tokens = [
        browser.post("/api/uploads", content=png(10 + number, 10), headers=PNG).json()["upload"]
        for number in range(uploads.MOST + 3)
    ]
    assert len(set(tokens)) == len(tokens)
    assert len(list(browser_folder(browser).iterdir())) == uploads.MOST
    for token in tokens[:3]:
        browser.get(f"/api/uploads/{token}", 410)
        browser.get(f"/api/search?upload={token}", 410)
    browser.get(f"/api/uploads/{tokens[-1]}")


def test_one_is_dropped_after_a_while(browser, monkeypatch):
    token = browser.post("/api/uploads", content=png(9, 9), headers=PNG).json()["upload"]
    later = time.monotonic() + uploads.KEPT_SECONDS + 1
    monkeypatch.setattr(uploads.time, "monotonic", lambda: later)
    browser.get(f"/api/uploads/{token}", 410)
    assert list(browser_folder(browser).iterdir()) == []


def test_too_many_at_once_are_refused(browser):
    browser.services.uploads.receiving = receiving.AT_ONCE
    try:
        browser.post("/api/uploads", 429, content=png(9, 9), headers=PNG)
    finally:
        browser.services.uploads.receiving = 0
    browser.post("/api/uploads", content=png(9, 9), headers=PNG)
    assert browser.services.uploads.receiving == 0


def test_a_disk_without_space_is_said(browser, monkeypatch, tmp_path):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(browser.services.uploads, "keep", full)
    answer = browser.post("/api/uploads", 507, content=png(9, 9), headers=PNG)
    assert answer.json()["error"] == "the picture cannot be kept: no space left on device"


def test_the_tokens_of_others_cannot_be_guessed(browser):
    token = browser.post("/api/uploads", content=png(9, 9), headers=PNG).json()["upload"]
    assert len(token) >= 22, "128 bits"
    browser.get(f"/api/uploads/{token[:-1]}", 410)
    assert os.sep not in token
    assert isinstance(browser, Browser)
