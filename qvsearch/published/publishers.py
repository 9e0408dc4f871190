"""Who publishes into a table: which library has which name, and what of it was acknowledged.

Two side tables hold this. `owners` is only appended to, and of two libraries that claim a name at
once, the one that committed first has it. `publishers` has the state of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import orjson

from qvsearch.cache import cache_folder, file_name, keep, read
from qvsearch.errors import QvsearchError
from qvsearch.published.engine import OWNERS, PUBLISHERS, Table
from qvsearch.published.schema import FORM
from qvsearch.published.sql import quoted

if TYPE_CHECKING:
    import pyarrow as pa

LONGEST_NAME = 100  # bytes
_UPKEEP = "/upkeep"  # in the place of a name, which has no slash


@dataclass(frozen=True, slots=True)
class Publisher:
    """The state of a publisher.

    `run` is the random id of the run that publishes now, or did last. `token` is a random id of
    what the last whole run left in the table; empty while a run is not finished, or was killed.
    `generation` is that of the library then. `files` and `rows` are what it published, `roots` the
    numbers of files by the names of roots, `published` the time in ISO 8601 (UTC).
    """

    name: str
    owner: str
    run: str = ""
    token: str = ""
    generation: int = 0
    files: int = 0
    rows: int = 0
    published: str = ""
    roots: Mapping[str, int] = field(default_factory=dict)


def check_name(name: str) -> str:
    """Return the name of a publisher; raises QvsearchError for one that would be misread."""
    if (
        not name.strip()
        or name != name.strip()
        or not name.isprintable()
        or "/" in name
        or name[0] in "-.~"
        or len(name.encode(errors="replace")) > LONGEST_NAME
    ):
        raise QvsearchError(
            f"--as {name!r} cannot be a name; give a word without slashes, at most"
            f" {LONGEST_NAME} bytes long"
        )
    return name


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What was done to a table: rows when its partitions were drawn, and when it was compacted.

    `compacted` is in seconds since 1970, and 0 once the versions before that were deleted.
    """

    trained: int = 0
    compacted: int = 0


class Ledger:
    """The publishers of an open table."""

    def __init__(self, table: Table) -> None:
        self._owners = table.side(OWNERS, _owners_schema())
        self._states = table.side(PUBLISHERS, _states_schema())

    def claim(self, name: str, owner: str) -> None:
        """Take a name for a library; raises QvsearchError if another library has it."""
        import pyarrow as pa

        if (holder := self._owner_of(name)) is None:
            row = pa.table({"name": [name], "owner": [owner]}, schema=_owners_schema())
            self._owners.append(row)
            holder = self._owner_of(name)
        if holder != owner:
            raise QvsearchError(
                f"another library is published as {name}; give this one another name with --as"
                f" NAME, or remove the other's rows with: --remove --as {name}"
            )

    def is_running(self, publisher: Publisher) -> bool:
        """Return whether no other run took the place of this one."""
        now = self.find(publisher.name)
        return now is not None and now.run == publisher.run

    def find(self, name: str) -> Publisher | None:
        """Return the state of a publisher as of now."""
        self._states.refresh()
        found = _read(self._states.scan(_states_schema().names, f"name = {quoted(name)}"))
        return found[0] if found else None

    def write(self, publisher: Publisher) -> None:
        """Replace the state of a publisher."""
        self._states.replace("name", _written(publisher))

    def upkeep(self) -> Upkeep:
        """Return what was done to keep the table fast."""
        found = self.find(_UPKEEP)
        return Upkeep() if found is None else Upkeep(**found.roots)

    def write_upkeep(self, upkeep: Upkeep) -> None:
        """Store what was done to keep the table fast."""
        self.write(Publisher(_UPKEEP, "", roots=asdict(upkeep)))

    def release(self, name: str) -> bool:
        """Forget a publisher; return whether there was one."""
        was_there = self.find(name) is not None or self._owner_of(name) is not None
        self._states.delete(f"name = {quoted(name)}")
        self._owners.delete(f"name = {quoted(name)}")
        return was_there

    def _owner_of(self, name: str) -> str | None:
        """Return the owner that committed its claim first."""
        self._owners.refresh()
        owners = self._owners.scan(["owner"], f"name = {quoted(name)}").column("owner").to_pylist()
        return owners[0] if owners else None


def list_publishers(table: Table) -> list[Publisher]:
    """Return the publishers of a table by name; nothing is written."""
    side = table.find_side(PUBLISHERS)
    found = [] if side is None else _read(side.scan(_states_schema().names))
    return sorted((each for each in found if each.name != _UPKEEP), key=lambda each: each.name)


def _owners_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([("name", pa.string()), ("owner", pa.string())])


def _states_schema() -> pa.Schema:
    import pyarrow as pa

    texts = [(name, pa.string()) for name in ("name", "owner", "run", "token")]
    numbers = [(name, pa.int64()) for name in ("generation", "files", "rows")]
    return pa.schema([*texts, *numbers, ("published", pa.string()), ("roots", pa.string())])


def _written(publisher: Publisher) -> pa.Table:
    import pyarrow as pa

    record = {name: getattr(publisher, name) for name in _states_schema().names}
    record["roots"] = orjson.dumps(dict(publisher.roots)).decode()
    return pa.Table.from_pylist([record], schema=_states_schema())


def _read(table: pa.Table) -> list[Publisher]:
    return [
        Publisher(**{**record, "roots": orjson.loads(record["roots"])})
        for record in table.to_pylist()
    ]


def outdated_publishers(table: Table) -> list[str]:
    """Return the publishers whose rows lack words and regions, or have those of another FORM.

    Raises QvsearchError if the table cannot be read.
    """
    names = [each.name for each in list_publishers(table)]
    if "form" in table.lacking.names:
        return names
    place = (str(table.address), table.version, table.about, FORM, names, "outdated")
    path = cache_folder("tables") / file_name(*place)
    if (known := _names(read(path))) is not None:
        return known
    older = f"(form IS NULL OR form <> {FORM})"
    found = [name for name in names if table.count(f"publisher = {quoted(name)} AND {older}")]
    keep(path, orjson.dumps(found))
    return found


def _names(body: bytes | None) -> list[str] | None:
    try:
        return [str(each) for each in orjson.loads(body or b"")]
    except (TypeError, ValueError):
        return None
