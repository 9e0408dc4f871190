"""Documents that are damaged by a seed, and bombs."""

import random
import struct
import zipfile
from functools import cache
from io import BytesIO

from support import office_files as made
from support.damage import mutated


@cache
def seeds():
    return made.examples()


def damaged(number):
    """Return the name and the bytes of a damaged document; every other one inside its ZIP file."""
    rng = random.Random(number)
    name = list(seeds())[number % len(seeds())]
    data, donors = seeds()[name], list(seeds().values())
    if data.startswith(b"PK") and number // len(seeds()) % 2:
        return name, _damaged_inside(data, rng, donors)
    return name, bytes(mutated(data, rng, donors))


def _damaged_inside(data, rng, donors):
    """Damage one part of a document and pack it again, so that its checksum is right."""
    with zipfile.ZipFile(BytesIO(data)) as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    name = rng.choice(list(parts))
    parts[name] = bytes(mutated(parts[name], rng, donors))
    return made.zipped(parts)


def bombs():
    """Return documents that ask for too much: each with the reason that it is refused with."""
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 20))
    document = f"<!DOCTYPE w [{laughs}]><w:document {made.W}>&l19;</w:document>"
    deep = "<w:tbl><w:tr><w:tc>" * 100_000
    many = bytearray(made.zipped({"a": b""}))
    struct.pack_into("<I", many, len(many) - 10, 2**31)
    office_2003 = bytes.fromhex("d0cf11e0a1b11ae1")
    stream = "EncryptedPackage".encode("utf-16-le")
    manifest = "<manifest:encryption-data/>"
    locked = '<e xmlns="http://www.w3.org/2001/04/xmlenc#"><m A="xmlenc#aes128-cbc"/></e>'
    chapter = [b"<p>words</p>"]
    return {
        "laughs.docx": (made.docx("", {"word/document.xml": document}), "its XML declares"),
        "zeros.docx": (made.docx("", {"word/document.xml": bytes(300 * 2**20)}), "too large"),
        "words.docx": (made.docx(made.paragraph("word " * 3 * 2**20)), "too large: more than 10"),
        "deep.docx": (made.docx("", {"word/document.xml": deep}), "damaged: invalid XML"),
        "entries.docx": (bytes(many), "too large: the list of its parts"),
        "old.docx": (office_2003 + bytes(5000), "an Office file of before 2007"),
        "locked.xlsx": (office_2003 + bytes(5000) + stream, "encrypted"),
        "locked.odt": (made.zipped({"META-INF/manifest.xml": manifest}), "encrypted"),
        "locked.epub": (made.epub(chapter, locked), "encrypted"),
        "empty.pptx": (made.pptx([""], ""), "no text"),
        "page.html": (_sparse(500 * 2**20), "too large: a page of more than 64 MiB"),
        "tags.html": (b"<b>" * 4 * 2**20, "too large: 12 MiB of HTML"),
        "deep.html": (b"<ul><li>" * 10**6, "damaged: its elements are nested"),
        "ends first.html": (b"</div>" * 9999 + b"<div>" * 9999, "damaged: its elements are nested"),
        "mail.eml": (_sparse(500 * 2**20), "too large"),
        "groups.rtf": (b"{\\rtf1" + b"{" * 10**6, "damaged: its groups"),
        "open.ipynb": (b"[" * 10**6, "damaged"),
        "parts.eml": (
            b"Content-Type: multipart/mixed; boundary=a\n\n" * 10,
            "not a message of e-mail",
        ),
    }


def heavy():
    """Return documents that are odd or large, and are nevertheless decoded."""
    rows = [made.row(made.text_cell("x" * 10), "<c><v>1</v></c>") for _ in range(100_000)]
    strings = ["a shared string"] * 100_000
    return {
        "rows.xlsx": made.xlsx({"All": rows}),
        "strings.xlsx": made.xlsx({"A": [made.row('<c t="s"><v>7</v></c>')]}, strings),
        "nested.html": b"<div>" * 2000 + b"words",
        "formats.html": b"<b><i>" * 100_000 + b"words",
        "open comment.html": b"words" + b"<!--" * 10**5,
        "attributes.html": b"words<a " + b'x="' * 10**6,
        "picture.html": b"words<img src='data:image/png;base64," + b"A" * 30 * 2**20 + b"'>",
        "nested.docx": made.docx(
            "<w:tbl><w:tr><w:tc>" * 5000 + made.paragraph("words") + "</w:tc></w:tr></w:tbl>" * 5000
        ),
        "backslashes.rtf": b"{\\rtf1 words" + b"\\" * 10**5,
        "bin.rtf": b"{\\rtf1 words\\bin9999999999 ",
        "digits.rtf": b"{\\rtf1 words\\u" + b"9" * 10**6,
        "boundaries.eml": b"Subject: words\nContent-Type: multipart/mixed; boundary=a\n\n"
        + b"--a\n\n" * 20_000,
    }


def _sparse(size):
    def write(path):
        with open(path, "wb") as file:
            file.truncate(size)

    return write
