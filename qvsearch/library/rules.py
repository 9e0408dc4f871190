"""Rules: the patterns that a library stores for its roots, and the files that they exclude."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from qvsearch.errors import QvsearchError
from qvsearch.formats import path_fields, read_path
from qvsearch.library.clutter import Clutter
from qvsearch.library.patterns import option_spec, pattern_text
from qvsearch.library.vendored import Vendored
from qvsearch.types import Kind

MOST_PATTERNS = 1000  # of a root; each is matched against each file
LONGEST_PATTERN = 4096  # characters, as of a path


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """Which files a scan returns; patterns are matched against the path relative to the root.

    `kinds` None is every kind. Clutter is skipped unless `include` names it. Symlinks are skipped
    unless `follow_symlinks`. Then a folder is entered once, and a link to a folder of the same root
    is not followed, since the scan reaches that folder anyway.
    """

    kinds: frozenset[Kind] | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hidden: bool = False
    follow_symlinks: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """Which files of a root are indexed: patterns as in .gitignore, relative to the root.

    `kinds` (empty for all), `hidden` and `follow_symlinks` are those of all runs of the root
    together. They hold for runs without a path only.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    hidden: bool = False
    follow_symlinks: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for too many patterns, or an empty or too long one."""
        patterns = (*self.include, *self.exclude)
        if len(patterns) > MOST_PATTERNS:
            raise ValueError(
                f"there are {len(patterns):,} patterns; at most {MOST_PATTERNS:,} are allowed"
            )
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
    as_before: bool = False,
) -> dict[bytes, ScanOptions]:
    """Return the scan options of each of `roots` and of each root that has rules.

    The patterns of `options` are added to the `remembered` ones of each of `roots`; with `forget`
    they replace them. With `as_before` each root has its remembered options, and no others.
    Raises QvsearchError for too many or too long patterns.
    """
    if as_before:
        every = dict.fromkeys(roots, NO_RULES) | dict(remembered)
        return {root: _as_options(each) for root, each in every.items()}
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


def of_kinds(
    scans: Mapping[bytes, ScanOptions], kinds: Collection[Kind]
) -> dict[bytes, ScanOptions]:
    """Return scans for these kinds only, those that a model embeds; no kinds mean all."""
    if not kinds:
        return dict(scans)
    return {
        root: replace(each, kinds=frozenset(kinds) & (each.kinds or frozenset(kinds)))
        for root, each in scans.items()
    }


def _as_options(rules: Rules) -> ScanOptions:
    kinds = frozenset(rules.kinds) or None
    return ScanOptions(kinds, rules.include, rules.exclude, rules.hidden, rules.follow_symlinks)


def rules_of(options: ScanOptions) -> Rules:
    """Return the rules that a root has after a run with these options."""
    kinds = tuple(kind for kind in Kind if options.kinds is not None and kind in options.kinds)
    return Rules(options.include, options.exclude, kinds, options.hidden, options.follow_symlinks)


def widened(before: Rules, now: Rules) -> Rules:
    """Return the rules of a root that also takes what it took before: kinds, hidden names, links.

    So a run for some kinds only does not narrow the later runs without a path.
    """
    both = {*before.kinds, *now.kinds} if before.kinds and now.kinds else set()
    return replace(
        now,
        kinds=tuple(kind for kind in Kind if kind in both),
        hidden=before.hidden or now.hidden,
        follow_symlinks=before.follow_symlinks or now.follow_symlinks,
    )


def lasting(
    scans: Mapping[bytes, ScanOptions], remembered: Mapping[bytes, Rules], paths: Collection[bytes]
) -> dict[bytes, ScanOptions]:
    """Return the scans of a run with the patterns that the library stores afterwards.

    A root that is not itself among the `paths` of the run keeps its earlier patterns.
    """
    before = {root: remembered.get(root, NO_RULES) for root in scans}
    return {
        root: each
        if root in paths
        else replace(each, include=before[root].include, exclude=before[root].exclude)
        for root, each in scans.items()
    }


def _joined(before: tuple[str, ...], given: tuple[str, ...]) -> tuple[str, ...]:
    """Return the patterns in order, each once, where it stood last, and as valid UTF-8."""
    texts = [os.fsencode(pattern).decode("utf-8", "replace") for pattern in given]
    return tuple(dict.fromkeys([*(each for each in before if each not in texts), *texts]))


def patterns_text(rules: Rules) -> str:
    """Return the patterns of rules as options of a command line."""
    options = [("--include", pattern) for pattern in rules.include]
    options += [("--exclude", pattern) for pattern in rules.exclude]
    return " ".join(f"{option} {shlex.quote(pattern)}" for option, pattern in options)


def rules_text(rules: Rules) -> str:
    """Return rules as options of a command line."""
    options = [patterns_text(rules), *(f"--kind {kind}" for kind in rules.kinds)]
    options += ["--hidden"] * rules.hidden + ["--follow-symlinks"] * rules.follow_symlinks
    return " ".join(filter(None, options))


def rules_records(rules: Mapping[bytes, Rules]) -> list[dict[str, object]]:
    """Return the rules of roots as JSON records, which `read_rules` reads."""
    records: list[dict[str, object]] = []
    for root, each in rules.items():
        rest = {
            "kinds": each.kinds,
            "hidden": each.hidden,
            "follow_symlinks": each.follow_symlinks,
        }
        record = {**path_fields("path", root), "include": each.include, "exclude": each.exclude}
        records.append(record | {name: value for name, value in rest.items() if value})
    return records


def read_rules(records: list[Any]) -> dict[bytes, Rules]:
    """Return the rules of roots from the records of `rules_records`.

    Raises KeyError, TypeError or ValueError for anything else.
    """
    rules = {
        read_path(each): Rules(
            _texts(each, "include"),
            _texts(each, "exclude"),
            tuple(map(Kind, _texts(each, "kinds"))) if "kinds" in each else (),
            _flag(each, "hidden"),
            _flag(each, "follow_symlinks"),
        )
        for each in records
    }
    if len(rules) < len(records):
        raise ValueError("a root has rules twice")
    return rules


def _texts(record: dict[str, Any], key: str) -> tuple[str, ...]:
    texts = record[key]
    if type(texts) is not list or not all(type(text) is str for text in texts):
        raise TypeError(f"{key} is {texts!r:.80}")
    return tuple(texts)


def _flag(record: dict[str, Any], key: str) -> bool:
    value = record.get(key, False)
    if type(value) is not bool:
        raise TypeError(f"{key} is {value!r:.80}")
    return value


def left_out(root: bytes, options: ScanOptions) -> Callable[[bytes], str | None]:
    """Return a function from relative paths to why the rules exclude the file, None if they do not.

    Only names count: clutter, code of others, `include` and `exclude`.
    """
    clutter = Clutter(root, options.include)
    vendored = Vendored(options.include)
    include = option_spec("--include", options.include)
    exclude = option_spec("--exclude", options.exclude)

    def reason(relative: bytes) -> str | None:
        skipped = clutter.within(relative) if relative else None
        if skipped is not None:
            return skipped[1]
        if (of_others := vendored.reason(relative)) is not None:
            return of_others
        name = pattern_text(relative or os.path.basename(root))
        if exclude and exclude.match_file(name):
            return "--exclude"
        return "not in --include" if include and not include.match_file(name) else None

    return reason
