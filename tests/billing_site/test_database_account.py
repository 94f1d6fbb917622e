"""The embedded PostgreSQL runs for root (never as root), for an ordinary user, and where no other user may enter."""

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from billing_site.database import account, binaries
from billing_site.database.account import CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, Account, server_account
from billing_site.database.embedded import EmbeddedServer
from billing_site.database.errors import EmbeddedDatabaseError
from tests.billing_site.database_clients import Client, running_postmaster

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to see that root's rights are given up")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter (pytest's own belong to one user alone)."""
    folder = Path(tempfile.mkdtemp(prefix="billing-test-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    if running_postmaster(data_dir=folder / "data"):
        EmbeddedServer(data_dir=folder / "data").stop_under_its_users()
    shutil.rmtree(folder)


@as_root
def test_for_root_in_a_folder_that_others_may_enter_the_server_has_no_right_of_root(open_folder: Path) -> None:
    client = Client(data_dir=open_folder / "data")
    assert client.ask("select 1") == [("1",)]

    rights = rights_of_the_server(data_dir=open_folder / "data")

    assert rights["uid"] in {pwd.getpwnam(name).pw_uid for name in account.ACCOUNT_NAMES if name_exists(name)}
    assert rights["capabilities"] == 0
    assert rights["uid"] == (open_folder / "data/postgresql/cluster").stat().st_uid
    client.end()


@as_root
def test_for_root_in_a_folder_closed_to_others_the_server_keeps_one_right_and_no_mode_is_changed(
    open_folder: Path,
) -> None:
    closed = open_folder / "data"
    closed.mkdir(mode=0o700)
    client = Client(data_dir=closed)

    assert client.ask("select 1") == [("1",)]

    rights = rights_of_the_server(data_dir=closed)
    assert rights["uid"] != 0
    assert rights["capabilities"] in (1 << CAP_DAC_READ_SEARCH, 1 << CAP_DAC_OVERRIDE)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700 and closed.stat().st_uid == 0
    assert client.end() == 0
    again = Client(data_dir=closed)
    assert again.ask("select 1") == [("1",)]
    again.end()


@as_root
@pytest.mark.parametrize("mode", ["go+rX", "go-rwx"], ids=["usual modes", "umask 077"])
def test_for_root_the_programs_may_lie_in_a_closed_folder_too(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    clone = open_folder / "clone"
    clone.mkdir(mode=0o700)
    copied = copy_binaries(folder=clone)
    subprocess.run(["chmod", "-R", mode, *clone.iterdir()], check=True)
    monkeypatch.setattr(binaries, "candidate_folders", lambda: [copied])
    server = EmbeddedServer(data_dir=clone / "data")

    server.join()

    rights = rights_of_the_server(data_dir=clone / "data")
    server.leave()
    assert rights["uid"] != 0
    assert rights["capabilities"] in (1 << CAP_DAC_READ_SEARCH, 1 << CAP_DAC_OVERRIDE)
    assert stat.S_IMODE(clone.stat().st_mode) == 0o700
    assert running_postmaster(data_dir=clone / "data") is None


@as_root
def test_root_runs_the_server_of_a_user_as_that_user(open_folder: Path) -> None:
    cluster = open_folder / "cluster"
    cluster.mkdir()
    os.chown(cluster, 54321, 54322)

    assert server_account(cluster=cluster) == Account(uid=54321, gid=54322)


@as_root
def test_without_the_capability_the_error_names_both_settings_that_help(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (open_folder / "data").mkdir(mode=0o700)
    monkeypatch.setattr(account, "CAPABILITIES_WEAKEST_FIRST", (account.NO_CAPABILITY,))

    with pytest.raises(EmbeddedDatabaseError, match=r"(?s)Permission denied.*BILLING_DATA_DIR.*DATABASE_URL"):
        EmbeddedServer(data_dir=open_folder / "data").ensure_running()


@as_root
def test_without_a_user_to_run_it_as_the_error_says_so(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "ACCOUNT_NAMES", ("no-such-user",))

    with pytest.raises(EmbeddedDatabaseError, match=r"(?s)neither.*DATABASE_URL"):
        EmbeddedServer(data_dir=open_folder / "data").ensure_running()


def test_an_ordinary_user_without_any_privilege_runs_the_server_as_itself(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root a forked child becomes `nobody` for good; otherwise whoever runs the test is that user."""
    psycopg.pq.version()
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    data_dir = open_folder / "data"
    data_dir.mkdir()
    os.chown(data_dir, user.pw_uid, user.pw_gid)
    lend_reachable_binaries(user=user, folder=open_folder, monkeypatch=monkeypatch)

    def use_the_server() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
            os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
        server = EmbeddedServer(data_dir=data_dir)
        address = server.join()
        with psycopg.connect(host=str(address["host"]), port=5432, dbname="billing", user="billing") as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        assert rights_of_the_server(data_dir=data_dir) == {"uid": user.pw_uid, "capabilities": 0}
        server.leave()
        assert running_postmaster(data_dir=data_dir) is None

    assert outcome_in_a_forked_child(use_the_server) == "done"


def lend_reachable_binaries(*, user: pwd.struct_passwd, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy the wheel to where the user can read it, if it cannot read it in its place (a clone in root's home)."""
    folders = binaries.candidate_folders()
    someone = Account(uid=user.pw_uid, gid=user.pw_gid)
    if someone.run(command=[str(folders[0] / "postgres"), "--version"], directory=folder).returncode != 0:
        folders = [copy_binaries(folder=folder)]
    monkeypatch.setattr(binaries, "candidate_folders", lambda: folders)


def copy_binaries(*, folder: Path) -> Path:
    """Copy the installation that would be used, with the libraries that the wheel keeps beside it."""
    installation = binaries.candidate_folders()[0].parent
    package = installation.parent
    copy = folder / package.name / installation.name
    shutil.copytree(installation, copy)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    return copy / "bin"


def outcome_in_a_forked_child(work: Callable[[], None]) -> str:
    """Run the work in a forked child and return `done`, or the traceback."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
            os.write(writing, b"done")
        except BaseException:
            os.write(writing, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said


def rights_of_the_server(*, data_dir: Path) -> dict[str, int]:
    """Return the user and the effective capabilities of the server's main process."""
    postmaster = running_postmaster(data_dir=data_dir)
    assert postmaster
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{postmaster.pid}/status").read_text().splitlines() if ":" in line
    )
    return {"uid": int(status["Uid"].split()[1]), "capabilities": int(status["CapEff"], 16)}


def name_exists(name: str) -> bool:
    """Tell whether the system knows the user."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
