"""Several deeds at the same moment, each in a thread and on a connection of its own."""

import threading
from collections.abc import Callable
from typing import Any

from django.db import connection

from billing_site.kernel.errors import BillingError


def at_once(*deeds: Callable[[], Any]) -> list[Any]:
    """Do all at the same moment, each on a connection of its own; return what each returned or raised."""
    barrier = threading.Barrier(len(deeds))
    outcomes: list[Any] = [None] * len(deeds)

    def do(place: int, deed: Callable[[], Any]) -> None:
        try:
            barrier.wait()
            outcomes[place] = deed()
        except BaseException as problem:
            outcomes[place] = problem
        finally:
            connection.close()

    threads = [threading.Thread(target=do, args=pair) for pair in enumerate(deeds)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def unexpected(outcomes: list[Any]) -> list[Any]:
    """Return what was raised and is no refusal with a reason."""
    return [one for one in outcomes if isinstance(one, BaseException) and not isinstance(one, BillingError)]
