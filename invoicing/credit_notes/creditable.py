"""What can still be credited of an issued invoice: of each line what it asks for, less what credit notes took of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import Sum
from moneyed import Money

from billing_site.kernel.money import EXACT, round_money, total
from invoicing.core.adjustments.credits import CreditKind
from invoicing.core.assembly import as_credit_sees_it
from invoicing.core.contract import AdjustmentKind, BaseLine
from invoicing.core.crediting import NetLine, OwedLine, net_lines
from invoicing.core.proof import adjusted_again
from invoicing.credit_notes.models import CreditNote, CreditNoteLine
from invoicing.invoices.adjustments import INVOICED_BEFORE
from invoicing.invoices.models import Invoice, InvoiceLine, LineKind

NOTHING = Decimal(0)
# Lines about money that is paid before it is earned: what is left of it is told by later invoices.
COMMITTED = (AdjustmentKind.COMMITMENT_BASE, AdjustmentKind.COMMITMENT_DRAWDOWN, AdjustmentKind.COMMITMENT_EXPIRY)
COUNTED = (LineKind.CHARGE, LineKind.ONE_OFF)


@dataclass(frozen=True)
class CreditableLine:
    """A line of an issued invoice: what it asks for (`net`), what was credited of it, and, where none may be, why."""

    line: InvoiceLine
    asked: NetLine
    credited: Money
    credited_tax: Money
    credited_added: Money
    credited_quantity: Decimal
    refusal: str = ""

    @property
    def net(self) -> Money:
        """What it asks for, without the tax that comes on top."""
        return self.asked.amount

    @property
    def left(self) -> Money:
        """What can still be credited, if it may be."""
        return self.net - self.credited

    @property
    def quantity_left(self) -> Decimal:
        """How much of its quantity can still be credited; nothing where it is an amount alone."""
        if self.line.kind not in COUNTED:
            return NOTHING
        return EXACT.subtract(self.line.quantity, self.credited_quantity)


@dataclass(frozen=True)
class CreditableInvoice:
    """An issued invoice: its lines as far as they ask for something, and what notes can give back of it, and how."""

    invoice: Invoice
    lines: Sequence[CreditableLine]
    credited: Money
    paid_by_credit: Money
    returned: Money
    refunded: Money

    @property
    def left(self) -> Money:
        """What can still be credited of the invoice; what prepaid credit paid of it counts."""
        return self.invoice.total + self.paid_by_credit - self.credited

    @property
    def open(self) -> Money:
        """What is unpaid, and so taken off first: also what was given up."""
        return self.invoice.amount_unpaid

    @property
    def refundable(self) -> Money:
        """What was paid in money and is not promised back; nothing where a payment was taken back after that."""
        return max(
            min(
                self.invoice.amount_paid - self.refunded, self.invoice.amount_paid + self.paid_by_credit - self.returned
            ),
            Money(0, self.invoice.currency),
        )


def creditable_of(*, invoice: Invoice) -> CreditableInvoice:
    """Return what can be credited of an issued invoice, as notes stand now; its row should be locked by whoever writes one."""
    rows = list(
        invoice.lines.select_related("credit_grant", "subscription")
        .prefetch_related("corrections", "taxes")
        .order_by("position")
    )
    net = net_of_lines(lines=rows, currency=invoice.currency)
    noted = CreditNoteLine.objects.filter(note__invoice=invoice).values("line")
    sums_noted = noted.annotate(
        amount=Sum("amount"), quantity=Sum("quantity"), tax=Sum("tax_amount"), added=Sum("tax_added")
    )
    taken = {row["line"]: row for row in sums_noted}
    lines = []
    for row in rows:
        if row.pk not in net or not net[row.pk].amount.amount:
            continue
        known: Mapping[str, Any] = taken.get(row.pk, {})
        amount, tax, added = (
            round_money(known.get(name) or NOTHING, invoice.currency) for name in ("amount", "tax", "added")
        )
        quantity = known.get("quantity") or NOTHING
        lines.append(CreditableLine(row, net[row.pk], amount, tax, added, quantity, refusal=_refusal(row)))
    sums = CreditNote.objects.filter(invoice=invoice).aggregate(
        total=Sum("total"), balance=Sum("balance_amount"), refund=Sum("refund_amount")
    )
    credited, balance, refund = (
        round_money(sums[name] or NOTHING, invoice.currency) for name in ("total", "balance", "refund")
    )
    return CreditableInvoice(
        invoice=invoice,
        lines=lines,
        credited=credited,
        paid_by_credit=total((line.amount * -1 for line in rows if is_payment(line=line)), invoice.currency),
        returned=balance + refund,
        refunded=refund,
    )


def net_of_lines(*, lines: Iterable[InvoiceLine], currency: str) -> Mapping[int, NetLine]:
    """Return what the lines of an invoice ask for after everything that reduces them, by primary key; nothing for what is a payment.

    Their taxes should be at hand.
    """
    rows = sorted(lines, key=lambda line: line.position)
    by_reference = {row.rated["inputs"]["reference"]: row.pk for row in rows}
    assert len(by_reference) == len(rows), "a reference names one line of an invoice"
    owed = [
        OwedLine(
            reference=row.rated["inputs"]["reference"],
            amount=round_money(row.amount.amount, currency),
            parts=_parts(row, currency),
            is_payment=is_payment(line=row),
            tax=total((round_money(tax.amount.amount, currency) for tax in row.taxes.all()), currency),
            added=total(
                (round_money(tax.amount.amount, currency) for tax in row.taxes.all() if not tax.inclusive), currency
            ),
        )
        for row in rows
    ]
    return {by_reference[reference]: amount for reference, amount in net_lines(lines=owed, currency=currency).items()}


def is_payment(*, line: InvoiceLine) -> bool:
    """Say whether a line pays with prepaid credit: it was money before, where promotional credit is a discount."""
    return line.credit_grant is not None and line.credit_grant.kind == CreditKind.PREPAID


def _parts(row: InvoiceLine, currency: str) -> tuple[BaseLine, ...]:
    if row.adjustment in INVOICED_BEFORE:
        return as_credit_sees_it(line=adjusted_again(inputs=row.rated["inputs"])).parts
    return tuple(
        BaseLine(part["reference"], round_money(Decimal(part["amount"]["amount"]), currency))
        for part in row.rated.get("parts", ())
    )


def _refusal(row: InvoiceLine) -> str:
    if row.kind == LineKind.TOP_UP:
        return "sells prepaid credit: unpaid it is declared void, paid it is drawn by later invoices"
    if row.adjustment in COMMITTED:
        return "is about a commitment that is paid in advance: later invoices draw what is left of it"
    return ""
