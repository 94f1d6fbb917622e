"""Process supervision: what dies comes back, what is stopped is gone, whatever is killed when."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from billing_site.database.layout import PORT, Layout
from billing_site.database.settings import EMBEDDED_DATABASE, EMBEDDED_USER
from billing_site.serving.child import Program
from billing_site.serving.programs import Address, programs
from billing_site.serving.readiness import regular_jobs, wait_until_healthy
from billing_site.serving.supervisor import Supervisor

ROOT = Path(__file__).resolve().parents[2]
SLEEPS = "import time; time.sleep(60)"
IGNORES_SIGTERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('set', flush=True); time.sleep(60)"
)
HAS_A_CHILD = (
    "import signal, subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(61)']);"
    "print('set', flush=True); time.sleep(60)"
)


def python(code: str, name: str = "sleeper") -> Program:
    return Program(name=name, command=[sys.executable, "-c", code])


def in_session(leader: int) -> list[int]:
    """The living processes (no zombies) of a session."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, _group, session = status.read_text(errors="replace").rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(session) == leader and state not in "ZX":
            found.append(int(status.parent.name))
    return found


def eventually(condition: Callable[[], object], *, seconds: float = 15) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervise(said: list[str], tmp_path: Path) -> Iterator[Callable[[Program], Supervisor]]:
    """Start a supervisor over one program; it is stopped at the end."""
    started = []
    output = (tmp_path / "output").open("w")

    def start(program: Program) -> Supervisor:
        supervisor = Supervisor(programs=[program], say=said.append, output=output)
        started.append(supervisor)
        supervisor.start()
        return supervisor

    yield start
    for supervisor in started:
        supervisor._is_in_a_hurry = True
        supervisor.stop()
    output.close()


def test_a_program_that_dies_is_told_of_and_started_again(
    supervise: Callable[[Program], Supervisor], said: list[str]
) -> None:
    supervisor = supervise(python(SLEEPS))
    first = supervisor.pid_of("sleeper")
    assert first is not None

    os.kill(first, signal.SIGKILL)

    assert eventually(lambda: (supervisor.look(), supervisor.pid_of("sleeper") not in (None, first))[1])
    assert said == [f"sleeper (pid {first}) ended by signal 9; it is started again in 0.2 s."]


def test_a_program_that_keeps_dying_is_started_less_and_less_often(
    supervise: Callable[[Program], Supervisor], said: list[str]
) -> None:
    supervisor = supervise(python("raise SystemExit(3)"))

    assert eventually(lambda: (supervisor.look(), len(said) >= 2)[1])

    assert "ended with status 3; it is started again in 0.2 s." in said[0]
    assert "it is started again in 1 s." in said[1]


def test_what_a_dead_program_leaves_behind_is_swept_away_before_it_starts_again(
    supervise: Callable[[Program], Supervisor], tmp_path: Path
) -> None:
    supervisor = supervise(python(HAS_A_CHILD))
    leader = supervisor.pid_of("sleeper")
    assert leader is not None
    assert eventually(lambda: len(in_session(leader)) == 2)

    os.kill(leader, signal.SIGKILL)

    assert eventually(lambda: (supervisor.look(), supervisor.pid_of("sleeper") != leader)[1])
    assert in_session(leader) == []


def test_a_program_that_does_not_listen_is_killed_with_its_descendants(
    supervise: Callable[[Program], Supervisor], said: list[str], tmp_path: Path
) -> None:
    supervisor = supervise(python(IGNORES_SIGTERM))
    leader = supervisor.pid_of("sleeper")
    assert leader is not None
    assert eventually(lambda: "set" in (tmp_path / "output").read_text())
    supervisor._is_in_a_hurry = True

    supervisor.stop()

    assert in_session(leader) == []
    assert "did not end in time and is killed" in said[-1]


def test_a_program_is_stopped_by_its_pid_and_not_by_its_group(
    supervise: Callable[[Program], Supervisor], tmp_path: Path
) -> None:
    """The job cluster hangs when its processes get the signal together with their parent."""
    file = tmp_path / "signals"
    child = f"import signal, time; signal.signal(signal.SIGTERM, lambda *_: open({str(file)!r}, 'w').close()); time.sleep(61)"
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); print('set', flush=True); time.sleep(60)"
    supervisor = supervise(python(parent))
    leader = supervisor.pid_of("sleeper")
    assert leader is not None
    assert eventually(lambda: len(in_session(leader)) == 2)
    time.sleep(0.3)

    supervisor.stop()

    assert not file.exists()
    assert in_session(leader) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the system tells children of their parent's death on Linux only")
