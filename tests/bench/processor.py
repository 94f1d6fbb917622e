"""CPU time of processes, read from /proc (Linux): of a server with all its backends, or of programs with their children."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")


class Meter:
    """Seconds of CPU since it was made, or since the last look."""

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read
        self._then = read()

    def spent(self) -> float:
        """Return the seconds since then."""
        return self._read() - self._then


def of_postgresql(*, postmaster: int) -> Meter:
    """Measure a server. Backends that end are waited for by the postmaster, so nothing is lost or counted twice."""
    return of_trees(roots=[postmaster])


def of_trees(*, roots: Sequence[int]) -> Meter:
    """Measure processes with their descendants, those included that have ended and were waited for."""
    return Meter(lambda: sum(_seconds_of_tree(root) for root in roots))


def _seconds_of_tree(root: int) -> float:
    children: dict[int, list[int]] = {}
    seconds: dict[int, float] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(status.parent.name)
        children.setdefault(int(fields[1]), []).append(pid)
        # utime, stime, and those of children that were waited for.
        seconds[pid] = sum(int(field) for field in fields[11:15]) * TICK
    found, waiting = 0.0, [root]
    while waiting:
        pid = waiting.pop()
        found += seconds.get(pid, 0.0)
        waiting += children.get(pid, [])
    return found
