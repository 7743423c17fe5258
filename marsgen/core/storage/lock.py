"""Lock: of all processes, one at a time holds a lock file; it is released when the process ends, however it ends.

The file is never removed: a process that waits at a removed file and one that makes a new file would both hold a lock.
A folder that holds nothing but a lock file is as good as empty.
"""

import errno
import os
import stat
import sys
from pathlib import Path

from filelock import lock_descriptor

from marsgen.core.errors import RunError

LOCK_FILE = ".lock"
# no fcntl, a file system without locks, a network file system without its lock server
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


class Lock:
    """A lock that is held; from `take_lock`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self.descriptor = path, descriptor

    @property
    def in_place(self) -> bool:
        """Whether the file that is locked still lies under its name: its folder was neither removed nor replaced."""
        return self.descriptor >= 0 and _is_at(self.descriptor, self.path)

    def release(self) -> None:
        """Give the lock back; of a lock that was handed to a child process, only this process's share."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def take_lock(path: Path) -> Lock | None:
    """The lock of `path`, whose folder exists; None where another process holds it.

    Raises:
        RunError: `path` is a link or no file.
        OSError: it cannot be opened, for example on a read-only file system.
    """
    while True:
        # without O_TRUNC and through no link: whatever lies there stays as it is
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o666)
        except OSError as problem:
            if problem.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO) or path.is_symlink():
                raise RunError(f"{path}: a link or no plain file where a lock file belongs; remove it") from None
            raise
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise RunError(f"{path}: no plain file where a lock file belongs; remove it")
            if not _lock(descriptor, path):
                os.close(descriptor)
                return None
            if _is_at(descriptor, path):
                return Lock(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        # between opening and locking somebody removed or replaced the file: this lock guards no name
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> bool:
    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError as problem:
        if problem.errno not in _NO_LOCKS:
            raise
        print(f"note: {path.parent}: no file can be locked here; start no second command on it", file=sys.stderr)
        return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)
