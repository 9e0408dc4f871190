"""Takes from a process what decoding needs none of: boundless memory, sockets, other programs.

A decoder that a hostile file has taken over can then neither send what it reads nor start anything.
Only Linux lets a process without privileges give these up; elsewhere only its deadline holds.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
import sys
from pathlib import Path

# beyond what the process has: 100 megapixels took 0.5 to 1.9 GB, by format, and a JPEG of 391 in
# several passes 2.7. RLIMIT_DATA counts what a process may write to; RLIMIT_AS also files it maps
# and what it reserves and never uses
MOST_BYTES = 3 * 2**30

# by machine: what audit(7) calls it, and its numbers of the system calls socket, execve, execveat,
# ptrace, process_vm_writev, pidfd_getfd and io_uring_setup, which would make sockets, too
FORBIDDEN = {
    "x86_64": (0xC000003E, (41, 59, 322, 101, 311, 438, 425)),
    "aarch64": (0xC00000B7, (198, 221, 281, 117, 271, 438, 425)),
}
_X32 = 0x40000000  # the same machine's other numbers begin here

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _MACHINE = 0, 4  # where `struct seccomp_data` has them
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_SET_SECCOMP, _FILTER, _SET_NO_NEW_PRIVILEGES = 22, 2, 38  # of prctl(2)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def confine(most_bytes: int = MOST_BYTES) -> None:
    """Give these up for good, in this thread and those it starts from now on."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash shall leave no picture on disk
    # numpy, when it is loaded, sets 41 MB aside for each thread: on 64 cores nearly all there is
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    if sys.platform != "linux":
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = _held_bytes() + most_bytes
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    machine = os.uname().machine
    if machine in FORBIDDEN and sys.maxsize > 2**32:  # a 32-bit Python has other numbers
        _forbid(*FORBIDDEN[machine])


def _held_bytes() -> int:
    """Return what counts already: a script's own modules are loaded into its workers, too."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[5])
    except OSError:  # no /proc here
        return 0
    return pages * resource.getpagesize()


def _forbid(machine: int, calls: tuple[int, ...]) -> None:
    """Have the kernel refuse system calls, as seccomp(2) says; old kernels know no such filter."""
    last = len(calls) + 1  # instructions from the first comparison to the refusal
    program = [
        (_LOAD, 0, 0, _MACHINE),
        (_EQUAL, 1, 0, machine),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, last, 0, _X32),
        *((_EQUAL, last - 1 - place, 0, call) for place, call in enumerate(calls)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    libc = ctypes.CDLL(None)
    nothing = ctypes.c_ulong(0)
    libc.prctl(_SET_NO_NEW_PRIVILEGES, ctypes.c_ulong(1), nothing, nothing, nothing)
    filter_ = ctypes.byref(_Program(len(program), code))
    libc.prctl(_SET_SECCOMP, ctypes.c_ulong(_FILTER), filter_, nothing, nothing)
