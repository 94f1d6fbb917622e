"""How long to wait before trying again: seconds at first, then gaps that grow, then people (S2-011, S3-027, S3-030)."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import InterfaceError, OperationalError

from invoicing.payments.remote import GatewayUnavailable, NotNow

# Most trouble is over in seconds: the job comes again by itself.
QUICK = tuple(timedelta(seconds=seconds) for seconds in (1, 2, 4, 8, 16))
# What is not is parked: the sweep takes it when its time has come.
PARKED = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=6),
)
GAPS = QUICK + PARKED
# A gap is longer by up to so much of a hundred, by chance: what failed together does not come back together.
JITTER_PERCENT = 25
# A queued job may wait this long for a worker before the sweep queues it once more.
QUEUE_PATIENCE = timedelta(minutes=2)
GIVEN_UP = "Given up after {} failures in a row; somebody has to look and send it again. The last one: {}"
UNFORESEEN = "Something went wrong that nobody foresaw; the log has it, and it is not tried again by itself: {}"
DATABASE_AWAY = "Our database did not answer in the middle of it; what was done by then is found again."
TRIED_AGAIN = "Tried again by {}: {}. Before that: {}"
# So many rows a sweep; what is left over has its turn a minute later.
SWEEP_MAX = 500


def next_attempt_after(*, attempt_count: int, at: datetime, asked_seconds: int | None = None) -> datetime:
    """Return when to try again after so many failures, the last gap again and again; never earlier than the other side asked for."""
    assert attempt_count >= 1, "only what was tried can be tried again"
    gap = GAPS[min(attempt_count, len(GAPS)) - 1]
    return at + with_jitter(max(gap, timedelta(seconds=asked_seconds or 0)))


def with_jitter(gap: timedelta) -> timedelta:
    """Return a gap that is a little longer, by chance."""
    return gap + gap * secrets.randbelow(JITTER_PERCENT * 100 + 1) / 10_000


def is_given_up(*, attempt_count: int) -> bool:
    """Say whether so many failures are enough: from then on people decide."""
    return attempt_count > len(GAPS)


def is_quick(*, at: datetime, next_at: datetime) -> bool:
    """Say whether a gap is so short that the job waits in the queue; of a longer one the sweep, which comes once a minute, takes care."""
    return next_at - at < PARKED[0]


def unforeseen(error: Exception) -> str:
    """Return what is told of an attempt that failed in a way that nobody foresaw."""
    return UNFORESEEN.format(str(error).partition("\n")[0] or type(error).__name__)


@contextmanager
def database_may_be_away() -> Iterator[None]:
    """Let an attempt in which the database went away, or held us up, come again: raises GatewayUnavailable instead, as where Stripe is away."""
    try:
        yield
    except (InterfaceError, OperationalError) as error:
        raise GatewayUnavailable(DATABASE_AWAY) from error


@dataclass(frozen=True)
class Verdict:
    """What follows from an attempt that Stripe could not answer: how many have failed in a row by now, why, and when it comes again."""

    failure_count: int
    next_attempt_at: datetime
    is_given_up: bool
    cause: str


def verdict_on(error: GatewayUnavailable, *, failure_count: int, at: datetime) -> Verdict:
    """Say what follows for what had failed so often before; where it only was not the time, nothing has failed."""
    asked = error.retry_after_seconds
    if isinstance(error, NotNow):
        return Verdict(failure_count, at + with_jitter(timedelta(seconds=asked or 1)), False, error.message)
    failures = failure_count + 1
    if is_given_up(attempt_count=failures):
        return Verdict(failures, at, True, GIVEN_UP.format(failures, error.message))
    return Verdict(
        failures, next_attempt_after(attempt_count=failures, at=at, asked_seconds=asked), False, error.message
    )
