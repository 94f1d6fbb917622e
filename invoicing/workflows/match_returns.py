"""Money that went out again: which payments a line of a bank statement may return, each with its reasons; a person says which."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Count, Q, QuerySet
from moneyed import Money

from billing_site.kernel.money import total
from invoicing.bank.models import AllocationKind, BankLine
from invoicing.bank.queries import allocations_in_force
from invoicing.core.bank_matching import EXACT, MISREAD, NAMED, PAID_BEFORE, POINTS_MAX, SAME_NAME, numbers_named
from invoicing.customers.models import SettlementChannel
from invoicing.invoices.models import InvoiceSeries, InvoiceStatus
from invoicing.payments.models import Payment

RETURNED_MAX = 8
# So many payments of an amount are looked at, the newest first.
LOOKED_AT_MAX = 60
# A bank may date the return before what it returns; a direct debit that nobody allowed is returned for thirteen months.
BEFORE, AFTER = timedelta(days=400), timedelta(days=1)


@dataclass(frozen=True)
class Returned:
    """Payments that came together, or one: their money may have gone out by a line."""

    payments: tuple[Payment, ...]
    points: int
    reasons: tuple[str, ...]


def returned_by(*, line: BankLine, left: Money) -> tuple[Returned, ...]:
    """Return which payments what is left of a line may take back, the likeliest first: of exactly its amount, and not taken back already."""
    if left.amount >= 0:
        return ()
    texts = tuple(filter(None, (line.text, line.structured_reference, line.end_to_end_id)))
    prefixes = list(InvoiceSeries.objects.order_by("id").values_list("prefix", flat=True))
    named = numbers_named(texts=texts, prefixes=prefixes)
    groups = [*_alone(line, left * -1), *_together(line, left * -1)]
    found = [_with_reasons(line, group, named) for group in groups]
    found.sort(key=lambda one: (-one.points, -one.payments[0].pk))
    return tuple(found[:RETURNED_MAX])


def _standing(line: BankLine) -> QuerySet[Payment]:
    rows = Payment.objects.filter(
        channel=SettlementChannel.MANUAL,
        currency=line.currency,
        reversal__isnull=True,
        invoice__status__in=[InvoiceStatus.ISSUED, InvoiceStatus.PAID],
        received_at__gte=line.booked_at - BEFORE,
        received_at__lte=line.booked_at + AFTER,
    )
    return rows.select_related("invoice", "bank_allocation__line", "account_use__allocation__line")


def _alone(line: BankLine, amount: Money) -> Iterable[tuple[Payment, ...]]:
    rows = _standing(line).filter(amount=amount.amount).order_by("-received_at", "-id")
    return ((payment,) for payment in rows[:LOOKED_AT_MAX])


def _together(line: BankLine, amount: Money) -> Iterable[tuple[Payment, ...]]:
    """Yield the payments of each line of that amount that was nothing but several payments."""
    parts = allocations_in_force().filter(line__currency=line.currency, line__amount=amount.amount)
    parts = parts.filter(line__booked_at__gte=line.booked_at - BEFORE, line__booked_at__lte=line.booked_at + AFTER)
    counts = parts.order_by().values("line").annotate(of_it=Count("id"))
    of_payments = counts.annotate(paid=Count("id", filter=Q(kind=AllocationKind.PAYMENT)))
    several = [row["line"] for row in of_payments if row["of_it"] == row["paid"] > 1][:LOOKED_AT_MAX]
    groups: dict[int, list[Payment]] = {}
    for payment in _standing(line).filter(bank_allocation__line__in=several).order_by("id"):
        groups.setdefault(payment.bank_allocation.line_id, []).append(payment)
    for group in groups.values():
        if total((one.amount for one in group), line.currency) == amount:
            yield tuple(group)


def _with_reasons(line: BankLine, payments: Sequence[Payment], named: dict[str, bool]) -> Returned:
    points, reasons = EXACT, ["exactly what was paid"]
    if len(payments) > 1:
        reasons = [f"exactly what one line paid for {len(payments)} invoices"]
    for number in sorted({str(one.invoice.number) for one in payments} & set(named)):
        points += NAMED if named[number] else MISREAD
        reasons.append(f"it names {number}")
    came_by = _line_of(payments[0])
    if came_by is not None:
        same = {getattr(line, name) for name in ("bank_reference", "end_to_end_id")} - {""}
        if same & {came_by.bank_reference, came_by.end_to_end_id}:
            points += NAMED
            reasons.append("it has the reference of the line by which the money came")
        if line.iban and line.iban == came_by.iban:
            points += PAID_BEFORE
            reasons.append("it goes to the account from which the money came")
    names = {payments[0].invoice.customer_name.casefold(), came_by.name.casefold() if came_by else ""} - {""}
    if line.name.casefold() in names:
        points += SAME_NAME
        reasons.append(f"the other party is called {line.name}")
    if line.is_reversal:
        points += PAID_BEFORE
        reasons.append("the bank calls it a reversal")
    return Returned(tuple(payments), min(points, POINTS_MAX), tuple(reasons))


def _line_of(payment: Payment) -> BankLine | None:
    """Return the line by which the money of a payment came; None where it was recorded by hand."""
    if hasattr(payment, "bank_allocation"):
        return payment.bank_allocation.line
    return payment.account_use.allocation.line if hasattr(payment, "account_use") else None
