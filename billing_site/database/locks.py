"""Advisory file locks (flock): the kernel gives them back when a process dies, however it dies."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_lock_file(*, path: Path) -> int:
    """Open or make a lock file and return its descriptor, which programs started from here do not inherit.

    Made by root in somebody else's folder it belongs to the owner of the folder, who needs it tomorrow.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0:
        folder = path.parent.stat()
        os.fchown(descriptor, folder.st_uid, folder.st_gid)
    return descriptor


@contextmanager
def held_alone(*, path: Path) -> Iterator[None]:
    """Hold the lock file exclusively, waiting for it.

    It is unlocked explicitly: a child that another thread forks meanwhile has a copy of the descriptor and would
    otherwise hold the lock for as long as it lives.
    """
    descriptor = open_lock_file(path=path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def hold_shared(*, path: Path) -> int:
    """Take the lock file shared and return the descriptor that holds it: close it to give the share back.

    Forked children share it: the share lasts until the last copy is closed. Never unlock it explicitly, that would
    take it from the children too.
    """
    descriptor = open_lock_file(path=path)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def is_held(*, path: Path) -> bool:
    """Tell whether any process holds the lock file, shared or alone (this process included)."""
    descriptor = open_lock_file(path=path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return True
        raise
    finally:
        os.close(descriptor)
    return False


def holders(*, path: Path) -> list[int]:
    """Return the pids that took a lock on the file, from Linux's list of locks; empty where there is no such list."""
    try:
        status = path.stat()
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return []
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    return sorted({int(fields[4]) for fields in map(str.split, lines) if fields[1] == "FLOCK" and fields[5] == place})
