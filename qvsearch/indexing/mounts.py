"""What kind of file system a folder is on, as far as Linux says, and what that promises."""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
# What a virtual machine or a container has of its own host is not among them: 9p, virtiofs, vboxsf.
_KERNEL = (
    "nfs nfs4 cifs smb3 smbfs ncpfs afs coda davfs"  # one server
    " ceph lustre gpfs beegfs glusterfs orangefs pvfs2 panfs wekafs"  # a cluster of them
    " gfs2 ocfs2 acfs"  # disks that several machines have
)
_PROGRAMS = (  # of FUSE
    "sshfs smbnetfs curlftpfs davfs gvfsd-fuse kio-fuse rclone"  # one server
    " ceph ceph-fuse glusterfs juicefs JuiceFS seaweedfs mfs moosefs lizardfs fuse_dfs"  # a cluster
    " s3fs mountpoint-s3 goofys gcsfuse blobfuse blobfuse2 ossfs cosfs"  # a cloud's buckets
    " http https ftp sftp"  # some give an address instead of their name, as davfs2 does
)
SHARED = frozenset([*_KERNEL.split(), *(f"fuse.{name}" for name in _PROGRAMS.split())])
# local ones that number a file once and for all; FAT and most FUSE programs do so at each mount
_LASTING = (
    "ext2 ext3 ext4 xfs btrfs f2fs zfs bcachefs jfs reiserfs nilfs2 ntfs3 apfs hfsplus overlay"
    " tmpfs"
)
_ESCAPED = re.compile(rb"\\([0-7]{3})")  # what would end a name in the list
_NAME = re.compile(rb"[^#:]*")  # of a program, in `mfs#master:9421` and `https://...`


class Identities:
    """What tells a file from another one of its name, size and time: its ctime and its inode.

    Only where they can be relied on: a file that does not change keeps them over mounts. The types
    of file systems are read once each.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[bool, bool]] = {}  # by device: whether ctime and inode are

    def of(self, location: bytes, status: os.stat_result) -> tuple[int | None, int | None]:
        """Return a file's time of status change in nanoseconds and its inode, or None for each."""
        kept = self._kept.get(status.st_dev)
        if kept is None:
            real = os.path.realpath(location)  # a link lies elsewhere than its file
            kept = self._kept[status.st_dev] = _keeps(Path(os.fsdecode(real)).parent)
        has_time, has_inode = kept
        return (status.st_ctime_ns if has_time else None), (status.st_ino if has_inode else None)


def _keeps(folder: Path) -> tuple[bool, bool]:
    """Return whether the file system of a folder keeps ctime and inode of an unchanged file."""
    kind = _file_system(folder)
    if kind in _LASTING.split():
        return True, True
    # a server has the time, but may number anew; elsewhere than on Unix it is the creation's
    return kind in _KERNEL.split() or (kind is None and os.name == "posix"), False


def shared_type(folder: Path) -> str | None:
    """Return the type of a file system that is shared over a network; None of any other."""
    found = _file_system(folder)
    return found if found in SHARED else None


def _file_system(folder: Path) -> str | None:
    """Return the type of the file system that a folder is on; None where the system has no list."""
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
            found, depth = _type(source), len(point.parts)
    return found


def warning(folder: Path) -> str | None:
    """Say what does not hold for a library on a network; None where all does."""
    kind = shared_type(folder)
    if kind is None:
        return None
    return (
        f"{folder} is on a network ({kind}), where a lock may not keep two machines apart:"
        " index from one at a time"
    )


def _type(source: bytes) -> str:
    """Return the type; of a bare `fuse` the program that serves it is known by the source only."""
    name, device = [*source.split(), b""][:2]
    program = _NAME.match(_ESCAPED.sub(_unescaped, device))
    if name == b"fuse" and program is not None:
        name += b"." + program[0]
    return os.fsdecode(name)


def _unescaped(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 8)])
