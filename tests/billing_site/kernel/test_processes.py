"""Work is done by several processes at a time, each with its own connection, and never twice at once on the same."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.db import connection

from billing_site.kernel.processes import done_beside_each_other
from invoicing.customers.models import Customer
from tests.factories import a_customer

ROOT = Path(__file__).parents[3]
Task = tuple[int, float]


def worked(task: Task) -> tuple[int, float, float]:
    """Where and when a task was done."""
    began = time.monotonic()
    time.sleep(task[1])
    return os.getpid(), began, time.monotonic()


def named(number: int) -> list[str]:
    """What another connection sees."""
    return list(Customer.objects.order_by("key").values_list("key", flat=True))[:number]


def refused(number: int) -> None:
    raise ValueError(f"task {number}")


def slow_or_refused(number: int) -> int:
    if number == 1:
        raise ValueError("task 1")
    time.sleep(1)
    return number


def touches(task: Task) -> frozenset[int]:
    return frozenset({task[0]})


@pytest.mark.django_db(transaction=True)
def test_tasks_are_done_beside_each_other_and_those_that_touch_the_same_one_after_the_other() -> None:
    tasks = [(1, 0.2), (2, 0.2), (1, 0.1), (2, 0.1)]

    done = dict(done_beside_each_other(worked, tasks, processes=2, touches=touches))

    assert set(done) == set(tasks)
    assert {pid for pid, _, _ in done.values()}.isdisjoint({os.getpid()})
    for number in (1, 2):
        first, second = (span for task, span in done.items() if task[0] == number)
        assert first[2] <= second[1], "never at once"


@pytest.mark.django_db(transaction=True)
def test_each_process_sees_what_is_committed_in_the_same_database() -> None:
    a_customer("cust_a")

    [(_, seen)] = done_beside_each_other(named, [5], processes=2, touches=lambda number: frozenset())

    assert seen == ["cust_a"]


@pytest.mark.django_db(transaction=True)
def test_what_a_task_raises_is_raised_here() -> None:
    with pytest.raises(ValueError, match="task 7"):
        list(done_beside_each_other(refused, [7], processes=2, touches=lambda number: frozenset()))


@pytest.mark.django_db(transaction=True)
def test_what_was_under_way_beside_a_task_that_failed_is_told_and_nothing_is_begun_after_it() -> None:
    told = []

    with pytest.raises(ValueError, match="task 1"):
        for _, number in done_beside_each_other(
            slow_or_refused, [0, 1, 2, 3, 4], processes=2, touches=lambda number: frozenset()
        ):
            told.append(number)

    # However late the second process begins: what runs beside the failure is told, and what comes after that is not begun.
    assert told in ([0], [0, 2])


@pytest.mark.django_db
def test_within_a_transaction_nobody_else_is_asked() -> None:
    assert connection.in_atomic_block

    with pytest.raises(AssertionError, match="not committed"):
        list(done_beside_each_other(named, [1], processes=2, touches=lambda number: frozenset()))


def test_the_processes_end_with_the_one_that_began_them_even_if_it_is_killed() -> None:
    script = (
        "import django; django.setup()\n"
        "from billing_site.kernel.processes import done_beside_each_other\n"
        "import tests.billing_site.kernel.test_processes as here\n"
        "def main():\n"
        "    list(done_beside_each_other(here.told, [1, 2], processes=2, touches=lambda one: frozenset()))\n"
        "if __name__ == '__main__':\n"
        "    main()\n"
    )
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "billing_site.settings"}
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=environment, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while any(map(_lives, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(_lives, workers))


def told(number: int) -> None:
    """Say who works, and work for longer than anybody waits."""
    print(os.getpid(), flush=True)
    time.sleep(120)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
