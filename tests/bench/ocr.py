"""The time, memory and errors of OCR: `python tests/bench/ocr.py [--languages en de]`.

Pages of a text in each language are drawn and read in this process, one at a time. Printed are the
median seconds by the clock and of the processor, the peak memory of the process, and the share of
characters that are wrong (edit distance over length, without spaces).
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from qvsearch.media import ocr

# written for this: each has the letters that its language adds to those of English
TEXTS = {
    "en": "Invoice INV-2024-0117: the total of 1,234.56 EUR is due by 15 March; thank you!",
    "de": "Für größere Änderungen an der Straße über die Brücke müssen wir Gebühren erhöhen.",
    "fr": "Où êtes-vous ? L'élève a reçu la leçon à Noël, près du château, sans être gêné.",
    "es": "El niño comió una piña mañana y después cantó una canción en un jardín público.",
    "pl": "Zażółć gęślą jaźń, potem idź do źródła i weź ósmą łódkę dla córki sąsiada.",
    "cs": "Příliš žluťoučký kůň úpěl ďábelské ódy, řekl děda a šel domů dříve než včera.",
    "tr": "Çocuk güneşli öğleden sonra ırmağın kıyısında büyük şişeyi bulup ağacı suladı.",
}
FONT = "mpl-data/fonts/ttf/DejaVuSans.ttf"  # of matplotlib
SIZES = ("1280x720", "1920x1080", "1654x2339")  # two screens, and A4 at 200 dpi


def page(text: str, width: int, height: int, size: int) -> tuple[Image.Image, str]:
    """Return a page full of a text, and its lines."""
    spec = find_spec("matplotlib")
    assert spec is not None
    assert spec.origin is not None
    font = ImageFont.truetype(Path(spec.origin).parent / FONT, size)
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    words, lines, word = cycle(text.split()), [], ""
    for top in range(40, height - 2 * size - 20, round(1.7 * size)):
        line = word
        while draw.textlength(f"{line} {(word := next(words))}", font=font) < width - 120:
            line = f"{line} {word}".strip()
        draw.text((60, top), line, font=font, fill=(20, 20, 20))
        lines.append(line)
    return image, "\n".join(lines)


def distance(one: str, other: str) -> int:
    """Return the edit distance of two texts."""
    letters = np.array([ord(each) for each in one])
    places = np.arange(len(letters) + 1)
    row = places
    for number, letter in enumerate(other, 1):
        replaced = row[:-1] + (letters != ord(letter))
        best = np.concatenate([[number], np.minimum(row[1:] + 1, replaced)])
        row = np.minimum.accumulate(best - places) + places
    return int(row[-1])


def errors(truth: str, found: str) -> float:
    """Return the share of wrong characters."""
    truth, found = "".join(truth.split()), "".join(found.split())
    return distance(truth, found) / len(truth)


def measure(given: argparse.Namespace) -> None:
    """Print a line for each size and language."""
    for name in given.sizes:
        width, height = map(int, name.split("x"))
        for language in given.languages:
            # a page has larger letters than a screen
            image, truth = page(TEXTS[language], width, height, 26 if height > width else 18)
            pixels, clock, work = np.asarray(image), [], []
            for _ in range(given.repeats):
                since, used = time.perf_counter(), time.process_time()
                found = ocr.read(pixels)
                clock.append(time.perf_counter() - since)
                work.append(time.process_time() - used)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"{name} {language}: {statistics.median(clock):.1f} s"
                f" ({statistics.median(work):.1f} s of the processor), at most {peak:.0f} MB,"
                f" {len(truth.splitlines())} lines, {100 * errors(truth, found):.2f} % wrong",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", metavar="WxH", default=list(SIZES))
    parser.add_argument("--languages", nargs="+", choices=TEXTS, default=list(TEXTS))
    parser.add_argument("--repeats", type=int, default=1)
    measure(parser.parse_args())
