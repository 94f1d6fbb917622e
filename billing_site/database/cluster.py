"""Making the cluster once and starting the server on it; called by one process at a time (start.lock)."""

import os
import shutil
import tempfile
import time
from pathlib import Path

from billing_site.database.account import Account, account_that_reaches, server_account
from billing_site.database.binaries import Binaries, find_binaries
from billing_site.database.errors import EmbeddedDatabaseError
from billing_site.database.layout import PORT, SOCKET_NAME, Layout
from billing_site.database.postmaster import read_postmaster, server_name
from billing_site.database.settings import EMBEDDED_USER

UNFINISHED_PREFIX = "unfinished-"
SETTINGS_FILE = "billing.conf"
LOG_BYTES_MAX = 10_000_000
START_ATTEMPTS = 100
START_SECONDS_MAX = 300
SECONDS_BETWEEN_ATTEMPTS = 0.2
# After a kill -9 of the server its orphans need a moment to notice, and until then a new server refuses to start.
PASSING_REFUSALS = ("still in use", "lock file")

SERVER_SETTINGS = """\
# Written anew at every start; to change a setting, use ALTER SYSTEM.
listen_addresses = ''
unix_socket_directories = {socket_directories}
unix_socket_permissions = 0700
port = {port}
max_connections = 200
max_locks_per_transaction = 256
shared_buffers = 128MB
dynamic_shared_memory_type = mmap
fsync = on
synchronous_commit = on
full_page_writes = on
restart_after_crash = off
wal_level = replica
max_wal_size = 2GB
checkpoint_timeout = 15min
random_page_cost = 1.1
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %u@%d '
log_checkpoints = off
lc_messages = 'C'
"""


def start_server(*, layout: Layout) -> None:
    """Start the server, making its cluster first if there is none; returns when it accepts connections.

    Raises EmbeddedDatabaseError with what PostgreSQL said where it does not start.
    """
    binaries = find_binaries(cluster_major=layout.cluster_major())
    account = account_that_reaches(
        account=server_account(cluster=layout.cluster), program=binaries.path("postgres"), directory=layout.home
    )
    if layout.cluster_major() is None:
        _make_cluster(layout=layout, binaries=binaries, account=account)
    _prepare(layout=layout, account=account)

    for _attempt in range(START_ATTEMPTS):
        _forget_dead_postmaster(layout=layout)
        position = layout.log.stat().st_size
        started = account.run(command=_start_command(layout=layout, binaries=binaries), directory=layout.home)
        if started.returncode == 0:
            return
        said = layout.log.read_bytes()[position:].decode(errors="replace")
        if not any(refusal in said for refusal in PASSING_REFUSALS):
            break
        time.sleep(SECONDS_BETWEEN_ATTEMPTS)
    raise EmbeddedDatabaseError(
        f"The embedded PostgreSQL does not start. Its log ({layout.log}) ends with:\n{said[-2000:]}{started.stderr}"
    )


def _start_command(*, layout: Layout, binaries: Binaries) -> list[str]:
    """Return the command line of pg_ctl, to be run in `home`.

    The paths are relative because pg_ctl puts them between double quotes for a shell, and a folder may be named `$HOME`.
    """
    folder, log = (str(path.relative_to(layout.home)) for path in (layout.cluster, layout.log))
    options = f"-c cluster_name={server_name(data_directory=str(layout.cluster))}"
    waiting = ["-w", "-t", str(START_SECONDS_MAX), "-s"]
    return [binaries.path("pg_ctl"), "start", "-D", folder, "-l", log, "-o", options, *waiting]


def _make_cluster(*, layout: Layout, binaries: Binaries, account: Account) -> None:
    """Run initdb beside the cluster's place and rename when it is complete, so a half-made cluster is never used."""
    for remains in layout.home.glob(f"{UNFINISHED_PREFIX}*"):
        shutil.rmtree(remains, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED_PREFIX, dir=layout.home))
    account.own(unfinished)
    locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if binaries.major >= 17 else ["--locale=C.UTF-8"]
    command = [binaries.path("initdb"), "-D", str(unfinished), "-U", EMBEDDED_USER, "--auth=trust"]
    made = account.run(command=[*command, "--encoding=UTF8", *locale, "--no-instructions"], directory=unfinished)
    if made.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise EmbeddedDatabaseError(f"The embedded PostgreSQL could not be set up. initdb says:\n{made.stderr.strip()}")

    with (unfinished / "postgresql.conf").open("a") as configuration:
        configuration.write(f"\ninclude_if_exists = '{SETTINGS_FILE}'\n")
    # Everybody who can enter the socket's folder (mode 0700) is trusted; there is no other way in.
    (unfinished / "pg_hba.conf").write_text("local all all trust\n")
    unfinished.rename(layout.cluster)
    directory = os.open(layout.home, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _prepare(*, layout: Layout, account: Account) -> None:
    """Write the server's settings and make the folders of its socket and log."""
    socket_directory = layout.make_socket_directory()
    account.own(socket_directory)
    if layout.run_directory_note.exists():
        account.own(layout.run_directory_note)
    layout.log.parent.mkdir(mode=0o700, exist_ok=True)
    account.own(layout.log.parent)
    if layout.log.exists() and layout.log.stat().st_size > LOG_BYTES_MAX:
        layout.log.replace(layout.log.with_suffix(".log.1"))
    layout.log.touch(mode=0o600)
    account.own(layout.log)

    listed = str(socket_directory).replace('"', '""').replace("'", "''")
    text = SERVER_SETTINGS.format(socket_directories=f"'\"{listed}\"'", port=PORT)
    settings = layout.cluster / SETTINGS_FILE
    fresh = settings.with_suffix(".new")
    fresh.write_text(text)
    account.own(fresh)
    fresh.replace(settings)


def _forget_dead_postmaster(*, layout: Layout) -> None:
    """Remove the two lock files of a server that is no more.

    PostgreSQL itself takes a zombie, or a pid in new use, for alive; and where process 1 reaps nobody's children, as in
    many containers, a zombie stays for ever. Should any child of the dead server still run, the new one finds their
    shared memory and refuses to start.
    """
    postmaster = read_postmaster(cluster=layout.cluster)
    if postmaster is None or not postmaster.is_alive():
        (layout.cluster / "postmaster.pid").unlink(missing_ok=True)
        (layout.socket_directory() / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)
