"""More than one processor for what one process cannot do fast enough: processes that run this project's functions."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import connection as pipes
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import TypeVar

import django
from django.db import connection

from billing_site.kernel.garbage import set_aside_for_good
from billing_site.kernel.requests import begin, request_id

Task = TypeVar("Task")
Result = TypeVar("Result")


def done_beside_each_other(
    deed: Callable[[Task], Result], tasks: Iterable[Task], *, processes: int, touches: Callable[[Task], frozenset[int]]
) -> Iterator[tuple[Task, Result]]:
    """Do tasks in so many processes and yield each with what it returned, as they end; two that touch the same are done one after the other, in order.

    `deed` is a function of a module, tasks and results can be pickled; each process has its own connection to the database, so nothing of a
    transaction that is open here is seen there. They end with this process, however it ends. Raises what a task raised, once those that had begun
    beside it have ended and are told; none is begun after it.
    """
    assert not connection.in_atomic_block, "other processes do not see what is not committed"
    name = str(connection.settings_dict["NAME"])
    running: dict[Future[Result], tuple[Task, frozenset[int]]] = {}
    problems: list[BaseException] = []

    def ended() -> Iterator[tuple[Task, Result]]:
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            task, _ = running.pop(future)
            if (problem := future.exception()) is None:
                yield task, future.result()
            else:
                problems.append(problem)

    # Not forked: a connection cannot be shared.
    with ProcessPoolExecutor(
        processes, get_context("spawn"), initializer=_begin, initargs=(name, request_id())
    ) as pool:
        for task in tasks:
            touched = touches(task)
            while not problems and (len(running) == processes or any(touched & other for _, other in running.values())):
                yield from ended()
            if problems:
                break
            running[pool.submit(deed, task)] = task, touched
        while running:
            yield from ended()
    if problems:
        raise problems[0]


def _begin(database: str, request: str) -> None:
    """Set the project up as it is in the process that asked, in its database and on its request."""
    django.setup()
    begin(request)
    connection.settings_dict["NAME"] = database
    Thread(target=_end_with_parent, daemon=True).start()
    # What is loaded is garbage at no time: no search of a task looks through it.
    set_aside_for_good()


def _end_with_parent() -> None:
    """Wait until whoever began this process is gone, killed perhaps: nobody would ever ask it for anything again."""
    parent = parent_process()
    assert parent is not None, "it was begun by another one"
    pipes.wait([parent.sentinel])
    os._exit(1)
