"""Calls for which a person waits at a page: they end in seconds, answered or not."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from invoicing.payments.remote import GatewayUnavailable

# All calls of a page together. Whoever waits longer believes that nothing happens.
SECONDS = 5

_until: ContextVar[float | None] = ContextVar("_until", default=None)


@contextmanager
def somebody_waits() -> Iterator[None]:
    """Let the calls of this block end in time, all together; raises GatewayUnavailable where they do not."""
    token = _until.set(time.monotonic() + SECONDS)
    try:
        yield
    finally:
        _until.reset(token)


def is_hurried() -> bool:
    """Say whether somebody waits: that a call had no answer in what was left of the time says nothing of Stripe's health."""
    return _until.get() is not None


def seconds_left() -> int | None:
    """Return how many seconds a call may take, at least one; None where nobody waits. Raises GatewayUnavailable where the time is over."""
    until = _until.get()
    if until is None:
        return None
    left = until - time.monotonic()
    if left <= 0:
        raise GatewayUnavailable("Stripe takes longer than somebody who waits at a page can be asked to wait.")
    return math.ceil(left)
