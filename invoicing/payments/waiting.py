"""What waits for Stripe: how much of what, since when, and over how much money."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Min, Sum
from moneyed import Money

from billing_site.kernel.money import round_money
from invoicing.payments.models import FAILED_STATUSES, PushIntent, PushStatus, StripeNotice
from invoicing.payments.refund import Refund, RefundStatus


@dataclass(frozen=True)
class Waiting:
    """A kind of thing that waits; `money` by currency."""

    what: str
    state: str
    count: int
    oldest: datetime | None
    money: tuple[Money, ...] = ()


def what_waits() -> list[Waiting]:
    """Return what waits to be sent or followed, and what waits for people; four queries."""
    pushes = PushIntent.objects.values("status", currency=F("invoice__currency")).annotate(
        number_of=Count("id"), oldest=Min("created_at"), amount=Sum("invoice__total")
    )
    # What was settled another way waits for nobody.
    rows = list(pushes.exclude(status=PushStatus.PUSHED).filter(invoice__status="issued").order_by())
    refunds = (
        Refund.objects.filter(status=RefundStatus.PENDING, channel="stripe")
        .values("currency")
        .annotate(number_of=Count("id"), oldest=Min("planned_at"), amount=Sum("amount"))
    )
    notices = StripeNotice.objects.filter(processed_at=None)
    return [
        _of("Invoices to be sent", "pending", (row for row in rows if row["status"] == PushStatus.PENDING)),
        _of("Invoices that failed", "failed", (row for row in rows if row["status"] in FAILED_STATUSES)),
        _of("Refunds to be paid", "pending", refunds.order_by()),
        _of_notices("Notices to be followed", "waiting", notices.filter(parked_at=None)),
        _of_notices("Notices that are parked", "failed", notices.exclude(parked_at=None)),
    ]


def _of(what: str, state: str, rows: Iterable[Mapping[str, Any]]) -> Waiting:
    found = list(rows)
    sums: dict[str, Money] = {}
    for row in found:
        code = row["currency"]
        sums[code] = round_money(row["amount"], code) + sums.get(code, Money(0, code))
    oldest = min((row["oldest"] for row in found), default=None)
    return Waiting(what, state, sum(row["number_of"] for row in found), oldest, tuple(sums[c] for c in sorted(sums)))


def _of_notices(what: str, state: str, notices: Any) -> Waiting:
    row = notices.aggregate(number_of=Count("id"), oldest=Min("received_at"))
    return Waiting(what, state, row["number_of"], row["oldest"])
