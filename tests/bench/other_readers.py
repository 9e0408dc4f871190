"""How far the words of a document are those that another program reads in it.

The other programs are pdftotext for PDF files, odt2txt, and pandoc for web pages, Word documents
and all pages of an e-book. Presentations and workbooks are converted to PDF by LibreOffice first.
The rows of a table repeat the names of its columns in our reading alone. pdftotext needs
poppler-data for Chinese and Japanese.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import unicodedata
import zipfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from debian_files import convert
from support.images import item_of

from qvsearch.media import document, text
from qvsearch.types import Kind

PANDOC = {".docx": "docx", ".html": "html"}
NEEDED = dict.fromkeys([*PANDOC, ".epub"], ["pandoc"]) | {
    ".pdf": ["pdftotext"],
    ".odt": ["odt2txt"],
}
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
    """Return the same of another program; None without one, or if it fails."""
    if not all(map(shutil.which, NEEDED.get(path.suffix, ["soffice", "pdftotext"]))):
        return None
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _other_texts(path, Path(folder))
    except subprocess.CalledProcessError:
        return None


def _other_texts(path: Path, folder: Path) -> dict[int, str]:
    if path.suffix == ".pdf":
        return pdf_texts(path)
    if path.suffix in PANDOC:
        return {1: plain([path], PANDOC[path.suffix])}
    if path.suffix == ".odt":
        return {1: output(["odt2txt", "--width=-1", "--encoding=UTF-8", str(path)])}
    if path.suffix == ".epub":
        with zipfile.ZipFile(path) as packed:
            pages = [each for each in packed.namelist() if each.endswith((".xhtml", ".html"))]
            return {1: plain([Path(packed.extract(each, folder)) for each in pages], "html")}
    convert([path], "pdf", folder)
    return {1: "\n".join(pdf_texts(folder / f"{path.stem}.pdf").values())}


def plain(paths: list[Path], form: str) -> str:
    """Return the text of files of one form, read by pandoc."""
    return output(["pandoc", "-f", form, "-t", "plain", "--wrap=none", *map(str, paths)])


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
