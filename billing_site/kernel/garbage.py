"""When Python looks for garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Let a piece of work that is small enough make its objects without being searched for garbage; what is left of it is found right afterwards.

    Python looks through all objects each time that so many new ones were made: a batch of invoices is searched a hundred times, in vain.
    What was there before, all that a process has loaded, is not looked through with what is left.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        gc.unfreeze()
        gc.enable()
