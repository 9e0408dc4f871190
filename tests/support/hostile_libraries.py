"""Libraries that somebody made to do harm, with checksums that fit, and a process to meet them.

Run as a program: `hostile_libraries.py FOLDER`; it makes each in FOLDER, does with it all that a
user may, and prints a JSON object a line: what was said, and what that took.
"""

import hashlib
import os
import pickle
import resource
import shutil
import struct
import sys
import time
from pathlib import Path

import numpy as np
import orjson

from qvsearch import files as durable
from qvsearch.errors import QvsearchError
from qvsearch.formats import pack_arrays, unpack_arrays
from qvsearch.library.failures import read_failures
from qvsearch.library.library import Library
from qvsearch.library.manifest import LARGEST, _checksum
from qvsearch.library.repair import check, repair
from qvsearch.library.shards import column_types
from qvsearch.types import Stored
from qvsearch.vectors.encoding import Form
from support import library_damage
from support.library_damage import DIM, said

FORM = Form(DIM, Stored.INT8)
PLAIN, WITH_FACTS = "000002", "000003"  # files of the library, without and with facts beside them
SECRET = b"nobody shall read this\n"
GIANT = 1 << 40  # bytes of a sparse file
MIB = 1 << 20


def rewrite(folder, change):
    """Change the manifest as a program that knows the checksum would."""
    path = folder / "manifest.json"
    record = orjson.loads(path.read_bytes())
    del record["sha256"]
    change(record)
    path.write_bytes(orjson.dumps(record | {"sha256": _checksum(record)}))


def manifest(change):
    return lambda folder: rewrite(folder, change)


def segment(**fields):
    return manifest(lambda record: record["segments"][0].update(fields))


def rules(*patterns, path="/photos"):
    return manifest(
        lambda r: r.update(rules=[{"path": path, "include": [], "exclude": list(patterns)}])
    )


def put(name, data):
    """Replace a file, and what the manifest says of its size and content."""
    number, suffix = name.split(".")
    key = {"faiss": "faiss", "jsonl": "sidecar", "facts": "facts"}[suffix]
    seal = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def change(record):
        (file,) = [each for each in record["segments"] if each["name"] == number]
        file[key] = seal

    def act(folder):
        (folder / "segments" / name).write_bytes(data)
        rewrite(folder, change)

    return act


def facts(name, change):
    """Replace one of the arrays beside vectors."""

    def act(folder):
        path = folder / "segments" / f"{WITH_FACTS}.facts"
        arrays = dict(unpack_arrays(path.read_bytes(), column_types(FORM)))
        arrays[name] = np.ascontiguousarray(change(arrays[name]))
        put(path.name, b"".join(map(bytes, pack_arrays(arrays))))(folder)

    return act


def line(**fields):
    """Change fields of the first row, or leave them out where they are None."""

    def act(folder):
        path = folder / "segments" / f"{PLAIN}.jsonl"
        first, *others = path.read_bytes().splitlines()
        record = orjson.loads(first) | fields
        first = orjson.dumps({key: value for key, value in record.items() if value is not None})
        put(path.name, b"".join(each + b"\n" for each in (first, *others)))(folder)

    return act


def raw_line(data):
    def act(folder):
        path = folder / "segments" / f"{PLAIN}.jsonl"
        _, *others = path.read_bytes().splitlines()
        put(path.name, b"".join(each + b"\n" for each in (data, *others)))(folder)

    return act


def faiss(**changed):
    """Vectors whose header says other things of themselves."""

    def act(folder):
        path = folder / "segments" / f"{PLAIN}.faiss"
        data = path.read_bytes()
        names = ("fourcc", "d", "ntotal", "one", "two", "trained", "metric", "quantizer")
        start = struct.Struct("<4siqqq?ii")
        fields = dict(zip(names, start.unpack_from(data), strict=True)) | changed
        put(path.name, start.pack(*fields.values()) + data[start.size :])(folder)

    return act


