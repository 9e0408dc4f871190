"""One explanation with every field set."""

from pathlib import Path

import numpy as np

from qvsearch.retrieval.calibration import Baseline, level_of
from qvsearch.retrieval.explain import Explained, Explanation, Weighed
from qvsearch.types import Item, Kind, Segment

LEVEL = level_of(np.float32([0.1, 0.2, 0.4]), Baseline(0.1, 0.1), words=1)


SAMPLE = Explanation(  # with everything that an explanation can say
    b"/a.mp4",
    "hidden",
    (
        Explained(
            Segment(Item(b"/a.mp4", b"", Kind.VIDEO, 1, 1), "0", 0.0, 1.0, (1, 2), clip=True),
            0.4,
            0.7,
            (Weighed("red", 1.0, 0.7, 0.4, LEVEL),),
        ),
    ),
    0.7,
    1,
    2,
    0.5,
    ("--kind image: a video",),
    b"/b.mp4",
    Path("/lib"),
)
