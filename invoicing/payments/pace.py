"""Take turns: however many processes call Stripe, together they stay below its limits of calls in a second (S3-031, S3-032).

A turn is one row of PostgreSQL moved on by the length of a turn, in a transaction of its own right before the call: under the row's
lock, by the server's clock, never inside the transaction of the work. A bucket gives evenly spaced turns and saves up none, because Stripe counts
any second, not ours: twenty-five calls at once and twenty-five more half a second later would be fifty in a second.

Whoever has to wait longer than a call is worth waiting for gets GatewayBusy with the time, and goes back to the queue.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from datetime import datetime, timedelta
from typing import TypeVar

from django.conf import settings
from django.db import connection, transaction

from billing_site.kernel.clock import server_moment
from invoicing.payments.hurry import seconds_left
from invoicing.payments.rail import CallBucket
from invoicing.payments.remote import GatewayBusy

ALL = "all endpoints"
# Of the limit we use so much of a thousand: calls do not arrive as evenly as they leave. The rest is what may be late on the way.
PER_MILLE_USED = 966
# A turn that nobody was quick enough to take is not lost for so long.
LATENESS = timedelta(milliseconds=8)
# Whoever waits for an urgent turn says so again before this is over.
URGENCY = timedelta(milliseconds=300)
# A call waits so long for its turn; beyond it the worker does something else.
PATIENCE = timedelta(seconds=5)
# Whoever was refused a turn asks again after this at the earliest.
SHORTEST_WAIT = timedelta(milliseconds=2)
NOTHING = timedelta(0)
# Where Stripe asks for quiet and does not say for how long.
QUIET_SECONDS = 1
# However long it asks for: then it is asked again.
QUIET_SECONDS_MAX = 60
TOO_MANY_REQUESTS = 429
# Stripe says by this header which of its limits was reached (docs.stripe.com/rate-limits).
REASON_HEADER = "stripe-rate-limited-reason"
# What the ids in its paths begin with; all other words of a path are an endpoint's.
ID_PREFIXES = frozenset(
    {
        "acct",
        "card",
        "ch",
        "cs",
        "cus",
        "dp",
        "du",
        "evt",
        "ii",
        "il",
        "in",
        "inpay",
        "mtr",
        "pi",
        "pm",
        "po",
        "py",
        "re",
        "seti",
        "src",
        "txn",
    }
)

Turn = TypeVar("Turn", timedelta, None)
_is_urgent: ContextVar[bool] = ContextVar("_is_urgent", default=False)


def endpoint_of(*, method: str, path: str) -> str:
    """Return the endpoint of a call: POST /v1/invoices/in_1/pay is one of POST /v1/invoices/:id/pay."""
    words = path.strip("/").split("/")
    told = [":id" if "_" in word and word.partition("_")[0] in ID_PREFIXES else word for word in words]
    return f"{method.upper()} /{'/'.join(told)}"[:200]


@contextmanager
def urgently(is_urgent: bool = True) -> Iterator[None]:
    """Let the calls of this block have their turns before all others (S3-058)."""
    token = _is_urgent.set(is_urgent)
    try:
        yield
    finally:
        _is_urgent.reset(token)


def wait_for_turn(*, endpoint: str) -> None:
    """Return when a call to an endpoint may go out at once; raises GatewayBusy where that lasts too long."""
    waited = NOTHING
    while wait := apart(lambda: _taken(endpoint)):
        waited += wait
        left = seconds_left()
        if waited > PATIENCE or (left is not None and wait.total_seconds() >= left):
            raise GatewayBusy(
                "Stripe takes no more calls in a second than we make already; this one waits for its turn.",
                retry_after_seconds=math.ceil(wait.total_seconds()),
            )
        time.sleep(wait.total_seconds())


def keep_quiet(*, endpoint: str, headers: Mapping[str, str]) -> None:
    """Give no turns until the moment for which Stripe asked with a 429; of one endpoint only if it said that it is about that."""
    asked = str(headers.get("retry-after", ""))
    seconds = min(int(asked[:9]), QUIET_SECONDS_MAX) if asked.isdecimal() else QUIET_SECONDS
    is_of_endpoint = str(headers.get(REASON_HEADER, "")).startswith("endpoint")
    apart(lambda: _close(endpoint if is_of_endpoint else ALL, seconds=seconds))


def _taken(endpoint: str) -> timedelta:
    """Take a turn of the endpoint and one of all together and return nothing to wait for; or take none, and say how long to wait."""
    lengths = {
        ALL: _length(settings.STRIPE_CALLS_PER_SECOND),
        endpoint: _length(settings.STRIPE_CALLS_PER_SECOND_AND_ENDPOINT),
    }
    urgent = _is_urgent.get()
    with transaction.atomic(durable=True):
        known, at = _held(list(lengths), for_update=any(lengths.values()))
        keys = [bucket.pk for bucket in known]
        free_at = max(max(bucket.next_at, bucket.closed_until or at) for bucket in known)
        if free_at > at:
            if urgent:
                CallBucket.objects.filter(pk__in=keys).update(urgent_until=at + URGENCY)
            return max(free_at - at, SHORTEST_WAIT)
        if not urgent and any(bucket.urgent_until and bucket.urgent_until > at for bucket in known):
            return URGENCY / 4
        for bucket in known:
            if length := lengths[bucket.name]:
                bucket.next_at, bucket.urgent_until = max(bucket.next_at, at - LATENESS) + length, None
                bucket.save(update_fields=["next_at", "urgent_until"])
    return NOTHING


def _length(per_second: int) -> timedelta:
    """Return how long a turn lasts; nothing where there is no limit."""
    return timedelta(seconds=1000) / (per_second * PER_MILLE_USED) if per_second else NOTHING


def _held(names: list[str], *, for_update: bool) -> tuple[list[CallBucket], datetime]:
    """Return the buckets, locked in one order for all, and the server's present moment; those that are not there yet are made."""
    lock = " FOR UPDATE" if for_update else ""
    for _ in range(2):
        held = list(
            CallBucket.objects.raw(
                "SELECT *, clock_timestamp() AS at, set_config('synchronous_commit', 'off', true)"
                f" FROM invoicing_callbucket WHERE name = ANY(%s) ORDER BY name{lock}",
                [names],
            )
        )
        if len(held) == len(names):
            return held, max(bucket.at for bucket in held)  # type: ignore[attr-defined]
        moment = server_moment()
        CallBucket.objects.bulk_create(
            [CallBucket(name=name, next_at=moment) for name in sorted(names)], ignore_conflicts=True
        )
    raise AssertionError("a bucket that was made a moment ago is there")


def _close(name: str, *, seconds: int) -> None:
    until = server_moment() + timedelta(seconds=seconds)
    with transaction.atomic(durable=True):
        bucket = CallBucket.objects.select_for_update().get(name=name)
        bucket.closed_until = max(until, bucket.closed_until or until)
        bucket.save(update_fields=["closed_until"])


def apart(work: Callable[[], Turn]) -> Turn:
    """Do it in a transaction of its own: inside of another one it would hold everybody up until that ends.

    Ours never are in one when they call; dj-stripe is, while it stores what it fetches, and has this done on another connection.
    """
    if not connection.in_atomic_block:
        return work()

    def work_and_hang_up() -> Turn:
        try:
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as other:
        return other.submit(copy_context().run, work_and_hang_up).result()
