"""The server's main process, as its pid file and the system tell of it."""

import contextlib
import hashlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Postmaster:
    """What `postmaster.pid` says: the process and the data directory that it was started with."""

    pid: int
    data_directory: str

    def is_alive(self) -> bool:
        """Tell whether that process runs and is a PostgreSQL; a zombie is dead, and so is a pid used anew since."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # It exists; whether it is a PostgreSQL is still to be seen.
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
            command = command_line(pid=self.pid)
        except FileNotFoundError:
            if Path("/proc/self").exists():
                return False
            state, command = _state_and_command(pid=self.pid)
        return (
            state[:1] not in ("Z", "X", "")
            and "postgres" in command
            and server_name(data_directory=self.data_directory) in command
        )

    def stop(self, *, attempts: int) -> bool:
        """Ask for a fast shutdown (sessions are ended, everything is written) and wait; tell whether it is gone."""
        if not self.is_alive():
            return True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGINT)
        for _attempt in range(attempts):
            if not self.is_alive():
                return True
            time.sleep(POLL_SECONDS)
        return False


def server_name(*, data_directory: str) -> str:
    """Return the name (`cluster_name`) under which the server of a data directory is started, so that it is recognised."""
    return f"billing-{hashlib.sha256(data_directory.encode(errors='surrogateescape')).hexdigest()[:16]}"


def read_postmaster(*, cluster: Path) -> Postmaster | None:
    """Return what the cluster's pid file says, None where there is no (complete) one."""
    file = cluster / "postmaster.pid"
    try:
        lines = file.read_text(errors="surrogateescape").splitlines()
        return Postmaster(pid=abs(int(lines[0])), data_directory=lines[1])
    except (FileNotFoundError, IndexError, ValueError):
        return None


def command_line(*, pid: int) -> str:
    """Return a process's command line as Linux tells it, arguments separated by blanks; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""


def _state_and_command(*, pid: int) -> tuple[str, str]:
    """Return a process's state and command line where there is no /proc (macOS)."""
    answer = subprocess.run(
        ["ps", "-ww", "-o", "stat=,command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, command = answer.stdout.strip().partition(" ")
    return state, command
