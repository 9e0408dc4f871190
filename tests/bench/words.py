"""Time and size of the words of many passages: writing, merging, and each kind of look-up.

    python tests/bench/words.py [PASSAGES]

Passages have 70 words of a vocabulary in which the n-th word is 1/n as frequent as the first.
"""

import sys
import time

import numpy as np

from qvsearch.library.shard_words import ShardWords
from qvsearch.library.words_file import RowWords, words_file

WORDS, VOCABULARY = 70, 60_000
LETTERS = np.array(list("etaoinshrdlucmfwypvbgk"))


def passages(count):
    rng = np.random.default_rng(0)
    letters = "".join(rng.choice(LETTERS, 10 * VOCABULARY))
    lengths = rng.integers(2, 10, VOCABULARY).tolist()
    vocabulary = [letters[10 * n : 10 * n + length] for n, length in enumerate(lengths)]
    likely = 1 / np.arange(1, VOCABULARY + 1)
    chosen = rng.choice(VOCABULARY, (count, WORDS), p=likely / likely.sum())
    return vocabulary, [" ".join([vocabulary[word] for word in row]) for row in chosen.tolist()]


def timed(name, act):
    """Print the least processor time of three times, which other programs hardly change."""
    times = []
    for _ in range(3):
        start = time.process_time()
        found = act()
        times.append(time.process_time() - start)
    print(f"{name}: {min(times) * 1000:,.2f} ms, {len(found):,} rows")


def main(count):
    vocabulary, texts = passages(count)
    rows = [RowWords(text, frozenset({"file"})) for text in texts]
    start, cpu = time.perf_counter(), time.process_time()
    data = words_file(rows, texts)
    took, busy = time.perf_counter() - start, time.process_time() - cpu
    print(f"{count:,} passages of {WORDS} words, {sum(map(len, texts)) / 1e6:.0f} MB of text")
    print(f"written in {took:.1f} s ({busy:.1f} s of a processor): {len(data) / 1e6:.1f} MB")
    words = ShardWords("words", memoryview(data), np.arange(count))
    packed = sum(len(each) for (each,) in words._all("SELECT data FROM texts"))
    print(f"of these, texts are {packed / 1e6:.1f} MB")
    half = next(word for word in vocabulary if len(words.postings(word)[0]) < count / 2)
    timed("a rare word", lambda: words.postings(vocabulary[30_000])[0])
    timed("a word of half of the rows", lambda: words.postings(half)[0])
    timed("the most frequent word", lambda: words.postings(vocabulary[0])[0])
    timed("whether it is as frequent", lambda: range(words.at_least(vocabulary[0])))
    timed("a phrase of two frequent words", lambda: words.phrase(vocabulary[3:5]))
    timed("a phrase of two rare words", lambda: words.phrase(vocabulary[3_000:3_002]))
    timed("the lengths of all rows", lambda: words.lengths()[0])
    timed("a text", lambda: words.text(count // 2))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
