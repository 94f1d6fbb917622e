"""Stop calling Stripe when it fails again and again, or when somebody says so, and begin again when it answers (S2-030, S2-031).

All processes share what they saw: failures in a row stand in a row of each streak, an outage in another. Calls that change something have a streak of
their own, which no answer to a question ends: Stripe may fail in writing alone. While an outage lasts, every call
raises RailClosed before anything is sent; only a probe goes out, one at a time, after gaps that grow: a question and a write. When both are answered the
outage ends, and what has waited is queued in its order. What somebody stopped by hand stays stopped until somebody ends it.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta

from django.conf import settings
from django.db import DatabaseError, connection, transaction

from billing_site.kernel.clock import server_moment
from billing_site.kernel.errors import Conflict
from billing_site.kernel.jobs import queue, queue_later
from billing_site.kernel.written_query import WrittenObjects
from invoicing.payments.charge_attempt import ChargeAttempt, ChargeStatus
from invoicing.payments.models import PushIntent, PushStatus, StripeNotice
from invoicing.payments.outage import FailureStreak, Outage
from invoicing.payments.pace import apart
from invoicing.payments.refund import Refund, RefundStatus
from invoicing.payments.remote import RailClosed
from invoicing.payments.withdrawal import Withdrawal, WithdrawalStatus

logger = logging.getLogger(__name__)

STRIPE = "stripe"
# The streaks: of all calls, and of those that change something.
CALLS = "stripe"
WRITES = "stripe writes"
STREAKS = (CALLS, WRITES)
BREAKER = "breaker"
ALERT_JOB = "invoicing.tasks.alert_of_outage"
PROBE_JOB = "invoicing.tasks.probe_stripe"
SWEEP_JOB = "invoicing.tasks.sweep_payments"
PROBE_GAPS = tuple(timedelta(seconds=seconds) for seconds in (15, 30, 60, 120, 300))
# An outage that begins so soon after another is the same one for the gaps of its probes: they go on growing.
RELAPSE = timedelta(minutes=15)
# A job that meets an outage comes again after this; what is swept is swept when the outage is over.
RETRY_SECONDS = 300
CAUSE_MAX = 500

_is_probe: ContextVar[bool] = ContextVar("_is_probe", default=False)


def outage_now() -> Outage | None:
    """Return the outage that lasts at this moment, if there is one; one query."""
    return _OUTAGE.first()


# Asked before each call of Stripe: written once.
_OUTAGE = WrittenObjects(lambda: Outage.objects.filter(name=STRIPE, closed_at=None).order_by("pk")[:1])


def refuse_while_closed() -> Sequence[str]:
    """Return the streaks of failures that last until now; raises RailClosed while an outage lasts, unless this is the probe."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT ARRAY(SELECT name FROM invoicing_failurestreak WHERE name = ANY(%s) AND length > 0),"
            " (SELECT cause FROM invoicing_outage WHERE name = %s AND closed_at IS NULL)",
            [list(STREAKS), STRIPE],
        )
        streaks, cause = cursor.fetchone()
    if cause is not None and not _is_probe.get():
        raise RailClosed(f"Stripe is not called for now: {cause}", retry_after_seconds=RETRY_SECONDS)
    return list(streaks)


@contextmanager
def probing() -> Iterator[None]:
    """Let the calls of this block go out although an outage lasts."""
    token = _is_probe.set(True)
    try:
        yield
    finally:
        _is_probe.reset(token)


def note_answer(*, streaks: Sequence[str], is_write: bool) -> None:
    """End the streaks of failures that there were and that an answer ends: to a question it says nothing of writes."""
    ended = [name for name in streaks if is_write or name != WRITES]
    if ended:
        apart(lambda: _end_streaks(ended))


def note_failure(*, cause: str, is_write: bool) -> None:
    """Count a call that Stripe could not answer; enough of them in a row, and soon enough, begin an outage."""
    if settings.STRIPE_OUTAGE_AFTER_FAILURES:
        try:
            apart(lambda: _count_failure(cause, STREAKS if is_write else (CALLS,)))
        except DatabaseError:
            # What the call raised is what its caller has to hear.
            logger.exception("a failure was not counted: %s", cause)


@transaction.atomic
def open_by_hand(*, at: datetime, actor: str, reason: str) -> Outage:
    """Stop all calls to Stripe until somebody ends that; raises Conflict where they are stopped by hand already.

    An outage that the breaker began becomes one by hand: that one ends, and this begins.
    """
    assert actor and reason, "who stopped the calls, and why, is told everywhere"
    _lock_streaks(STREAKS)
    present = _lock_outage()
    if present is not None and present.is_by_hand:
        raise Conflict(f"the calls are stopped already, by {present.opened_by}: {present.cause}", field="outage")
    if present is not None:
        _end(present, at=at, actor=actor, reason=f"goes on by hand: {reason}", is_told=False)
    return _begin(at=at, actor=actor, cause=reason, is_by_hand=True)


@transaction.atomic
def close_outage(*, at: datetime, actor: str, reason: str) -> Outage:
    """End an outage and queue what has waited, in its order; raises Conflict where there is none."""
    assert actor and reason, "who began again, and why, is kept"
    _lock_streaks(STREAKS)
    present = _lock_outage()
    if present is None:
        raise Conflict("Stripe is called: there is no outage to end", field="outage")
    _end(present, at=at, actor=actor, reason=reason)
    _wake(at=at)
    return present


