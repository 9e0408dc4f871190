"""Whether a folder lies where other machines reach it too, as far as Linux says."""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
SHARED = frozenset(  # 9p is not among them: most of these are of the same machine
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "gpfs", "lustre", "glusterfs", "davfs"}
    | {"beegfs", "gfs2", "ocfs2", "orangefs", "pvfs2", "coda", "ncpfs"}
    | {"fuse.sshfs", "fuse.rclone", "fuse.glusterfs", "fuse.ceph", "fuse.davfs", "fuse.s3fs"}
    | {"fuse.gcsfuse", "fuse.juicefs", "fuse.JuiceFS", "fuse.seaweedfs", "fuse.curlftpfs"}
)
_ESCAPED = re.compile(rb"\\([0-7]{3})")  # what would end a name in the list


def shared_type(folder: Path) -> str | None:
    """Return the type of a file system that is shared over a network; None of any other."""
    try:
        lines = MOUNTS.read_bytes().splitlines()
    except OSError:  # of another system
        return None
    place = folder.resolve()
    found, depth = "", 0
    for line in lines:
        mount, _, source = line.partition(b" - ")
        point = Path(os.fsdecode(_ESCAPED.sub(_unescaped, mount.split()[4])))
        if place.is_relative_to(point) and len(point.parts) >= depth:  # a later one hides others
            found, depth = source.split()[0].decode(), len(point.parts)
    return found if found in SHARED else None


def warning(folder: Path) -> str | None:
    """Say what does not hold for a library on a network; None where all does."""
    kind = shared_type(folder)
    if kind is None:
        return None
    return (
        f"{folder} is on a network ({kind}), where a lock may not keep two machines apart:"
        " index from one at a time"
    )


def _unescaped(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 8)])
