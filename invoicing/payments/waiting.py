"""What waits for Stripe: how much of what, since when, and over how much money."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Min, QuerySet, Sum
from moneyed import Money

from billing_site.kernel.money import round_money
from invoicing.payments.charge_attempt import ChargeAttempt, ChargeStatus
from invoicing.payments.models import FAILED_STATUSES, PushIntent, PushStatus, StripeNotice
from invoicing.payments.refund import Refund, RefundStatus
from invoicing.payments.withdrawal import Withdrawal, WithdrawalStatus


@dataclass(frozen=True)
class Waiting:
    """A kind of thing that waits; `money` by currency."""

    what: str
    state: str
    count: int
    oldest: datetime | None
    money: tuple[Money, ...] = ()


def what_waits() -> list[Waiting]:
    """Return what waits to be sent or followed, and what waits for people; eight queries."""
    pushes = PushIntent.objects.values("status", code=F("invoice__currency")).annotate(
        number_of=Count("id"), oldest=Min("created_at"), amount_of=Sum("invoice__total")
    )
    # What was settled another way waits for nobody.
    rows = list(pushes.exclude(status=PushStatus.PUSHED).filter(invoice__status="issued").order_by())
    refunds = _by_currency(
        Refund.objects.filter(status=RefundStatus.PENDING, channel="stripe"), currency="currency", amount="amount"
    )
    withdrawals = _by_currency(
        Withdrawal.objects.filter(status=WithdrawalStatus.PLANNED),
        currency="intent__invoice__currency",
        amount="intent__invoice__total",
    )
    notices = StripeNotice.objects.filter(processed_at=None)
    return [
        _of("Invoices to be sent", "pending", (row for row in rows if row["status"] == PushStatus.PENDING)),
        _of("Invoices that failed", "failed", (row for row in rows if row["status"] in FAILED_STATUSES)),
        _of("Refunds to be paid", "pending", refunds),
        _of("Invoices to be withdrawn", "planned", withdrawals),
        *failed_at_stripe(),
        _of_notices("Notices to be followed", "waiting", notices.filter(parked_at=None)),
        _of_notices("Notices that are parked", "failed", notices.exclude(parked_at=None)),
    ]


def failed_at_stripe() -> list[Waiting]:
    """Return what beside invoices and notices waits for people, because Stripe could not take it for hours, or refused; three queries."""
    refunds = Refund.objects.filter(status=RefundStatus.FAILED)
    charges = ChargeAttempt.objects.filter(status=ChargeStatus.FAILED)
    withdrawals = Withdrawal.objects.filter(status=WithdrawalStatus.FAILED)
    of_invoice, of_push = (
        {"currency": f"{path}currency", "amount": f"{path}total"} for path in ("invoice__", "intent__invoice__")
    )
    return [
        _of("Refunds that failed", "failed", _by_currency(refunds, currency="currency", amount="amount")),
        _of("Charges that failed", "failed", _by_currency(charges, **of_invoice)),
        _of("Withdrawals that failed", "failed", _by_currency(withdrawals, **of_push)),
    ]


def _by_currency(planned: "QuerySet[Any]", *, currency: str, amount: str) -> Iterable[Mapping[str, Any]]:
    rows = planned.order_by().values(code=F(currency))
    return rows.annotate(number_of=Count("pk"), oldest=Min("planned_at"), amount_of=Sum(amount))


def _of(what: str, state: str, rows: Iterable[Mapping[str, Any]]) -> Waiting:
    found = list(rows)
    sums: dict[str, Money] = {}
    for row in found:
        code = row["code"]
        sums[code] = round_money(row["amount_of"], code) + sums.get(code, Money(0, code))
    oldest = min((row["oldest"] for row in found), default=None)
    return Waiting(what, state, sum(row["number_of"] for row in found), oldest, tuple(sums[c] for c in sorted(sums)))


def _of_notices(what: str, state: str, notices: Any) -> Waiting:
    row = notices.aggregate(number_of=Count("id"), oldest=Min("received_at"))
    return Waiting(what, state, row["number_of"], row["oldest"])