def write(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def sparse(name, size):
    def act(folder):
        with (folder / name).open("wb") as file:
            file.truncate(size)

    return act


def instead(name, make):
    """Put something that is no plain file in a file's place."""

    def act(folder):
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return act


def link(path):
    path.symlink_to(path.parents[2 if path.parent.name == "segments" else 1] / "secret")


def nested(opening, depth):
    """An index in an index, as FAISS nests them, over and over."""
    return put(f"{PLAIN}.faiss", opening * depth)


class Deadly:
    def __reduce__(self):
        return (os.abort, ())


FILES = [
    "manifest.json",
    "manifest.json.bak",
    "failed.jsonl",
    "segments/000001.bank",
    *(f"segments/{PLAIN}.{suffix}" for suffix in ("faiss", "jsonl")),
    *(f"segments/{WITH_FACTS}.{suffix}" for suffix in ("faiss", "jsonl", "facts")),
]
HARMLESS = {"manifest.json.bak", "failed.jsonl"}

CASES = {
    "manifest: a million levels": write("manifest.json", b"[" * 10**6),
    "manifest: a million whole levels": write("manifest.json", b"[" * 10**6 + b"]" * 10**6),
    "manifest: 400 levels": write(
        "manifest.json", b'{"sha256":"x","a":' + b"[" * 400 + b"]" * 400 + b"}"
    ),
    "manifest: a text as long as may be": write(
        "manifest.json", '{"a":"\U0001f600'.encode() + b"a" * (LARGEST - 40) + b'"}'
    ),
    "manifest: lists": write("manifest.json", b"[" + b"[]," * (8 * MIB) + b"[]]"),
    "manifest: objects in one another": write("manifest.json", b'{"a":' * 10**6 + b"1"),
    "manifest: NaN": write("manifest.json", b'{"format":NaN}'),
    "manifest: half a surrogate": write("manifest.json", b'{"format":"\\ud800"}'),
    "manifest: a number of a million digits": write("manifest.json", b"9" * 10**6),
    "manifest: a huge number": manifest(lambda r: r["segments"][0].update(dead=[[0, 1e300]])),
    "manifest: rows beyond 63 bits": segment(rows=2**63 + 5),
    "manifest: rows beyond all size": segment(rows=10**19),
    "manifest: rows that no file has": segment(rows=2**31, dead=[[0, 2**31]]),
    "manifest: rows that the codes overflow": segment(rows=2**62),
    "manifest: lines longer than all": segment(sidecar={"size": 2**31, "sha256": "0"}),
    "manifest: a bank of less than none": manifest(lambda r: r["bank"].update(rows=-1)),
    "000001.bank: none": manifest(lambda r: r["bank"].update(rows=0)),
    "000001.bank: a huge one": manifest(lambda r: r["bank"].update(rows=10**16)),
    "manifest: generation": manifest(lambda r: r.update(generation=2**64 - 1)),
    "manifest: next": manifest(lambda r: r.update(next=2**64 - 1)),
    "manifest: a name that leads out": segment(name="../../secret"),
    "manifest: a name of the root": segment(name="/etc/passwd"),
    "manifest: a bank that leads out": manifest(lambda r: r["bank"].update(name="../../secret")),
    "manifest: a root that no path is": manifest(lambda r: r["roots"][0].update(path="/a\0b")),
    "manifest: rules of another root": rules("a", path="/etc"),
    "manifest: rules of no path": rules("a", path="/photos\0"),
    "manifest: a million rules": rules(*["a"] * 10**6),
    "manifest: a rule of a million letters": rules("*a" * 500_000),
    "manifest: a rule that is none": rules(["a"]),
    "manifest: rules in no list": manifest(lambda r: r.update(rules="a")),
    "000002.faiss: rows": faiss(ntotal=2**62),
    "000002.faiss: less than no rows": faiss(ntotal=-1),
    "000002.faiss: dim": faiss(d=2**31 - 1),
    "000002.faiss: no dim": faiss(d=0),
    "000002.faiss: another index": faiss(fourcc=b"IwFl"),
    "000002.faiss: no index": faiss(fourcc=b"\xff\0\xff\0"),
    "000002.faiss: quantizer": faiss(quantizer=2**31 - 1),
    "000002.faiss: untrained": faiss(trained=False),
    "000002.faiss: nested": nested(b"IxPT" + bytes(21), 1000),
    "000002.faiss: a pickle": put(f"{PLAIN}.faiss", pickle.dumps(Deadly()) + bytes(2000)),
    "000002.jsonl: a pickle": put(f"{PLAIN}.jsonl", pickle.dumps(Deadly()) + bytes(2000)),
    "000002.jsonl: levels": raw_line(b"[" * 10**6),
    "000002.jsonl: 400 levels": raw_line(b'{"root":' + b"[" * 400 + b"]" * 400 + b"}"),
    "000002.jsonl: no object": raw_line(b"[]" + b" " * 100),
    "000002.jsonl: a long text": raw_line(b'"' + b"a" * 11 * MIB + b'"'),
    "000002.jsonl: a longer text": raw_line(b'"' + b"a" * 13 * MIB + b'"'),
    "000002.jsonl: NaN": raw_line(b'{"root":NaN,"path":"a"}' + b" " * 100),
    "000002.jsonl: a path that no file has": line(path="a\0b"),
    "000002.jsonl: no path at all": line(path=None, path_b64=None),
    "000002.jsonl: a path in no base 64": line(path=None, path_b64="é"),
    "000002.jsonl: the root before the first": line(root=-1),
    "000002.jsonl: a true root": line(root=True),
    "000002.jsonl: a long hash of pixels": line(dhash="f" * 100),
    "000002.jsonl: a hash of pixels below 0": line(dhash="-000000000000001"),
    "000002.jsonl: a time of 5,000 digits": line(mtime_ns="9" * 5000),
    "000002.jsonl: three lines": line(lines=[1, 2, 3]),
    "000002.jsonl: backgrounds": line(background=[1e300, 1e300]),
    "000002.jsonl: taken twice": raw_line(
        b'{"root":9,"root":0,"path":"a","kind":"image","kind":"smell","size":1,"mtime_ns":1,'
        b'"content_hash":"h"}'
    ),
    "000003.facts: few ends": facts("ends", lambda each: each[:5]),
    "000003.facts: ends beyond the end": facts("ends", lambda each: each + 2**62),
    "000003.facts: ends before the start": facts("ends", lambda each: each - 2**62),
    "000003.facts: ends in disorder": facts("ends", lambda each: each[::-1]),
    "000003.facts: few kinds": facts("kinds", lambda each: each[:5]),
    "000003.facts: unknown kinds": facts("kinds", lambda each: each * 0 + 9),
    "000003.facts: kinds in a square": facts("kinds", lambda each: each.reshape(-1, 2)),
    "000003.facts: places": facts("places", lambda each: each + 10**6),
    "000003.facts: places below 0": facts("places", lambda each: each - 10**6),
    "000003.facts: roots": facts("place_roots", lambda each: each + 100),
    "000003.facts: paths": facts("place_ends", lambda each: each + 2**40),
    "000003.facts: few paths": facts("place_ends", lambda each: each[:2]),
    "000003.facts: cameras": facts("cameras", lambda each: each + 100),
    "000003.facts: cameras in no text": facts("camera_texts", lambda each: each | 128),
    "000003.facts: places in one dimension": facts("points", lambda each: each[:1]),
    "000003.facts: wide signs": facts("bits", lambda each: np.zeros((len(each), 1 << 16), "u1")),
    "000003.facts: narrow signs": facts("bits", lambda each: each[:, :3]),
    "000003.facts: few signs": facts("bits", lambda each: each[:3]),
    "000003.facts: signs in a row": facts("bits", lambda each: each.reshape(-1)),
    "000003.facts: a short centre": facts("centre", lambda each: each[:3]),
    "000003.facts: no radius": facts("radius", lambda each: each[:0]),
    "000003.facts: few backgrounds": facts("backgrounds", lambda each: each[:4]),
    "000003.facts: lengths in a square": facts("norms", lambda each: each[:, None]),
    "000003.facts: endless lengths": facts("norms", lambda each: each * np.inf),
    "000003.facts: few times": facts("times", lambda each: each[:4]),
    "failed.jsonl: rubbish (harmless)": write(
        "failed.jsonl",
        b"[" * 10**6 + b'\n{"path":"a\\u0000","size":1,"mtime_ns":1,"reason":"","tries":1}\n'
        b'{"path":"a","size":1,"mtime_ns":1e300,"reason":"","tries":1e300}\n\xff\n{"path":"b",'
        b'"size":1,"mtime_ns":"' + b"9" * 5000 + b'","reason":"","tries":1}',
    ),
    "failed.jsonl: zeros (harmless)": sparse("failed.jsonl", 100 * MIB),
    "lock: a link (harmless)": instead("lock", link),
    "lock: a pipe (harmless)": instead("lock", os.mkfifo),
    "lock: a folder (harmless)": instead("lock", os.mkdir),
    "lock.json: a pipe (harmless)": instead("lock.json", os.mkfifo),
    "beside: a pickle (harmless)": write("segments/000002.pkl", pickle.dumps(Deadly())),
}
for _name in FILES:
    _end = " (harmless)" if _name in HARMLESS else ""
    _base = _name.rpartition("/")[2]
    CASES[f"{_base}: a link{_end}"] = instead(_name, link)
    CASES[f"{_base}: a pipe{_end}"] = instead(_name, os.mkfifo)
    CASES[f"{_base}: a folder{_end}"] = instead(_name, os.mkdir)
    CASES[f"{_base}: endless{_end}"] = sparse(_name, GIANT)


def commit(folder):
    library = Library.open(folder)
    library.add_root(b"/new")
    library.commit()
    Library.open(folder)


def search(folder):
    said(Library.open(folder))


DONE = {"search": search, "failures": read_failures, "check": check, "commit": commit}


def meet(folder):
    """Return what is said of a library to whoever does each of these, "" where it was done."""
    texts = {}
    for name, act in (DONE | {"repair": repair, "search again": search}).items():
        try:
            act(folder)
            texts[name] = ""
        except QvsearchError as error:
            texts[name] = str(error)
    return texts


def memory():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)


def main(folder):
    from support.faulty_disk import FaultyDisk

    durable.os = FaultyDisk()
    library_damage.make(folder / "sound", Stored.INT8)
    (folder / "secret").write_bytes(SECRET)
    meet(shutil.copytree(folder / "sound", folder / "warm"))
    start = memory()
    for name, act in CASES.items():
        hurt = shutil.copytree(folder / "sound", folder / "hurt")
        act(hurt)
        began = time.process_time()
        texts = meet(hurt)
        record = {"name": name, "texts": texts, "seconds": time.process_time() - began}
        library_damage.say(record | {"bytes": memory() - start})
        shutil.rmtree(hurt)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
