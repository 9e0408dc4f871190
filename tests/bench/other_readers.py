"""How far the words of a document are those that another program reads in it.

The other programs are pdftotext for PDF files, and pandoc for texts. Presentations and workbooks
are converted to PDF by LibreOffice first.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from debian_files import convert
from support.images import item_of

from qvsearch.media import document, text
from qvsearch.types import Kind

PANDOC = {".epub": "epub", ".docx": "docx", ".odt": "odt", ".html": "html"}
_WORD = re.compile(r"[^\W_]+")


class Agreement(NamedTuple):
    """Words of a file in each reading, and how many only one of them has; repetitions count."""

    ours: int
    theirs: int
    added: int
    lost: int

    @property
    def share(self) -> float:
        """The share of the words of both readings that are the same, from 0 to 1."""
        both = self.ours + self.theirs
        return 1 - (self.added + self.lost) / both if both else 1.0


def agreement(path: Path) -> Agreement | None:
    """Compare the words of a file, page by page; None without a program that reads it."""
    theirs = other_texts(path)
    if theirs is None:
        return None
    mine = our_texts(path)
    if len(mine) < len(theirs):  # a document of many pages is sampled
        theirs = {number: theirs[number] for number in mine}
    pages = [(words(each), words(theirs.get(number, ""))) for number, each in mine.items()]
    return Agreement(
        sum(ours.total() for ours, _ in pages),
        sum(other.total() for _, other in pages),
        sum((ours - other).total() for ours, other in pages),
        sum((other - ours).total() for ours, other in pages),
    )


def our_texts(path: Path) -> dict[int, str]:
    """Return the text of each page from 1, or of the whole file as page 1; raises MediaError."""
    with path.open("rb") as file:
        if path.suffix == ".pdf":
            pages = document.page_words(file, item_of(path, Kind.DOCUMENT))
            return {number: each or "" for number, each in pages}
        return {1: text.whole(file, item_of(path, Kind.TEXT))}


def other_texts(path: Path) -> dict[int, str] | None:
    """Return the same of another program, None without one."""
    if path.suffix == ".pdf":
        return None if shutil.which("pdftotext") is None else pdf_texts(path)
    if path.suffix in PANDOC:
        if shutil.which("pandoc") is None:
            return None
        form = ["-f", PANDOC[path.suffix], "-t", "plain", "--wrap=none"]
        return {1: output(["pandoc", *form, str(path)])}
    if shutil.which("soffice") is None or shutil.which("pdftotext") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        convert([path], "pdf", Path(folder))
        return {1: "\n".join(pdf_texts(Path(folder) / f"{path.stem}.pdf").values())}


def pdf_texts(path: Path) -> dict[int, str]:
    """Return the text of each page from 1."""
    *pages, _ = output(["pdftotext", str(path), "-"]).split("\f")
    return dict(enumerate(pages, 1))


def output(command: list[str]) -> str:
    """Return what a program prints."""
    return subprocess.run(command, check=True, capture_output=True).stdout.decode(errors="replace")


def words(text: str) -> Counter[str]:
    """Return how often a text has each word, in small letters."""
    return Counter(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))
