"""As whom the server runs, and how its programs are started as that user.

PostgreSQL refuses uid 0. Started by root the server runs as the owner of its data, for new data as `postgres` or
`nobody`. That user may be unable to enter the folders above (a clone in root's home): then the server's programs keep
one capability, the weakest that does, instead of opening those folders to everybody.
"""

import os
import pwd
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from billing_site.database import launch_as
from billing_site.database.errors import EmbeddedDatabaseError

ACCOUNT_NAMES = ("postgres", "nobody")
NO_CAPABILITY = -1
CAP_DAC_READ_SEARCH = 2
CAP_DAC_OVERRIDE = 1
CAPABILITIES_WEAKEST_FIRST = (NO_CAPABILITY, CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE)


@dataclass(frozen=True)
class Account:
    """A user of the system, and the capability that its programs keep."""

    uid: int
    gid: int
    capability: int = NO_CAPABILITY

    def run(self, *, command: Sequence[str], directory: Path) -> subprocess.CompletedProcess[str]:
        """Run a program as this user, in a session of its own so that Ctrl-C at the terminal does not reach it."""
        line = list(command)
        if self.uid != os.geteuid():
            launcher = [sys.executable, "-I", "-S", launch_as.__file__]
            line = [*launcher, str(self.uid), str(self.gid), str(self.capability), str(directory), *line]
        return subprocess.run(
            line,
            cwd=None if self.uid != os.geteuid() else directory,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            start_new_session=True,
        )

    def own(self, path: Path) -> None:
        """Make the path this user's and close it to all others."""
        path.chmod(0o700 if path.is_dir() else 0o600)
        if self.uid != os.geteuid():
            os.chown(path, self.uid, self.gid)


def server_account(*, cluster: Path) -> Account:
    """Return the user that the server runs as: we ourselves, or for root the owner of the cluster or a system user."""
    if os.geteuid() != 0:
        return Account(uid=os.geteuid(), gid=os.getegid())
    if cluster.is_dir():
        owner = cluster.stat()
        return Account(uid=owner.st_uid, gid=owner.st_gid)
    for name in ACCOUNT_NAMES:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(uid=user.pw_uid, gid=user.pw_gid)
    raise EmbeddedDatabaseError(
        "PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody` to run it as.\n"
        "Start the project as an ordinary user."
    )


def account_that_reaches(*, account: Account, program: str, directory: Path) -> Account:
    """Return the account with the weakest capability with which it can start the program in the directory.

    Found by trying, because modes, access lists, mounts and security modules all have a say.
    Raises EmbeddedDatabaseError where none suffices.
    """
    reason = ""
    capabilities = CAPABILITIES_WEAKEST_FIRST if account.uid != os.geteuid() else (NO_CAPABILITY,)
    for capability in capabilities:
        able = Account(uid=account.uid, gid=account.gid, capability=capability)
        trial = able.run(command=[program, "--version"], directory=directory)
        if trial.returncode == 0:
            return able
        reason = reason or trial.stderr.strip()
    raise EmbeddedDatabaseError(
        f"PostgreSQL cannot run as root, and the user it would run as (uid {account.uid}) cannot reach its files:\n"
        f"  {reason}\n"
        "Set BILLING_DATA_DIR to a folder that this user can enter (and keep the clone where it can read it)."
    )


def _environment() -> dict[str, str]:
    """Return the environment for the server's programs: nothing that would point them at another PostgreSQL."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C"}
