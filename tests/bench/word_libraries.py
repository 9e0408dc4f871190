"""Mixed libraries and queries by meaning, names and numbers, to measure words beside vectors.

Half of the rows are pictures, clips and notes of the drawn world, which the demo model knows. The
other half are passages of invented letters in five languages, of which it knows nothing. Each row
is a file of its own. Odd and even seeds have other scenes, words, names and numbers. The drawn
world and all vectors are kept in the user's cache: another run needs no model.
"""

from __future__ import annotations

import pickle
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from libraries import ASKED, IMAGE, TEXT, TWINS, VIDEO, Pool, make_pool

from qvsearch.cache import cache_folder, file_name, keep, read
from qvsearch.library.tokens import tokens
from qvsearch.library.words import Words, searchable
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.models.registry import DEMO, resolve
from qvsearch.retrieval.calibration import Baseline, baseline_of, calibrate
from qvsearch.runtime.local import LocalEmbedder
from qvsearch.types import EmbedInput, Item, Kind, Segment

EMBEDDED = 200  # letters; the vectors of all others are these, with noise
NOISE = 0.02
TOPICS, TOPICAL, COMMON = 60, 25, 2000  # topics, words of each, words of all
SYLLABLES = {
    "en": "ba den lor mik sun tra vel wor ing ton ched pli gra ost ame",
    "de": "schlü brau gen ström heim über zeit kön tag wich fel ße mark bur tal",
    "fr": "cré mai vé lou son ça eau fran née ver cour gui lais ôte ture",
    "ru": "ба тов ски жен мор нос ель гри вол ка пре шин дом рус тан",
    "zh": "市政道路会议报告图书天气花园学校医院电影音乐旅行火车飞机银行合同发票项目",
}
NAMES = {"IMG": IMAGE, "MVI": VIDEO, "note": TEXT}
SUFFIX = {IMAGE: "jpg", VIDEO: "mp4", TEXT: "txt"}


@dataclass(frozen=True)
class Letter:
    """A passage of a letter: its text and file name, its topic, the name and number in it."""

    text: str
    file: str
    topic: int
    name: str
    number: str


@dataclass(frozen=True)
class Asked:
    """A query of a group, its words and vector, and which rows (n,) answer; none may."""

    group: str
    text: str
    vector: np.ndarray
    matches: np.ndarray


class Postings:
    """The words of rows, as a source of `Words`."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._rows: dict[str, dict[int, int]] = defaultdict(dict)
        self._tokens = [tokens(each) for each in searchable(segments)]
        for row, words in enumerate(self._tokens):
            for token, count in Counter(words).items():
                self._rows[token][row] = count

    def postings(self, token: str) -> tuple[np.ndarray, np.ndarray]:
        found = self._rows.get(token, {})
        return np.array(list(found), np.int64), np.array(list(found.values()), np.int64)

    def at_least(self, token: str) -> int:
        return 0

    def phrase(self, words: Sequence[str]) -> np.ndarray:
        rows = set.intersection(*({*self._rows.get(each, {})} for each in words))
        size, wanted = len(words), list(words)
        return np.array(
            [
                row
                for row in sorted(rows)
                if any(
                    self._tokens[row][at : at + size] == wanted
                    for at in range(len(self._tokens[row]) - size + 1)
                )
            ],
            np.int64,
        )

    def lengths(self) -> tuple[np.ndarray, np.ndarray]:
        return np.arange(len(self._tokens)), np.array([len(each) for each in self._tokens])

    def text(self, row: int) -> str | None:
        return None

    def read_by(self, reader: str) -> np.ndarray:
        return np.empty(0, np.int64)


@dataclass(frozen=True)
class Mixed:
    """A library: its rows' vectors and words, and the queries to it."""

    size: int
    vectors: np.ndarray
    kinds: np.ndarray
    words: Words
    segments: Mapping[int, Segment]
    bank: np.ndarray
    asked: Sequence[Asked]

    @property
    def files(self) -> np.ndarray:
        """Each row is a file of its own."""
        return np.arange(self.size)

    def evidence(self, query: Asked) -> np.ndarray:
        """Return the evidence (size,) by meaning alone."""
        scores = (self.vectors @ query.vector).astype(np.float32)
        return calibrate(scores, self.kinds, self.baselines).evidence

    @cached_property
    def baselines(self) -> dict[int, Baseline | None]:
        """Each kind's baseline."""
        found = {}
        for kind in set(self.kinds.tolist()):
            scores = self.vectors[self.kinds == kind] @ self.bank.T
            found[kind] = baseline_of(np.stack([scores.mean(1), scores.std(1)], axis=1))
        return found


