"""Documents that Debian's packages ship: python tests/bench/debian_documents.py

The packages are downloaded and unpacked, and not installed. Their documents are indexed with random
vectors, since only words are sought. Printed are, for each suffix:

- the files that were indexed, and the reason of each other one;
- the pages, or passages of a text, with the time of one core and the peak memory to decode them;
- how many words are the same as those that another program reads (`other_readers.py`);
- how often the page or passage with the answer to one of ten questions is found by exact words
  among all files of the suffix. `debian_questions.tsv` has them: suffix, words, the end of the
  path, and the page, or words that are in the passage.

Without pdftotext (poppler-utils), pandoc or LibreOffice their part is left out.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from debian_files import PACKAGES, fetch
from other_readers import Agreement, agreement

from qvsearch.choices import By
from qvsearch.errors import MediaError
from qvsearch.indexing.counts import Event
from qvsearch.indexing.pipeline import IngestOptions, index
from qvsearch.library.filters import Filters
from qvsearch.library.library import Library
from qvsearch.library.rules import ScanOptions
from qvsearch.models.patches import PREPROCESSING
from qvsearch.models.prompt import DOCUMENT_INSTRUCTION, PROMPT_LAYOUT
from qvsearch.retrieval.pipeline import Query, SearchOptions, search
from qvsearch.types import Detail, EmbedInput, Fingerprint, Hit

if TYPE_CHECKING:
    from qvsearch.types import Vectors

FINGERPRINT = Fingerprint(
    "random", "1", 64, Detail.LOW, DOCUMENT_INSTRUCTION, PROMPT_LAYOUT, PREPROCESSING
)
QUESTIONS = Path(__file__).with_name("debian_questions.tsv")
WORST = 5  # files whose words agree least are named
FIRST = 3
COMPARED = 80  # files of a suffix; to read them again takes longer than to index them


class Question(NamedTuple):
    """Words, and the end of the path and the answer, a page or words of a passage, to be found."""

    suffix: str
    words: str
    path: str
    answer: str

    def is_answered(self, hit: Hit, passage: str | None) -> bool:
        """Whether a hit shows the answer."""
        page = hit.segment.page
        found = self.answer in " ".join((passage or "").split())
        is_there = found if page is None else self.answer == str(page)
        return is_there and str(hit.path).endswith(f"/{self.path}")


class Unread:
    """An embedder that reads nothing: its vectors are random."""

    dim = 64

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def embed(self, inputs: Sequence[EmbedInput]) -> Vectors:
        vectors = self._random.standard_normal((len(inputs), self.dim), np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@dataclass
class Costs:
    """Files of a suffix, and what decoding them took: seconds of one core, bytes at most."""

    pages: int = 0
    indexed: int = 0
    seconds: float = 0.0
    peak: int = 0
    reasons: list[tuple[str, str]] = field(default_factory=list)


def index_folder(library: Library, root: Path) -> Costs:
    """Index a folder and return its costs."""
    costs = Costs()

    def report(event: Event) -> None:
        costs.peak = max(costs.peak, decoder_peak())
        if event.path is None:
            return
        if event.state == "skipped":
            costs.reasons.append((os.fsdecode(event.path), event.reason or ""))
            return
        costs.indexed += 1
        costs.pages += event.segments

    before = decoding_seconds()
    index(
        library,
        [os.fsencode(root)],
        Unread,
        IngestOptions(ScanOptions(hidden=True), ocr=False),
        report,
        lambda: False,
    )
    costs.seconds = decoding_seconds() - before
    return costs


def decoding_seconds() -> float:
    """Return the seconds that ended processes have computed, the start of Python among them."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def decoder_peak() -> int:
    """Return the most bytes that a running decoder has held."""
    peak = 0
    for process in psutil.Process().children():
        with suppress(OSError, IndexError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, 1024 * int(status.split("VmHWM:")[1].split()[0]))
    return peak


def agreements(root: Path) -> Iterator[tuple[Path, Agreement]]:
    """Yield files that another program reads, too: at most COMPARED, spread evenly."""
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    for path in paths[:: -(-len(paths) // COMPARED)]:
        with suppress(MediaError):  # the reason is printed for the index
            if (found := agreement(path)) is not None:
                yield path, found


def print_agreement(root: Path) -> None:
    """Print how many words of a suffix both readings have, and the files that agree least."""
    found = list(agreements(root))
    if not found:
        return
    sums = Agreement(*map(sum, zip(*(each for _, each in found), strict=True)))
    print(
        f"{root.name}: {sums.share:.2%} of the words agree in {len(found)} files;"
        f" {sums.added / max(1, sums.ours):.2%} of ours and"
        f" {sums.lost / max(1, sums.theirs):.2%} of the others are in one reading alone"
    )
    for path, each in sorted(found, key=lambda pair: pair[1].share)[:WORST]:
        print(f"  {each.share:7.2%}  +{each.added} -{each.lost} of {each.theirs}  {path.name}")


def text(library: Library, hit: Hit) -> str | None:
    """Return the stored text of the passage of a hit."""
    rows = library.by_location()[hit.segment.item.location]
    return next(library.words.text(row) for row in rows if library.segments[row] == hit.segment)


def print_answers(library: Library) -> None:
    """Print how many questions find the right place, and those that do not."""
    with QUESTIONS.open(newline="") as file:
        questions = [Question(*row) for row in csv.reader(file, delimiter="\t")]
    by_suffix: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for question in questions:
        options = SearchOptions(top=FIRST, filters=Filters(suffixes=(question.suffix,)))
        hits = search(library, Query(words=question.words, by=By.WORDS), options=options)
        rank = next(
            (each.rank for each in hits if question.is_answered(each, text(library, each))), 0
        )
        by_suffix[question.suffix][rank] += 1
        if rank != 1:
            print(f"  rank {rank or '-'}: {question.words} (in {question.path})")
    for suffix, ranks in by_suffix.items():
        print(
            f"{suffix}: {ranks[1]} of {ranks.total()} questions find their place first,"
            f" {ranks.total() - ranks[0]} among the first {FIRST}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", nargs="+", default=[*PACKAGES])
    parser.add_argument("--without-readers", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve()
        roots = fetch(arguments.packages, folder)
        library = Library.create(folder / "library", FINGERPRINT)
        started = time.monotonic()
        for root in roots:
            costs = index_folder(library, root)
            pages = max(1, costs.pages)
            print(
                f"{root.name}: {costs.indexed} files indexed, {len(costs.reasons)} skipped;"
                f" {costs.pages} pages or passages, {1000 * costs.seconds / pages:.0f} ms of one"
                f" core each to decode, at most {costs.peak / 2**20:.0f} MB"
            )
            for path, reason in costs.reasons:
                print(f"  {Path(path).relative_to(root)}: {reason}")
        print(f"indexed in {time.monotonic() - started:.0f} s")
        print_answers(library)
        for root in roots if not arguments.without_readers else ():
            print_agreement(root)


if __name__ == "__main__":
    main()
