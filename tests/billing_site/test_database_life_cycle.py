"""The embedded PostgreSQL is started by the first that needs it, shared, survives kill -9, and stops with the last."""

import os
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import OperationalError

from billing_site.database.embedded import EmbeddedServer
from billing_site.database.errors import DatabaseInUseError
from billing_site.database.layout import Layout
from billing_site.database.locks import held_alone, hold_shared, is_held
from billing_site.database.postmaster import Postmaster, server_name
from tests.billing_site.database_clients import Client, running_postmaster, wait_until

START_TIME = "select pg_postmaster_start_time()"


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data folder whose server does not outlive the test."""
    yield tmp_path / "data"
    for folder in (tmp_path / "data", *tmp_path.glob("*/data")):
        if running_postmaster(data_dir=folder):
            EmbeddedServer(data_dir=folder).stop_under_its_users()


def test_eight_processes_that_start_at_once_share_one_server_that_stops_with_the_last(data_dir: Path) -> None:
    clients = [Client(data_dir=data_dir) for _ in range(8)]
    for client in clients:
        client.send(START_TIME)

    starts = {str(client.answer()) for client in clients}

    assert len(starts) == 1
    assert [client.end() for client in clients[1:]] == [0] * 7
    assert running_postmaster(data_dir=data_dir)
    assert clients[0].ask("select count(*) from pg_database where datname = 'billing'") == [("1",)]
    assert clients[0].end() == 0
    assert running_postmaster(data_dir=data_dir) is None


def test_a_killed_client_does_not_keep_the_server_from_stopping_with_the_last_one(data_dir: Path) -> None:
    first, last = Client(data_dir=data_dir), Client(data_dir=data_dir)
    assert first.ask("select 1") == last.ask("select 1")

    first.kill()

    assert last.ask("select 1") == [("1",)]
    assert last.end() == 0
    assert running_postmaster(data_dir=data_dir) is None


def test_when_all_were_killed_the_next_command_joins_the_server_and_stops_it(data_dir: Path) -> None:
    killed = Client(data_dir=data_dir)
    start = killed.ask(START_TIME)
    killed.kill()
    assert running_postmaster(data_dir=data_dir)

    following = Client(data_dir=data_dir)

    assert following.ask(START_TIME) == start
    assert following.end() == 0
    assert running_postmaster(data_dir=data_dir) is None


def test_a_forked_child_keeps_the_server_after_its_parent_has_left(data_dir: Path) -> None:
    client = Client(data_dir=data_dir, role="forked")
    start = client.ask(START_TIME)
    client.process.wait(timeout=30)  # the parent; the child has its input and output

    assert client.ask(START_TIME) == start
    client.end()
    wait_until(lambda: running_postmaster(data_dir=data_dir) is None)


@pytest.mark.parametrize("role", ["cluster", "worker"])
def test_workers_and_the_process_that_waits_for_them_stop_the_server_at_their_end(data_dir: Path, role: str) -> None:
    client = Client(data_dir=data_dir, role=role)
    assert client.ask("select 1") == [("1",)]

    assert client.end() == 0

    assert running_postmaster(data_dir=data_dir) is None


@pytest.mark.parametrize("everything", [False, True], ids=["postmaster", "every process of the server"])
def test_after_a_kill_of_the_server_the_next_connection_works_and_acknowledged_rows_are_there(
    data_dir: Path, everything: bool
) -> None:
    writer, reader = Client(data_dir=data_dir), Client(data_dir=data_dir)
    writer.ask("create table fact (number int primary key)")
    assert reader.ask("select count(*) from fact") == [("0",)]
    for number in range(50):
        assert writer.ask(f"insert into fact values ({number})") == []
    postmaster = running_postmaster(data_dir=data_dir)
    assert postmaster

    for pid in [postmaster.pid, *(children_of(pid=postmaster.pid) if everything else [])]:
        os.kill(pid, signal.SIGKILL)

    answers = [client.ask("select count(*) from fact") for client in (writer, reader, writer, reader)]
    assert set(map(str, answers[:2])) <= {"OperationalError", "[('50',)]"}, "one broken connection each at the most"
    assert answers[2:] == [[("50",)]] * 2
    assert (writer.end(), reader.end()) == (0, 0)
    assert running_postmaster(data_dir=data_dir) is None


def test_after_a_kill_of_one_process_of_the_server_it_is_replaced_and_does_not_begin_again_in_place(
    data_dir: Path,
) -> None:
    # Where its startup process was killed, too, the server that had begun again in place answered nobody ever again.
    client = Client(data_dir=data_dir)
    client.ask("create table fact (number int primary key)")
    client.ask("insert into fact values (1)")
    before = running_postmaster(data_dir=data_dir)
    assert before
    [checkpointer] = [pid for pid in children_of(pid=before.pid) if b"checkpointer" in cmdline(pid=pid)]

    os.kill(checkpointer, signal.SIGKILL)

    wait_until(lambda: not before.is_alive())
    client.ask("select 1")
    assert client.ask("select number from fact") == [("1",)]
    after = running_postmaster(data_dir=data_dir)
    assert after and after.pid != before.pid
    assert client.end() == 0


def test_a_server_whose_zombie_nobody_reaps_is_replaced(data_dir: Path) -> None:
    client = Client(data_dir=data_dir, role="careless")
    start = client.ask(START_TIME)
    killed = running_postmaster(data_dir=data_dir)
    assert killed
    os.kill(killed.pid, signal.SIGKILL)
    wait_until(lambda: Path(f"/proc/{killed.pid}/stat").read_text().split()[2] == "Z")

    answers = [client.ask(START_TIME), client.ask(START_TIME)]

    assert answers[1] not in (start, "OperationalError")
    assert Path(f"/proc/{killed.pid}/stat").read_text().split()[2] == "Z"
    assert client.end() == 0
    assert running_postmaster(data_dir=data_dir) is None


def test_a_set_up_that_was_killed_half_way_is_begun_anew(data_dir: Path) -> None:
    killed = Client(data_dir=data_dir)
    killed.send("select 1")
    home = Layout(data_dir=data_dir).home
    wait_until(lambda: any(home.glob("unfinished-*/PG_VERSION")))
    killed.kill()
    assert not (home / "cluster").exists()

    following = Client(data_dir=data_dir)

    assert following.ask("select current_database()") == [("billing",)]
    assert following.end() == 0


def test_a_first_start_that_was_killed_before_the_database_was_created_creates_it_later(data_dir: Path) -> None:
    client = Client(data_dir=data_dir)
    client.ask("select 1")
    server = EmbeddedServer(data_dir=data_dir)
    with server._connect() as connection:
        connection.execute("drop database billing with (force)")
    client.kill()

    assert Client(data_dir=data_dir).ask("select current_database()") == [("billing",)]


def test_a_path_too_long_for_a_socket_gets_a_private_run_directory_that_is_used_again(data_dir: Path) -> None:
    deep = data_dir.parent / ("x" * 120) / "data"
    client = Client(data_dir=deep)
    assert client.ask("select 1") == [("1",)]
    run_directory = Layout(data_dir=deep).socket_directory()
    assert run_directory.parent == Path("/tmp") and stat.S_IMODE(run_directory.stat().st_mode) == 0o700
    client.end()

    again = Client(data_dir=deep)

    assert again.ask("select 1") == [("1",)]
    assert Layout(data_dir=deep).socket_directory() == run_directory
    again.end()
    run_directory.rmdir()


def test_a_run_directory_that_others_can_enter_is_not_used(data_dir: Path) -> None:
    deep = data_dir.parent / ("x" * 120) / "data"
    client = Client(data_dir=deep)
    client.ask("select 1")
    client.end()
    laid_open = Layout(data_dir=deep).socket_directory()
    laid_open.chmod(0o755)

    with pytest.raises(FileNotFoundError):
        Layout(data_dir=deep).socket_directory()
    again = Client(data_dir=deep)
    assert again.ask("select 1") == [("1",)]
    private = Layout(data_dir=deep).socket_directory()
    assert private != laid_open

    again.end()
    laid_open.rmdir()
    private.rmdir()


@pytest.mark.parametrize(
    ("name", "is_inside"), [('it\'s "odd" $HOME ', True), ("a,b", False)], ids=["blanks, quotes, dollar", "comma"]
)
def test_a_folder_with_an_odd_name_works(name: str, is_inside: bool) -> None:
    with tempfile.TemporaryDirectory(prefix=name, dir="/tmp") as odd:
        client = Client(data_dir=Path(odd))

        assert client.ask("select count(*) from pg_stat_activity where datname = 'billing'") == [("1",)]
        socket_directory = Layout(data_dir=Path(odd)).socket_directory()
        assert socket_directory.is_relative_to(odd) == is_inside
        assert client.end() == 0
        assert running_postmaster(data_dir=Path(odd)) is None
        socket_directory.rmdir()


def test_the_server_speaks_utc_and_writes_to_disk(data_dir: Path) -> None:
    client = Client(data_dir=data_dir)

    assert client.ask("show timezone") == [("UTC",)]
    shown = {name: client.ask(f"show {name}") for name in ("fsync", "full_page_writes", "listen_addresses")}
    assert shown == {"fsync": [("on",)], "full_page_writes": [("on",)], "listen_addresses": [("",)]}
    assert client.ask("select lower('ÄÖ'), 'a' < 'B', pg_encoding_to_char(encoding) from pg_database limit 1") == [
        ("äö", "False", "UTF8")
    ]
    client.end()


def test_stopping_is_refused_while_in_use_and_when_forced_the_next_statement_starts_it_again(data_dir: Path) -> None:
    client = Client(data_dir=data_dir)
    start = client.ask(START_TIME)
    server = EmbeddedServer(data_dir=data_dir)

    with pytest.raises(DatabaseInUseError) as refused:
        server.stop()
    assert refused.value.pids == (client.process.pid,)
    assert server.stop_under_its_users() is True
    assert running_postmaster(data_dir=data_dir) is None

    answers = [client.ask(START_TIME), client.ask(START_TIME)]
    assert answers[1] not in (start, "OperationalError")
    client.end()
    assert server.stop() is False


def test_a_server_that_is_kept_outlives_its_users_until_it_is_stopped(data_dir: Path) -> None:
    client = Client(data_dir=data_dir)
    client.ask("select 1")
    server = EmbeddedServer(data_dir=data_dir)
    server.keep()
    client.end()

    status = server.status()

    assert status.is_running and status.kept and status.database_bytes > 0 and status.user_pids == ()
    assert server.stop() is True
    assert not server.status().is_running and not server.status().kept


def test_a_data_folder_that_is_a_file_is_told_with_the_names_of_both_settings(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")

    with pytest.raises(OperationalError, match=r"(?s)BILLING_DATA_DIR.*DATABASE_URL"):
        EmbeddedServer(data_dir=tmp_path / "data").join()


def test_a_server_that_refuses_to_start_is_told_with_its_own_words(data_dir: Path) -> None:
    client = Client(data_dir=data_dir)
    client.ask("alter system set shared_preload_libraries = 'no_such_library'")
    client.end()

    with pytest.raises(OperationalError, match=r"(?s)does not start.*no_such_library.*DATABASE_URL"):
        EmbeddedServer(data_dir=data_dir).ensure_running()


def test_a_zombie_and_a_pid_in_new_use_are_not_the_server(tmp_path: Path) -> None:
    pid = os.posix_spawn("/bin/false", ["postgres", server_name(data_directory=str(tmp_path))], {})
    wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z")

    assert not Postmaster(pid=pid, data_directory=str(tmp_path)).is_alive()
    os.waitpid(pid, 0)
    assert not Postmaster(pid=os.getpid(), data_directory=str(tmp_path)).is_alive()


def test_a_share_lasts_until_the_last_forked_copy_is_closed_and_the_start_lock_does_not(tmp_path: Path) -> None:
    shared, alone = tmp_path / "users.lock", tmp_path / "start.lock"
    descriptor = hold_shared(path=shared)
    reading, writing = os.pipe()
    with held_alone(path=alone):
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)

    os.close(descriptor)

    assert is_held(path=shared), "the child has a copy"
    assert not is_held(path=alone), "the child's copy was unlocked with ours"
    os.close(writing)
    os.waitpid(child, 0)
    assert not is_held(path=shared)


def test_nobody_else_can_enter_where_the_socket_and_the_data_are(data_dir: Path) -> None:
    client = Client(data_dir=data_dir)
    client.ask("select 1")
    layout = Layout(data_dir=data_dir)

    for private in (layout.cluster, layout.socket_directory(), layout.log.parent):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
    client.end()


def cmdline(*, pid: int) -> bytes:
    """Return what a process calls itself."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def children_of(*, pid: int) -> list[int]:
    """Return the pids of a process's children."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(entry.read_text(errors="replace").rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(entry.parent.name))
    return found