def test_children_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    code = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from billing_site.serving.child import Child, Program
print(Child(program=Program(name="sleeper", command=[sys.executable, "-c", {SLEEPS!r}])).pid, flush=True)
time.sleep(60)
"""
    supervisor = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert supervisor.stdout is not None
    child = int(supervisor.stdout.readline())
    assert in_session(child) == [child]

    supervisor.kill()
    supervisor.wait()

    assert eventually(lambda: in_session(child) == [])


def test_addresses_are_read_and_looked_at() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = Address.parse(f"127.0.0.1:{taken.getsockname()[1]}")
        assert address.is_taken()
    assert not Address.free().is_taken()
    assert str(Address.parse("[::1]:80")) == "[::1]:80"
    assert Address.parse("0.0.0.0:8000").url == "http://127.0.0.1:8000"
    for wrong in ("8000", ":8000", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:x", "127.0.0.1:65536"):
        with pytest.raises(ValueError, match="no address"):
            Address.parse(wrong)


def test_the_sandbox_runs_only_where_it_plays_stripe() -> None:
    web = Address.parse("127.0.0.1:8000")

    with_sandbox = programs(web=web, web_workers=2, sandbox=Address.parse("127.0.0.1:12111"), public_url=web.url)
    without = programs(web=web, web_workers=2, sandbox=None, public_url=web.url)

    assert [program.name for program in with_sandbox] == ["web", "worker", "rollup", "sandbox"]
    assert [program.name for program in without] == ["web", "worker", "rollup"]


def test_every_regular_job_has_a_name_of_its_own_and_can_be_imported() -> None:
    jobs = regular_jobs()

    assert len({job.name for job in jobs}) == len(jobs)
    for job in jobs:
        module, _, function = job.task.rpartition(".")
        assert callable(getattr(__import__(module, fromlist=[function]), function))


class Served:
    """`manage.py serve` as a person starts it, with a data folder of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.web, self.sandbox = Address.free(), Address.free()
        self.output = folder / "output"
        unset = ("DATABASE_URL", "STRIPE_SECRET_KEY", "PUBLIC_URL", "SANDBOX_WEBHOOK_URL")
        self.environment = {name: value for name, value in os.environ.items() if name not in unset}
        self.environment |= {"BILLING_DATA_DIR": str(folder / "data"), "SANDBOX_BIND": str(self.sandbox)}
        self.environment |= environment
        self.process = self.run("serve", "--bind", str(self.web), "--workers", "1")

    def run(self, *arguments: str) -> subprocess.Popen[str]:
        with self.output.open("a") as output:
            return subprocess.Popen(
                [sys.executable, "-W", "ignore", str(ROOT / "manage.py"), *arguments],
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def wait_until_well(self) -> None:
        """Wait until the place to look at is printed."""
        assert wait_until_healthy(url=self.web.url, seconds=200, go_on=lambda: self.process.poll() is None), self.said()
        assert eventually(lambda: "Ctrl-C stops everything" in self.said())

    def said(self) -> str:
        """Return what was printed so far."""
        return self.output.read_text()

    def children(self) -> list[int]:
        """Return the pids of its children."""
        return children_of(self.process.pid)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    house = Served(tmp_path)
    yield house
    if house.process.poll() is None:
        house.process.kill()
        house.process.wait()


@pytest.mark.slow
def test_serve_runs_everything_and_leaves_nothing_behind(served: Served) -> None:
    served.wait_until_well()
    children = served.children()
    refused = served.run("serve", "--bind", str(served.web))
    refused.wait(timeout=60)

    served.process.send_signal(signal.SIGINT)
    status = served.process.wait(timeout=40)
    described = served.run("database", "status")
    described.wait(timeout=30)

    assert len(children) == 4
    assert refused.returncode == 1
    assert "Choose another with --bind" in served.said()
    assert status == 0, served.said()
    assert [pid for child in children for pid in in_session(child)] == []
    assert "stopped" in served.said()[-60:]
    assert "did not end in time" not in served.said()


@pytest.mark.slow
def test_when_serve_is_killed_its_programs_end_by_themselves(served: Served) -> None:
    served.wait_until_well()
    children = served.children()

    served.process.kill()
    served.process.wait()

    assert eventually(lambda: not [pid for child in children for pid in in_session(child)], seconds=30)


@pytest.mark.slow
def test_a_job_cluster_that_stands_still_is_killed_and_started_again(tmp_path: Path) -> None:
    """An idle worker process that is killed takes the queue's lock with it: the others wait for ever."""
    house = Served(tmp_path, JOB_TIMEOUT_SECONDS="1", JOB_RETRY_SECONDS="3")
    try:
        house.wait_until_well()
        [cluster] = [
            pid for pid in house.children() if b"\0work\0" in Path(f"/proc/{pid}/cmdline").read_bytes() + b"\0"
        ]
        assert eventually(lambda: len(children_of(cluster)) == 1)
        [sentinel] = children_of(cluster)
        assert eventually(lambda: len(children_of(sentinel)) == 4)
        for victim in children_of(sentinel):
            os.kill(victim, signal.SIGKILL)
            time.sleep(0.1)
        queued = house.run(
            "shell", "-c", "from billing_site.kernel.jobs import queue; queue('metering.tasks.roll_up_usage')"
        )
        assert queued.wait(timeout=60) == 0

        assert eventually(lambda: not _jobs_wait(house), seconds=60)
    finally:
        house.process.terminate()
        house.process.wait(timeout=60)


def children_of(pid: int) -> list[int]:
    """The pids of a process's children."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


def _jobs_wait(house: Served) -> bool:
    """Whether the queue holds anything; asked of its server, which a process of ours for each look would take the CPU from."""
    socket_folder = Layout(data_dir=Path(house.environment["BILLING_DATA_DIR"])).socket_directory()
    with psycopg.connect(
        host=str(socket_folder), port=PORT, dbname=EMBEDDED_DATABASE, user=EMBEDDED_USER
    ) as connection:
        row = connection.execute("SELECT EXISTS (SELECT FROM django_q_ormq)").fetchone()
    assert row is not None, "EXISTS answers with a row"
    return bool(row[0])
