"""Change a draft by hand, with a reason: what a line comes to, or a line of its own; the draft is computed again with it, and held until another looks at it."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial

from django.db import transaction
from django.db.models import QuerySet
from moneyed import Money

from billing_site.kernel.errors import Conflict, FieldError, InvalidFields, NotFound
from billing_site.kernel.money import is_rounded, round_money
from billing_site.kernel.period import Period, as_utc
from billing_site.kernel.reasons import reason_mistake
from billing_site.kernel.text import is_storable
from invoicing.core.numbers import Mistake, read_number
from invoicing.customers.operations import lock_customer
from invoicing.draft_edits.models import LineEdit
from invoicing.draft_edits.queries import changeable, edits_of, period_of
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceStatus
from invoicing.invoices.operations import locked_invoice
from invoicing.invoices.queries import OWED
from invoicing.workflows.compute_invoice import compute_invoice
from invoicing.workflows.hash_events import hashing_ahead
from invoicing.workflows.issue_invoice import refresh_from_windows, refuse_signed
from metering.rollup import roll_up

DESCRIPTION_MAX = 200


@dataclass(frozen=True)
class ChangeableLine:
    """A line of a draft that may be changed: its words, and what is left of it after discounts and commitments."""

    reference: str
    description: str
    amount: Money


def changeable_lines(*, invoice: Invoice) -> list[ChangeableLine]:
    """Return the lines of the draft of a period that may be changed by hand, and are not, as they would be today."""
    period = Period(as_utc(invoice.period_start), as_utc(invoice.period_end))
    computed = compute_invoice(customer=invoice.customer, period=period, until=period.end)
    changed = {edit.line for edit in _edits(invoice).filter(ended_at=None)}
    open_to = {line.reference for line in changeable(snapshot=computed.contract.snapshot)} - changed
    left = {line.reference: line.amount for line in computed.assembled.bill_lines}
    for line in computed.assembled.adjustments:
        for part in line.parts:
            left[part.reference] -= part.amount
    return [
        ChangeableLine(line.reference, line.description, left[line.reference])
        for line in computed.assembled.bill_lines
        if line.reference in open_to
    ]


def edit_draft(
    *, invoice_id: int, line: str, description: str, amount: Decimal, at: datetime, actor: str, reason: str
) -> LineEdit:
    """Change the draft of a period: the line with this reference comes to `amount`, or, where it is "", a line over `amount` is added (below zero: taken off).

    The customer reads `description` on the invoice; the charge stands beside it as it was rated. The draft is computed again at once, and the gate
    holds it. Raises InvalidFields; Conflict where it is no draft of a period any more, is part of a signed run (code `signed`), or the line is changed already
    (code `changed_already`); NotFound where the draft has no such line to be changed.
    """
    roll_up()
    make = partial(_made, invoice_id, line, description, amount, at=at, actor=actor, reason=reason)
    return hashing_ahead(make, at=at)


def take_edit_back(*, edit_id: int, at: datetime, actor: str, reason: str) -> LineEdit:
    """Take a change back: the draft is computed again without it. A second time changes nothing; raises what `edit_draft` raises."""
    roll_up()
    return hashing_ahead(partial(_taken_back, edit_id, at=at, actor=actor, reason=reason), at=at)


@transaction.atomic
def _made(
    invoice_id: int, line: str, description: str, amount: Decimal, *, at: datetime, actor: str, reason: str
) -> LineEdit:
    invoice = _locked_draft(invoice_id)
    if mistakes := _mistakes(invoice, line, description, amount, reason):
        raise InvalidFields(tuple(mistakes))
    if line and _edits(invoice).filter(line=line, ended_at=None).exists():
        message = "this line is changed already: take that back first, then change it again"
        raise Conflict(message, field="line", code="changed_already")
    named = {one.reference: one.description for one in changeable_lines(invoice=invoice)} if line else {"": ""}
    if line not in named:
        raise NotFound(f"the draft has no line {line} that may be changed: look at it again", field="line")
    edit = LineEdit.objects.create(
        customer=invoice.customer,
        period_start=invoice.period_start,
        period_end=invoice.period_end,
        line=line,
        line_name=named[line],
        description=description.strip(),
        currency=invoice.currency,
        amount=round_money(amount, invoice.currency),
        made_at=at,
        actor=actor,
        reason=reason.strip(),
    )
    refresh_from_windows(invoice_id=invoice_id, at=at, actor=actor, reason=f"changed by hand: {edit.reason}"[:300])
    return edit


@transaction.atomic
def _taken_back(edit_id: int, *, at: datetime, actor: str, reason: str) -> LineEdit:
    if mistake := reason_mistake(reason=reason):
        raise InvalidFields((mistake,))
    edit = LineEdit.objects.select_related("customer").get(pk=edit_id)
    lock_customer(customer_id=edit.customer_id)
    draft = draft_of(edit=edit)
    if _is_issued(edit):
        raise Conflict("the invoice of this period is issued: what is issued is credited", field="status")
    if draft is not None:
        _locked_draft(draft.pk)
    edit = LineEdit.objects.select_for_update().get(pk=edit_id)
    if edit.ended_at is not None:
        return edit
    edit.ended_at, edit.ended_by, edit.ended_because = max(at, edit.made_at), actor, reason.strip()
    edit.save(update_fields=["ended_at", "ended_by", "ended_because"])
    if draft is not None:
        why = f"a change was taken back: {edit.ended_because}"
        refresh_from_windows(invoice_id=draft.pk, at=at, actor=actor, reason=why[:300])
    return edit


def draft_of(*, edit: LineEdit) -> Invoice | None:
    """Return the draft that a change is about; None where it is issued, or gone."""
    return _invoices_of(edit).filter(status=InvoiceStatus.DRAFT).first()


def can_be_taken_back(*, edit: LineEdit) -> bool:
    """Say whether the invoice of a change is not issued: a draft, or to be drafted again."""
    return edit.ended_at is None and not _is_issued(edit)


def _is_issued(edit: LineEdit) -> bool:
    return _invoices_of(edit).filter(status__in=OWED).exists()


def _invoices_of(edit: LineEdit) -> "QuerySet[Invoice]":
    period = period_of(edit)
    found = Invoice.objects.filter(customer=edit.customer_id, kind=InvoiceKind.PERIOD)
    return found.filter(period_start=period.start, period_end=period.end)


def _edits(invoice: Invoice) -> "QuerySet[LineEdit]":
    return edits_of(customer_id=invoice.customer_id, period_start=invoice.period_start, period_end=invoice.period_end)


def _locked_draft(invoice_id: int) -> Invoice:
    invoice = locked_invoice(invoice_id=invoice_id)
    if invoice.status != InvoiceStatus.DRAFT or invoice.kind != InvoiceKind.PERIOD:
        raise Conflict(
            f"{invoice} is no draft of a period: what is issued is corrected by a credit note", field="status"
        )
    refuse_signed(draft=invoice)
    return invoice


def _mistakes(invoice: Invoice, line: str, description: str, amount: Decimal, reason: str) -> list[FieldError]:
    found = []
    if not description.strip():
        found.append(FieldError("description", "required", "say what the customer is to read on the invoice"))
    elif len(description.strip()) > DESCRIPTION_MAX or not is_storable(description):
        found.append(FieldError("description", "invalid", f"must be a text of at most {DESCRIPTION_MAX} characters"))
    number = read_number(abs(amount)) if amount.is_finite() else read_number(amount)
    if isinstance(number, Mistake):
        found.append(FieldError("amount", number.code, number.message))
    elif not is_rounded(Money(amount, invoice.currency)):
        found.append(FieldError("amount", "too_precise", f"has more decimals than {invoice.currency}"))
    elif line and amount < 0:
        found.append(FieldError("amount", "out_of_range", "a line comes to nothing, or more"))
    elif not line and not amount:
        found.append(FieldError("amount", "out_of_range", "must not be nothing: say what is added, or taken off"))
    return found + [mistake for mistake in [reason_mistake(reason=reason)] if mistake]