class Writer:
    """Writes letters with words of its own."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.words = {each: self._vocabulary(each, COMMON) for each in SYLLABLES}
        self.topics = {
            each: [self._vocabulary(each, TOPICAL) for _ in range(TOPICS)] for each in SYLLABLES
        }
        self.first = {each: self._vocabulary(each, 80, 2) for each in SYLLABLES}
        self.last = {each: self._vocabulary(each, 600, 3) for each in SYLLABLES}
        shares = 1 / np.arange(1, COMMON + 1)  # Zipf's law
        self.upto = np.cumsum(shares / shares.sum())

    def _vocabulary(self, language: str, count: int, length: int = 0) -> list[str]:
        all_ = SYLLABLES[language]
        parts = list(all_) if language == "zh" else all_.split()
        sizes = self.rng.integers(1, 4, count) if not length else np.full(count, length)
        return ["".join(self.rng.choice(parts, size)) for size in sizes]

    def name(self, language: str) -> str:
        some = (self.first[language], self.last[language])
        names = [each[int(self.rng.integers(len(each)))] for each in some]
        return "".join(names) if language == "zh" else " ".join(each.title() for each in names)

    def number(self) -> str:
        """Return a number as on invoices, in contracts or on labels."""
        rng = self.rng
        form = rng.choice(["INV-{y}-{n:04}", "{n:04}/{y}", "K{n}-{m:03}", "DE{m:03} {n:04} {k:04}"])
        n, m, k = rng.integers(10_000), rng.integers(1000), rng.integers(10_000)
        return str(form).format(y=rng.integers(2015, 2026), n=n, m=m, k=k)

    def letter(self, number: int) -> Letter:
        rng = self.rng
        language = str(rng.choice(list(SYLLABLES), p=(0.6, 0.1, 0.1, 0.1, 0.1)))
        topic = int(rng.integers(TOPICS))
        size = int(rng.integers(15, 90))
        is_topical = rng.random(size) < 0.25
        usual, topical = self.words[language], self.topics[language][topic]
        picks = np.searchsorted(self.upto, rng.random(size)) % COMMON
        parts = [
            topical[pick % TOPICAL] if own else usual[pick]
            for pick, own in zip(picks.tolist(), is_topical.tolist(), strict=True)
        ]
        name, label = self.name(language), self.number()
        parts.insert(int(rng.integers(size)), name)
        parts.insert(int(rng.integers(size)), label)
        joint = "" if language == "zh" else " "
        month = rng.choice(["january", "march", "june", "october"])
        sort = rng.choice(["invoice", "contract", "letter", "minutes"])
        file = f"{sort} {month} {name.split()[-1]} {number}.txt"
        return Letter(joint.join(parts) + ".", file, topic, name, label)


def mixed_libraries(
    seed: int, sizes: Sequence[int], count: int, scenes: int = 400
) -> Iterator[Mixed]:
    """Yield a library of each size with `count` queries of each group."""
    pool = _kept(lambda: make_pool(count=scenes, seed=seed), scenes, seed)
    writer = Writer(seed)
    letters = [writer.letter(number) for number in range(max(EMBEDDED, max(sizes) // 2))]
    some = _embedded([each.text for each in letters[:EMBEDDED]])
    vectors = np.resize(some, (len(letters), some.shape[1]))
    vectors += writer.rng.normal(0, NOISE, vectors.shape)
    for size in sizes:
        yield _library(pool, writer, letters, vectors, size, count)


def _kept(make: Callable[[], Any], *decides: object) -> Any:
    """Return what `make` returned in the first run with what decides it."""
    path = cache_folder("bench") / file_name(resolve(DEMO).revision, *decides)
    body = read(path)
    if body is None:
        body = pickle.dumps(make())
        keep(path, body)
    return pickle.loads(body)


def _embedded(texts: Sequence[str], instruction: str | None = None) -> np.ndarray:
    """Return the demo model's vectors (len(texts), dim)."""

    def embed() -> np.ndarray:
        inputs = [EmbedInput(text=each, instruction=instruction) for each in texts]
        parts = [inputs[at : at + 64] for at in range(0, len(inputs), 64)]
        return np.concatenate([_embedder().embed(part) for part in parts])

    return _kept(embed, texts, instruction)


