"""When Python looks for garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Python could say how much is set aside, by counting it: a web server's objects take it 10 ms, pytest's 60, several times a run.
_is_set_aside = False


def look_seldom() -> None:
    """Let Python look for garbage after ten thousand new objects instead of seven hundred.

    For who loads much that stays: a command makes a quarter of a million objects before it begins, migrations millions, and each look at
    all of them finds nothing: a sixth of the CPU of both.
    """
    gc.set_threshold(10_000, 10, 10)


def set_aside_for_good() -> None:
    """Leave what is there now, all that a process has loaded, out of every search for as long as the process lives."""
    global _is_set_aside
    gc.freeze()
    _is_set_aside = True


@contextmanager
def set_aside() -> Iterator[None]:
    """Leave what is there now, all that a process has loaded, out of every search until a run ends; within another one it changes nothing.

    Around the pieces of one run: what a piece leaves is found after the next one, and not set aside with it for ever.
    """
    global _is_set_aside
    if _is_set_aside:
        yield
        return
    gc.freeze()
    _is_set_aside = True
    try:
        yield
    finally:
        gc.unfreeze()
        _is_set_aside = False


@contextmanager
def uncollected() -> Iterator[None]:
    """Let a piece of work that is small enough make its objects without being searched for garbage; what is left of it is found right afterwards.

    Python looks through all objects each time that so many new ones were made: a batch of invoices is searched a hundred times, in vain.
    What was there before is not looked through with what is left.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        with set_aside():
            try:
                yield
            finally:
                gc.collect()
    finally:
        gc.enable()
