"""Where the embedded PostgreSQL keeps what: every path below the data folder, and the folder of its socket."""

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

PORT = 5432
SOCKET_NAME = f".s.PGSQL.{PORT}"
# 108 bytes with the closing zero on Linux, 104 on macOS.
SOCKET_PATH_BYTES_MAX = 103
RUN_DIRECTORY_PREFIX = "billing-pg-"


@dataclass(frozen=True)
class Layout:
    """The paths of one embedded server. `home` and the locks are its users', the rest belongs to the server's account."""

    data_dir: Path

    @property
    def home(self) -> Path:
        """The folder of everything that follows."""
        return self.data_dir / "postgresql"

    @property
    def cluster(self) -> Path:
        """PostgreSQL's data directory."""
        return self.home / "cluster"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.home / "log" / "server.log"

    @property
    def start_lock(self) -> Path:
        """Held alone by whoever starts or stops the server."""
        return self.home / "start.lock"

    @property
    def users_lock(self) -> Path:
        """Held shared by every process that uses the server, for as long as it lives."""
        return self.home / "users.lock"

    @property
    def keep_marker(self) -> Path:
        """Where it exists the server stays when its last user leaves."""
        return self.home / "keep"

    @property
    def run_directory_note(self) -> Path:
        """Holds the path of the run directory, where one is needed."""
        return self.home / "run_directory"

    def cluster_major(self) -> int | None:
        """Return the version of PostgreSQL that made the cluster, None if there is no cluster yet."""
        try:
            return int((self.cluster / "PG_VERSION").read_text())
        except FileNotFoundError:
            return None

    def socket_directory(self) -> Path:
        """Return the folder in which the server's socket lies (when it runs) and in which clients look for it.

        Raises FileNotFoundError where the path cannot be that of a socket and there is no trustworthy run directory.
        """
        inside = self.home / "socket"
        # A comma separates hosts to libpq and cannot be escaped.
        if len(os.fsencode(inside / SOCKET_NAME)) <= SOCKET_PATH_BYTES_MAX and "," not in str(inside):
            return inside
        noted = Path(self.run_directory_note.read_text())
        folder = noted.lstat()
        owners = {self.cluster.stat().st_uid, os.geteuid()}
        if not stat.S_ISDIR(folder.st_mode) or stat.S_IMODE(folder.st_mode) != 0o700 or folder.st_uid not in owners:
            raise FileNotFoundError(f"{noted} is not the private folder that it was")
        return noted

    def make_socket_directory(self) -> Path:
        """Make the folder of the socket, if there is none to be trusted, and return it.

        A run directory has a random name and is made with mode 0700, so nobody can have made it before us; its
        path is noted, and its owner and mode are checked again by every client.
        """
        try:
            directory = self.socket_directory()
        except FileNotFoundError:
            directory = Path(tempfile.mkdtemp(prefix=RUN_DIRECTORY_PREFIX, dir="/tmp"))
            self.run_directory_note.unlink(missing_ok=True)
            self.run_directory_note.write_text(str(directory))
        directory.mkdir(mode=0o700, exist_ok=True)
        return directory
