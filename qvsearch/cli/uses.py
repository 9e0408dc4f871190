"""What search does with hits beside printing them, e.g. saving clips or copying files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qvsearch.types import Hit


@dataclass(frozen=True, slots=True)
class Used:
    """The result of a use: fields of `--json` for each hit, and lines for a person.

    If not `is_whole`, a file is missing, which was reported, and the exit code is 3.
    """

    fields: Sequence[Mapping[str, object]]
    lines: Sequence[str] = ()
    is_whole: bool = True


Use = Callable[[Sequence["Hit"]], Used]
