"""One supervised process: started in a session of its own, ended by pid, swept away with whatever it left behind.

A child is never signalled through its process group, except to kill what is left of it: the job cluster hangs when its
workers get the signal that was meant for their parent. That is also why Ctrl-C must not reach it: it has no terminal.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1
KILL_WAIT_SECONDS = 5.0
POLL_SECONDS = 0.02

# Loaded before the first fork: between fork and exec nothing may be allocated that a lock guards.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Program:
    """What a child runs: its name for people, its command line, and what its environment adds to ours."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class Child:
    """A running program."""

    def __init__(self, *, program: Program, output: IO[str] | None = None) -> None:
        self.program = program
        self.started_at = time.monotonic()
        self._supervisor = os.getpid()
        self._process = subprocess.Popen(
            list(program.command),
            env={**os.environ, **program.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,
            preexec_fn=self._end_with_supervisor,  # noqa: PLW1509 - the supervisor has one thread when it forks
        )

    @property
    def pid(self) -> int:
        """The process, which leads a session and a process group of the same number."""
        return self._process.pid

    @property
    def seconds_alive(self) -> float:
        """How long ago it was started."""
        return time.monotonic() - self.started_at

    def has_ended(self) -> bool:
        """Tell whether it has ended; it stays a zombie, so that its number cannot be used anew before `sweep`."""
        if self._process.returncode is not None:
            return True
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def ask_to_end(self) -> None:
        """Send SIGTERM to it alone."""
        self._signal(signal.SIGTERM)

    def wait(self, *, until: float) -> bool:
        """Wait for its end up to a moment of the monotonic clock; tell whether it came."""
        while not self.has_ended():
            if time.monotonic() >= until:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def sweep(self) -> int:
        """Kill it and its descendants if any live, and return how it ended (negative: by that signal).

        Its group is killed while it is still there as a zombie at least: nobody else can have that number.
        """
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait(timeout=KILL_WAIT_SECONDS)
        self._wait_for_group()
        assert self._process.returncode is not None, "it was waited for"
        return self._process.returncode

    def _wait_for_group(self) -> None:
        """Wait until its killed descendants are gone, so that their port and their locks are free."""
        until = time.monotonic() + KILL_WAIT_SECONDS
        while _group_lives(self.pid) and time.monotonic() < until:
            time.sleep(POLL_SECONDS)

    def _signal(self, number: signal.Signals) -> None:
        if not self.has_ended():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _end_with_supervisor(self) -> None:
        """Ask the system (Linux) for a SIGTERM when the supervisor dies without saying so; runs in the child."""
        if _LIBC is not None:
            _LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
            if os.getppid() != self._supervisor:
                os._exit(1)


def _group_lives(group: int) -> bool:
    """Tell whether a process of the group runs; a zombie does not, and process 1 of a container may never reap it."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    if not Path("/proc/self/stat").exists():
        return True
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _parent, member_of = status.read_text(errors="replace").rpartition(")")[2].split()[:3]
            if int(member_of) == group and state not in ("Z", "X"):
                return True
    return False