@transaction.atomic
def close_probed(*, outage: Outage, at: datetime, reason: str) -> bool:
    """End the outage that was probed, if it lasts still; one that somebody began by hand meanwhile goes on. Returns whether it was ended."""
    _lock_streaks(STREAKS)
    present = _lock_outage()
    if present is None or present.pk != outage.pk:
        return False
    _end(present, at=at, actor=BREAKER, reason=reason)
    _wake(at=at)
    return True


@transaction.atomic
def probe_soon(*, at: datetime) -> None:
    """Let the worker probe now, before it is time; raises Conflict where nothing is to be probed."""
    present = _lock_outage()
    if present is None or present.is_by_hand:
        raise Conflict("there is nothing to probe: Stripe is called, or somebody has stopped the calls", field="outage")
    present.probe_at = at
    present.save(update_fields=["probe_at"])
    queue(PROBE_JOB)


@transaction.atomic
def claim_probe(*, at: datetime) -> Outage | None:
    """Return the outage if it is time for a probe and nobody else makes it; the next one is planned with a longer gap."""
    present = _lock_outage()
    if present is None or present.probe_at is None or present.probe_at > at:
        return None
    present.probe_count += 1
    present.probe_at = at + _gap_after(present.probe_count)
    present.save(update_fields=["probe_count", "probe_at"])
    queue_later(PROBE_JOB, due_at=present.probe_at)
    return present


def note_probe(*, outage: Outage, error: str) -> None:
    """Keep why a probe did not succeed."""
    Outage.objects.filter(pk=outage.pk, closed_at=None).update(last_probe_error=error[:CAUSE_MAX])


def _count_failure(cause: str, names: Sequence[str]) -> None:
    at = server_moment()
    with transaction.atomic(durable=True):
        rows = [FailureStreak(name=name, began_at=at) for name in names]
        FailureStreak.objects.bulk_create(rows, ignore_conflicts=True)
        for streak in _lock_streaks(names):
            window = timedelta(seconds=settings.STRIPE_OUTAGE_WINDOW_SECONDS)
            if not streak.length or at - streak.began_at > window:
                streak.length, streak.began_at = 0, at
            streak.length += 1
            streak.save(update_fields=["length", "began_at"])
            if streak.length >= settings.STRIPE_OUTAGE_AFTER_FAILURES and _lock_outage() is None:
                kind = "calls that change something" if streak.name == WRITES else "calls"
                told = f"{streak.length} {kind} in a row failed, the last one so: {cause}"
                _begin(at=at, actor=BREAKER, cause=told, is_by_hand=False)


def _end_streaks(names: Sequence[str]) -> None:
    with transaction.atomic(durable=True):
        held = [streak.pk for streak in _lock_streaks(names) if streak.length]
        FailureStreak.objects.filter(pk__in=held).update(length=0)


def _lock_streaks(names: Sequence[str]) -> Sequence[FailureStreak]:
    """Lock streaks by their names, always before the outage: whoever counts a failure and whoever ends an outage would else wait for each other."""
    return list(FailureStreak.objects.select_for_update().filter(name__in=names).order_by("name"))


def _lock_outage() -> Outage | None:
    return Outage.objects.select_for_update().filter(name=STRIPE, closed_at=None).first()


def _begin(*, at: datetime, actor: str, cause: str, is_by_hand: bool) -> Outage:
    logger.error("Stripe is not called any more (%s): %s", actor, cause)
    probes = 0 if is_by_hand else _probes_of_relapse(at=at)
    outage = Outage.objects.create(
        name=STRIPE,
        opened_at=at,
        opened_by=actor,
        cause=cause[:CAUSE_MAX],
        is_by_hand=is_by_hand,
        probe_count=probes,
        probe_at=None if is_by_hand else at + _gap_after(probes),
    )
    queue(ALERT_JOB, outage.pk, False)
    if outage.probe_at is not None:
        queue_later(PROBE_JOB, due_at=outage.probe_at)
    return outage


def _gap_after(probe_count: int) -> timedelta:
    return PROBE_GAPS[min(probe_count, len(PROBE_GAPS) - 1)]


def _probes_of_relapse(*, at: datetime) -> int:
    """Return how many probes the outage before took, where it has only just ended by one: an answer to them was not worth much."""
    before = Outage.objects.filter(name=STRIPE, closed_by=BREAKER, closed_at__gt=at - RELAPSE).order_by("-id").first()
    return before.probe_count if before else 0


def _end(outage: Outage, *, at: datetime, actor: str, reason: str, is_told: bool = True) -> None:
    logger.warning("Stripe is called again (%s): %s", actor, reason)
    outage.closed_at, outage.closed_by, outage.closed_reason = max(at, outage.opened_at), actor, reason
    outage.save(update_fields=["closed_at", "closed_by", "closed_reason"])
    FailureStreak.objects.filter(name__in=STREAKS).update(length=0)
    if is_told:
        queue(ALERT_JOB, outage.pk, True)


def _wake(*, at: datetime) -> None:
    """Let everything have its turn at once that has waited, or was put off before the outage was known; the sweep keeps the order."""
    PushIntent.objects.filter(status=PushStatus.PENDING, next_attempt_at__gt=at).update(next_attempt_at=at)
    Refund.objects.filter(status=RefundStatus.PENDING, channel="stripe", next_attempt_at__gt=at).update(
        next_attempt_at=at
    )
    ChargeAttempt.objects.filter(status=ChargeStatus.PLANNED, next_attempt_at__gt=at).update(next_attempt_at=at)
    Withdrawal.objects.filter(status=WithdrawalStatus.PLANNED, next_attempt_at__gt=at).update(next_attempt_at=at)
    StripeNotice.objects.filter(processed_at=None, parked_at=None, next_attempt_at__gt=at).update(next_attempt_at=at)
    queue(SWEEP_JOB)
