"""What a stretch of work heard from Stripe: how many calls it took and under which id Stripe logs the last one."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class CallLog:
    """The calls so far; `step` is what the work was about when they were made."""

    step: str = ""
    call_count: int = 0
    request_id: str = ""


_log: ContextVar[CallLog | None] = ContextVar("_log", default=None)


@contextmanager
def logged_calls() -> Iterator[CallLog]:
    """Keep a log of the calls in this block."""
    log = CallLog()
    token = _log.set(log)
    try:
        yield log
    finally:
        _log.reset(token)


def note_call() -> None:
    """Note that a call goes out: no answer has come yet."""
    if (log := _log.get()) is not None:
        log.call_count += 1
        log.request_id = ""


def note_answer(*, headers: Mapping[str, str]) -> None:
    """Note under which id Stripe keeps the call that it has answered."""
    if (log := _log.get()) is not None:
        log.request_id = str(headers.get("request-id", ""))[:100]
