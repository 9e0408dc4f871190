"""The type of the file system that a folder is on, and what it guarantees."""

from __future__ import annotations

import os
import re
from pathlib import Path

# Not among them are the folders that a virtual machine or a container shares with its own host:
# 9p, virtiofs, vboxsf.
_KERNEL = (
    "nfs nfs4 cifs smb3 smbfs ncpfs afs afpfs coda davfs webdav"  # one server
    " ceph lustre gpfs beegfs glusterfs orangefs pvfs2 panfs wekafs"  # a cluster of servers
    " gfs2 ocfs2 acfs"  # disks that several machines have
)
_PROGRAMS = (  # of FUSE
    "sshfs smbnetfs curlftpfs davfs gvfsd-fuse kio-fuse rclone"  # one server
    " ceph ceph-fuse glusterfs juicefs JuiceFS seaweedfs mfs moosefs lizardfs fuse_dfs"  # a cluster
    " s3fs mountpoint-s3 goofys gcsfuse blobfuse blobfuse2 ossfs cosfs"  # a cloud's buckets
    " http https ftp sftp"  # some give an address instead of their name, e.g. davfs2
)
SHARED = frozenset([*_KERNEL.split(), *(f"fuse.{name}" for name in _PROGRAMS.split())])
# local ones that number a file once and for all; FAT and most FUSE programs number at each mount
_LASTING = (
    "ext2 ext3 ext4 xfs btrfs f2fs zfs bcachefs jfs reiserfs nilfs2 ntfs3 apfs hfs hfsplus overlay"
    " tmpfs"
)
_NAME = re.compile(r"[^#:\\]*")  # the program in `mfs#master:9421`, also written `mfs\043...`


class Identities:
    """The ctime and the inode of a file, which tell it from another one of its name and size.

    Each is given only if the file system keeps it over mounts while a file does not change. The
    type of each file system is read once.
    """

    def __init__(self) -> None:
        self._reliable: dict[int, tuple[bool, bool]] = {}  # by device: whether ctime and inode are

    def of(self, location: bytes, status: os.stat_result) -> tuple[int | None, int | None]:
        """Return the ctime of a file in nanoseconds and its inode, or None for each."""
        reliable = self._reliable.get(status.st_dev)
        if reliable is None:
            real = os.path.realpath(location)  # a link lies elsewhere than its file
            reliable = self._reliable[status.st_dev] = _keeps(Path(os.fsdecode(real)).parent)
        has_time, has_inode = reliable
        return (status.st_ctime_ns if has_time else None), (status.st_ino if has_inode else None)


def _keeps(folder: Path) -> tuple[bool, bool]:
    """Return whether the file system of a folder keeps ctime and inode of an unchanged file."""
    kind = file_system(folder)
    if kind in _LASTING.split():
        return True, True
    # a server keeps the time, but may number anew; on Windows it is the time of creation
    return kind in _KERNEL.split() or (kind is None and os.name == "posix"), False


def shared_type(folder: Path) -> str | None:
    """Return the type of a file system that is shared over a network; None for any other."""
    kind = file_system(folder)
    return kind if kind in SHARED else None


def file_system(folder: Path) -> str | None:
    """Return the type of a folder's file system; None if the system has no list of mounts."""
    import psutil  # only a command that indexes or examines waits for this import

    try:
        mounts = psutil.disk_partitions(all=True)
    except OSError:
        return None
    place = folder.resolve()
    kind, depth = "", 0
    for mount in mounts:
        point = Path(mount.mountpoint)
        if place.is_relative_to(point) and len(point.parts) >= depth:  # a later one hides others
            kind, depth = _type(mount.fstype, mount.device), len(point.parts)
    return kind


def warning(folder: Path) -> str | None:
    """Return a warning about a library on a network; None for any other."""
    kind = shared_type(folder)
    if kind is None:
        return None
    return (
        f"{folder} is on a network ({kind}), where a lock may not keep two machines apart:"
        " index from one at a time"
    )


def _type(name: str, device: str) -> str:
    """Return the type; for a bare `fuse`, only the device names the program that serves it."""
    program = _NAME.match(device)
    return f"fuse.{program[0]}" if name == "fuse" and program is not None else name
