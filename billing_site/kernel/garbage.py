"""When Python looks for garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Let a piece of work that is small enough make its objects without being searched for garbage; what is left of it is found afterwards.

    Python looks through all objects each time that so many new ones were made: a batch of invoices is searched a hundred times, in vain.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
