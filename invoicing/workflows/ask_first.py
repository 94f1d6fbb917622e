"""Deeds over money that take two people from a limit on: done at once below it, asked for above it, and done as they were shown once another approves."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from moneyed import Money

from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import Conflict
from billing_site.kernel.money import plain, round_money, wire
from billing_site.kernel.words import counted
from invoicing.approvals.models import Approval, ApprovedDeed
from invoicing.approvals.operations import NeedsApproval, request_approval
from invoicing.approvals.queries import limit_of, open_approvals
from invoicing.credit_notes.models import CreditNote
from invoicing.credit_notes.operations import AssembledCredit, AssembledLine, CreditAsked, asked_digest
from invoicing.credit_notes.queries import credited_alone
from invoicing.invoices.models import Invoice
from invoicing.invoices.operations import locked_invoice
from invoicing.invoices.printed_text import money_text, quantity_text
from invoicing.workflows.credit_invoice import credit_invoice, preview_credit
from invoicing.workflows.write_off_invoice import write_off_invoice
from invoicing.write_offs.models import WriteOff


@transaction.atomic
def credit_or_ask(
    *,
    invoice_id: int,
    key: str,
    asked: Sequence[CreditAsked] = (),
    disposition: str,
    at: datetime,
    actor: str,
    reason: str,
    digest: str = "",
) -> CreditNote | Approval:
    """Credit an invoice, or, from the limit of its currency on, ask for a second person; raises what `credit_invoice` raises.

    What one person has credited of the invoice before counts towards the limit. A request for another credit of the same invoice takes the place
    of one that is open.
    """
    terms: dict[str, Any] = {"key": key, "asked": asked, "disposition": disposition}
    # Locked before: what is refused gives back only the locks that it took itself, so that what is asked for is what was refused.
    invoice = locked_invoice(invoice_id=invoice_id)
    try:
        return credit_invoice(invoice_id=invoice_id, **terms, at=at, actor=actor, reason=reason, digest=digest)
    except NeedsApproval:
        shown = preview_credit(invoice=invoice, asked=asked, disposition=disposition, at=at)
    return request_approval(
        deed=ApprovedDeed.CREDIT_NOTE,
        subject=subject_of_invoice(invoice=invoice),
        digest=shown.digest,
        summary=f"{money_text(money=shown.total)} of invoice {invoice.number} for {invoice.customer_name[:150]}",
        at=at,
        actor=actor,
        reason=reason,
        asked={
            "key": key,
            "disposition": disposition,
            "lines": [_line_document(one) for one in asked],
            "asked_digest": asked_digest(invoice=invoice, asked=asked, disposition=disposition),
            "total": plain(shown.total.amount),
            "figures": _figures_of_credit(shown),
        },
    )


@transaction.atomic
def write_off_or_ask(*, invoice_id: int, at: datetime, actor: str, reason: str) -> WriteOff | Approval:
    """Write an invoice off, or, from the limit of its currency on, ask for a second person; raises what `write_off_invoice` raises."""
    # Locked before, as for a credit note.
    invoice = locked_invoice(invoice_id=invoice_id)
    try:
        return write_off_invoice(invoice_id=invoice_id, at=at, actor=actor, reason=reason)
    except NeedsApproval:
        tax = [["Tax in it", money_text(money=invoice.tax_amount)]] if invoice.tax_amount else []
    return request_approval(
        deed=ApprovedDeed.WRITE_OFF,
        subject=subject_of_invoice(invoice=invoice),
        digest=_digest_of_write_off(invoice),
        summary=f"{money_text(money=invoice.amount_due)} of invoice {invoice.number} for {invoice.customer_name[:150]}",
        at=at,
        actor=actor,
        reason=reason,
        asked={
            "amount": plain(invoice.amount_due.amount),
            "figures": [
                ["Invoice", f"{invoice.number}, due {invoice.due_date}"],
                *tax,
                ["Total", money_text(money=invoice.total)],
                ["Paid or credited", money_text(money=invoice.amount_paid + invoice.amount_credited)],
                ["Open, and given up", money_text(money=invoice.amount_due)],
            ],
        },
    )


def subject_of_invoice(*, invoice: Invoice) -> str:
    """Return what an approval calls an invoice."""
    return f"invoice {invoice.pk}"


def asked_amount(approval: Approval, *, currency: str) -> Money:
    """Return over how much of an invoice of this currency a credit note or write-off is asked for."""
    return round_money(Decimal(approval.asked.get("total") or approval.asked["amount"]), currency)


def asked_of_invoice(*, invoice: Invoice) -> list[tuple[Approval, Money]]:
    """Return the credit note and the write-off of an invoice that wait for a second person, each with its amount."""
    waiting = open_approvals().filter(subject=subject_of_invoice(invoice=invoice))
    return [(approval, asked_amount(approval, currency=invoice.currency)) for approval in waiting]


def takes_second_person(*, invoice: Invoice, deed: ApprovedDeed, amount: Money) -> Money | None:
    """Return the limit from which on a credit note or write-off takes two people, where one over this amount reaches it; None: one is enough."""
    limit = limit_of(deed=deed, currency=invoice.currency)
    alone = credited_alone(invoice=invoice) if deed == ApprovedDeed.CREDIT_NOTE else None
    reached = amount if alone is None else amount + alone
    return None if limit is None or reached.amount < limit else round_money(limit, invoice.currency)


def lock_invoice_of(approval: Approval) -> None:
    """Lock the invoice that an approval is about, its customer first."""
    locked_invoice(invoice_id=_invoice_of(approval))


def credit_as_approved(approval: Approval) -> None:
    """Issue the credit note that was approved, for whoever asked for it; raises Conflict where it would be another one."""
    assert approval.decided_at is not None, "it is approved"
    invoice = Invoice.objects.get(pk=_invoice_of(approval))
    credit_invoice(
        invoice_id=invoice.pk,
        key=approval.asked["key"],
        asked=[_line_asked(line, invoice.currency) for line in approval.asked["lines"]],
        disposition=approval.asked["disposition"],
        at=approval.decided_at,
        actor=approval.requested_by,
        reason=approval.reason,
        digest=approval.digest,
        approval=approval,
    )


def write_off_as_approved(approval: Approval) -> None:
    """Write the invoice off as it was approved, for whoever asked for it; raises Conflict where something else is open of it."""
    assert approval.decided_at is not None, "it is approved"
    invoice = locked_invoice(invoice_id=_invoice_of(approval))
    if _digest_of_write_off(invoice) != approval.digest:
        raise Conflict("something else is open of it by now: ask again", code="outdated")
    write_off_invoice(
        invoice_id=invoice.pk,
        at=approval.decided_at,
        actor=approval.requested_by,
        reason=approval.reason,
        approval=approval,
    )


def _invoice_of(approval: Approval) -> int:
    return int(approval.subject.removeprefix("invoice "))


def _digest_of_write_off(invoice: Invoice) -> str:
    return digest_of({"invoice": invoice.number, "status": invoice.status, "write_off": wire(invoice.amount_due)})


def _line_document(one: CreditAsked) -> dict[str, Any]:
    return {
        "position": one.position,
        "quantity": None if one.quantity is None else plain(one.quantity),
        "amount": None if one.amount is None else plain(one.amount.amount),
    }


def _line_asked(line: dict[str, Any], currency: str) -> CreditAsked:
    return CreditAsked(
        line["position"],
        quantity=None if line["quantity"] is None else Decimal(line["quantity"]),
        amount=None if line["amount"] is None else Money(line["amount"], currency),
    )


def _figures_of_credit(shown: AssembledCredit) -> list[list[str]]:
    """Return what the second person sees: each line, tax, the total, and what becomes of it."""
    parts = (
        ("Tax in it", shown.tax_amount),
        ("Credited", shown.total),
        ("Off what is open", shown.offset),
        ("Kept as credit", shown.balance),
        ("Paid back", shown.refund),
    )
    lines = [[_line_words(one), money_text(money=one.amount)] for one in shown.lines]
    return [*lines, *([words, money_text(money=amount)] for words, amount in parts if amount.amount)]


def _line_words(one: AssembledLine) -> str:
    """Say which line, and how much of it where it is counted: Line 1: Workshop, 10 hours."""
    words = f"Line {one.line.position}: {one.line.description}"
    if not one.quantity:
        return words
    number, unit = quantity_text(quantity=one.quantity), one.line.unit
    return f"{words}, {number} {counted(unit, one.quantity)}" if unit else f"{words}, {number}"
