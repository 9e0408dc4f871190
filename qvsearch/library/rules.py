"""The patterns that a library remembers of its roots, and which files they leave out."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from qvsearch.errors import QvsearchError
from qvsearch.formats import path_field, read_path
from qvsearch.library.clutter import Clutter
from qvsearch.library.patterns import option_spec, pattern_text
from qvsearch.types import Kind

MOST_PATTERNS = 1000  # of a root; each is tried on each file
LONGEST_PATTERN = 4096  # characters, as of a path


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """Which files are wanted; patterns are matched against the path relative to the root.

    `kinds` None is every kind. Clutter is left out unless `include` names it. Symlinks are passed
    over unless `follow_symlinks`; then a folder is entered once, and a link to a folder of the same
    root not at all (its files are met there).
    """

    kinds: frozenset[Kind] | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hidden: bool = False
    follow_symlinks: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """Which files of a root are wanted: patterns as in .gitignore, relative to the root."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for more than a library takes."""
        patterns = (*self.include, *self.exclude)
        if len(patterns) > MOST_PATTERNS:
            raise ValueError(f"there are {len(patterns):,} patterns, at most {MOST_PATTERNS:,}")
        if any(not 0 < len(pattern) <= LONGEST_PATTERN for pattern in patterns):
            raise ValueError(f"a pattern is empty or longer than {LONGEST_PATTERN:,} characters")


NO_RULES = Rules()
EVERY = ScanOptions()


def scans_of(
    remembered: Mapping[bytes, Rules],
    roots: Iterable[bytes] = (),
    options: ScanOptions = EVERY,
    *,
    forget: bool = False,
) -> dict[bytes, ScanOptions]:
    """Return how to scan each root that has rules and each of `roots`.

    The include and exclude of `options` come to what is remembered of each of `roots`, or replace
    it with `forget`. Raises QvsearchError for too many or too long patterns.
    """
    rules = dict(remembered)
    for root in roots:
        before = NO_RULES if forget else remembered.get(root, NO_RULES)
        try:
            rules[root] = Rules(
                _joined(before.include, options.include), _joined(before.exclude, options.exclude)
            )
        except ValueError as error:
            raise QvsearchError(
                f"--include and --exclude of {os.fsdecode(root)}: {error};"
                " --forget-rules drops those of earlier runs"
            ) from error
    return {
        root: replace(options, include=each.include, exclude=each.exclude)
        for root, each in rules.items()
    }


def lasting(
    scans: Mapping[bytes, ScanOptions], remembered: Mapping[bytes, Rules], paths: Collection[bytes]
) -> dict[bytes, ScanOptions]:
    """Return the scans of a run with the patterns that outlast it.

    Those of a root that is not itself among the `paths` given are what they were before the run.
    """
    before = {root: remembered.get(root, NO_RULES) for root in scans}
    return {
        root: each
        if root in paths
        else replace(each, include=before[root].include, exclude=before[root].exclude)
        for root, each in scans.items()
    }


def _joined(before: tuple[str, ...], given: tuple[str, ...]) -> tuple[str, ...]:
    """Return the patterns in order, each once and as text that JSON can hold; the last decides."""
    texts = [os.fsencode(pattern).decode("utf-8", "replace") for pattern in given]
    return tuple(dict.fromkeys([*(each for each in before if each not in texts), *texts]))


def rules_text(rules: Rules) -> str:
    """Return rules as the options that a command line would have."""
    options = [("--include", pattern) for pattern in rules.include]
    options += [("--exclude", pattern) for pattern in rules.exclude]
    return " ".join(f"{option} {shlex.quote(pattern)}" for option, pattern in options)


def rules_records(rules: Mapping[bytes, Rules]) -> list[dict[str, object]]:
    """Return the rules of roots as JSON can hold them; `read_rules` reads them."""
    return [
        {**path_field(root), "include": each.include, "exclude": each.exclude}
        for root, each in rules.items()
    ]


def read_rules(records: list[Any]) -> dict[bytes, Rules]:
    """Raise KeyError, TypeError or ValueError for anything that `rules_records` does not give."""
    rules = {
        read_path(each): Rules(_texts(each, "include"), _texts(each, "exclude")) for each in records
    }
    if len(rules) < len(records):
        raise ValueError("a root has rules twice")
    return rules


def _texts(record: dict[str, Any], key: str) -> tuple[str, ...]:
    texts = record[key]
    if type(texts) is not list or not all(type(text) is str for text in texts):
        raise TypeError(f"{key} is {texts!r:.80}")
    return tuple(texts)


def left_out(root: bytes, options: ScanOptions) -> Callable[[bytes], str | None]:
    """Return the test why a file of that relative path is left out of a root, None if it is not.

    By its name alone: as clutter, by `include` or by `exclude`.
    """
    clutter = Clutter(root, options.include)
    include = option_spec("--include", options.include)
    exclude = option_spec("--exclude", options.exclude)

    def reason(relative: bytes) -> str | None:
        found = clutter.within(relative) if relative else None
        if found is not None:
            return found[1]
        name = pattern_text(relative or os.path.basename(root))
        if exclude and exclude.match_file(name):
            return "--exclude"
        return "not in --include" if include and not include.match_file(name) else None

    return reason
