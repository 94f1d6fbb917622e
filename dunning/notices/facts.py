"""What a notice tells of, read right before it is sent: the invoices as they are now, or why there is nothing to tell any more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from moneyed import Money

from billing_site.kernel.among import among
from billing_site.kernel.money import round_money, total
from billing_site.kernel.written_query import WrittenObjects
from dunning.core.notice_kinds import TOLD_WHEN_GIVEN_UP, NoticeKind, is_demanding
from invoicing.invoices.models import Invoice, InvoiceStatus, Objection

WHY_NOT = {
    InvoiceStatus.PAID.value: "paid",
    InvoiceStatus.VOID.value: "declared void",
    InvoiceStatus.WRITTEN_OFF.value: "written off",
}


@dataclass(frozen=True)
class InvoiceFacts:
    """What a mail says of one invoice: what is open of it, or, of one that is settled, what it came to."""

    number: str
    due_date: date
    amount: Money


@dataclass(frozen=True)
class Facts:
    """What a mail says; `why_not` says why there is nothing to say, and then the rest is empty.

    `instalment` is what is to be paid of the instalment that is due, `charges` interest and fees that are not invoiced yet.
    """

    invoices: tuple[InvoiceFacts, ...] = ()
    total: Money | None = None
    instalment: Money | None = None
    charges: Money | None = None
    why_not: str = ""

    def as_told(self) -> dict[str, Any]:
        """Return the figures as they are kept with the mail."""
        assert self.total is not None, "what has no figures is not told"
        return {
            "total": str(self.total.amount),
            "currency": self.total.currency.code,
            **({"instalment": str(self.instalment.amount)} if self.instalment else {}),
            **({"charges": str(self.charges.amount)} if self.charges else {}),
            "invoices": [
                {"number": one.number, "due_date": one.due_date.isoformat(), "amount": str(one.amount.amount)}
                for one in self.invoices
            ],
        }


def facts_of(*, kind: NoticeKind, invoices: Sequence[Invoice]) -> Facts:
    """Return what a notice of this kind says about these invoices, as they were read just now."""
    if not invoices:
        return Facts(why_not="there is no invoice")
    if not is_demanding(kind):
        still_open = [invoice for invoice in invoices if invoice.status == InvoiceStatus.ISSUED]
        if still_open:
            return Facts(why_not=f"{still_open[0]} is not settled: it was objected to")
        return _facts([(invoice, invoice.total) for invoice in invoices])
    objected = objected_of(invoices=invoices)
    rest = [
        (invoice, _open(invoice, kind) - objected.get(invoice.pk, Money(0, invoice.currency))) for invoice in invoices
    ]
    owed = [(invoice, amount) for invoice, amount in rest if amount.amount > 0]
    if not owed:
        return Facts(why_not="; ".join(_why_not(invoice, objected) for invoice in invoices)[:500])
    return _facts(owed)


def objected_of(*, invoices: Sequence[Invoice]) -> dict[int, Money]:
    """Return what customers object to of invoices, by number; it is not asked for until that is decided. One query."""
    open_ones = _OBJECTIONS.all(invoices=[invoice.pk for invoice in invoices])
    return {objection.invoice_id: objection.amount for objection in open_ones}


# Asked for each mail: written once.
_OBJECTIONS = WrittenObjects(
    lambda invoices: Objection.objects.filter(among("invoice", invoices), ended_at=None), invoices=list
)


def _facts(told: Sequence[tuple[Invoice, Money]]) -> Facts:
    rows = []
    for invoice, amount in told:
        assert invoice.number and invoice.due_date, "only issued invoices are told of"
        rows.append(InvoiceFacts(invoice.number, invoice.due_date, round_money(amount.amount, invoice.currency)))
    rows.sort(key=lambda row: (row.due_date, row.number))
    return Facts(invoices=tuple(rows), total=total((row.amount for row in rows), told[0][0].currency))


def _open(invoice: Invoice, kind: NoticeKind) -> Money:
    if invoice.status == InvoiceStatus.DRAFT:
        return Money(0, invoice.currency)
    return invoice.amount_unpaid if kind in TOLD_WHEN_GIVEN_UP else invoice.amount_due


def _why_not(invoice: Invoice, objected: Mapping[int, Money]) -> str:
    if invoice.pk in objected and invoice.status == InvoiceStatus.ISSUED:
        return f"what is open of {invoice} was objected to before it was sent"
    became = WHY_NOT.get(invoice.status, "settled")
    if invoice.status == InvoiceStatus.PAID and not invoice.amount_paid.amount:
        became = "credited"
    return f"{invoice} was {became} before it was sent"