@cache
def _embedder() -> LocalEmbedder:
    return LocalEmbedder(DEMO, device="cpu", dtype="float32")


def _library(
    pool: Pool,
    writer: Writer,
    letters: Sequence[Letter],
    vectors: np.ndarray,
    size: int,
    count: int,
) -> Mixed:
    rng = writer.rng
    originals = np.flatnonzero(pool.scene < len(pool.scenes) - ASKED * TWINS)
    drawn = rng.choice(originals, size // 2, replace=size // 2 > len(originals))
    some = rng.choice(len(letters), size - len(drawn), replace=False)
    noise = rng.normal(0, NOISE, (len(drawn), pool.documents.shape[1]))
    rows = np.concatenate([pool.documents[drawn] + noise, vectors[some]]).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    kinds = np.concatenate([pool.kind[drawn], np.full(len(some), TEXT, np.uint8)])
    labels = {code: name for name, code in NAMES.items()}
    files = [
        f"{labels[int(pool.kind[row])]}_{at + 1000}.{SUFFIX[int(pool.kind[row])]}"
        for at, row in enumerate(drawn)
    ] + [letters[each].file for each in some]
    texts = [pool.texts[row] for row in drawn] + [letters[each].text for each in some]
    segments = [
        Segment(Item(b"/media", file.encode(), list(Kind)[kind], 1, 0), str(at), words=text or None)
        for at, (file, text, kind) in enumerate(zip(files, texts, kinds.tolist(), strict=True))
    ]
    words = Words([Postings(segments)], np.ones(size, np.bool_))
    kept = [letters[each] for each in some]
    questions = list(_questions(pool, writer, drawn, kept, files, count))
    embedded = _embedded([text for _, text, _ in questions], QUERY_INSTRUCTION)
    asked = [
        Asked(group, text, vector, matches)
        for (group, text, matches), vector in zip(questions, embedded, strict=True)
    ]
    return Mixed(size, rows, kinds, words, dict(enumerate(segments)), pool.bank, asked)


def _questions(
    pool: Pool,
    writer: Writer,
    drawn: np.ndarray,
    letters: Sequence[Letter],
    files: Sequence[str],
    count: int,
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield the group and text of each query, and the rows that answer."""
    rng, beside = writer.rng, np.zeros(len(letters), np.bool_)
    first = len(drawn)

    def by_scene(holds: np.ndarray) -> np.ndarray:
        return np.concatenate([holds[drawn], beside])

    def by_letter(fits: Sequence[bool]) -> np.ndarray:
        return np.concatenate([np.zeros(first, np.bool_), np.array(fits)])

    for group in ("captions", "paraphrases", "phrases"):
        holds = pool.fits if group == "phrases" else pool.holds
        places = [at for at in range(len(holds)) if by_scene(holds[at]).any()]
        for at in rng.permutation(places)[:count]:
            yield group, pool.asked[group][at], by_scene(holds[at])
    for text in rng.permutation(pool.asked["nonsense"])[:count]:
        yield "nonsense", str(text), by_scene(np.zeros(len(pool.scene), np.bool_))
    nothing = np.zeros(len(files), np.bool_)
    for at in rng.permutation(len(letters))[:count].tolist():
        letter = letters[at]
        yield "names in texts", letter.name, by_letter([letter.name in e.text for e in letters])
        yield "numbers", letter.number, by_letter([letter.number in e.text for e in letters])
        fits = by_letter([letter.number in each.text for each in letters])
        yield "numbers with words", f"{letter.file.split()[0]} {letter.number}", fits
        words = [w for language in SYLLABLES for w in writer.topics[language][letter.topic]]
        own = [each for each in words if each in letter.text] or words[:1]
        others = rng.choice(words[:TOPICAL] if own[0] in words[:TOPICAL] else own, 2)
        text = " ".join([str(rng.choice(own)), *others])
        yield "topics", text, by_letter([each.topic == letter.topic for each in letters])
        yield "absent numbers", writer.number() + "9", nothing
        yield "absent names", "Qorvath " + str(rng.choice(writer.first["en"])), nothing
        row = first + at
        yield "names of files", files[row].removesuffix(".txt"), np.arange(len(files)) == row
    for row in rng.permutation(first)[:count].tolist():
        yield "names of pictures", files[row].rpartition(".")[0], np.arange(len(files)) == row
