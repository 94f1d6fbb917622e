"""The bell between a committed request and the deliverer in the same process."""

import threading

_bell = threading.Event()


def ring() -> None:
    """Tell the deliverer that there is something to deliver."""
    _bell.set()


def wait(*, seconds: float) -> None:
    """Sleep until somebody rings, or for the given time."""
    _bell.wait(seconds)
    _bell.clear()
