"""What may happen to credit notes: one is assembled from what is asked for, looked at, and written once, whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from django.db import connection
from moneyed import Money

from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import Conflict, FieldError, InvalidFields
from billing_site.kernel.money import allocate, from_minor_units, is_rounded, plain, total, wire
from invoicing.approvals.models import Approval
from invoicing.core.adjustments.credits import CreditKind
from invoicing.core.contract import AdjustmentKind
from invoicing.core.crediting import amount_of_quantity, tax_of_amount
from invoicing.core.invoice_life import STANDING
from invoicing.credit_notes.creditable import CreditableInvoice, CreditableLine, creditable_of
from invoicing.credit_notes.models import CreditNote, CreditNoteLine, CreditNoteTax, Disposition
from invoicing.credits.models import CreditGrant
from invoicing.credits.operations import GrantTerms, grant_sold_credit
from invoicing.customers.operations import KEY_PATTERN
from invoicing.invoices.models import Invoice, InvoiceLine
from invoicing.invoices.numbering import locked_series, number_of, year_of
from invoicing.subscriptions.queries import held_in_advance

LINES_MAX = 1_000


@dataclass(frozen=True)
class CreditAsked:
    """What is to be credited of a line, by its position: a quantity of it, an amount, or, where neither is given, all that is left."""

    position: int
    quantity: Decimal | None = None
    amount: Money | None = None


@dataclass(frozen=True)
class AssembledLine:
    """What a credit note will take of a line."""

    line: InvoiceLine
    quantity: Decimal | None
    amount: Money
    creditable: Money
    released: Money
    tax_amount: Money
    tax_added: Money


@dataclass(frozen=True)
class AssembledCredit:
    """A credit note as it would be: its lines, what it gives back and how."""

    invoice: Invoice
    disposition: str
    lines: Sequence[AssembledLine]
    total: Money
    offset: Money
    balance: Money
    refund: Money

    @property
    def released(self) -> Money:
        """What of it was held in advance."""
        return total((line.released for line in self.lines), self.invoice.currency)

    @property
    def tax_amount(self) -> Money:
        """The tax that goes back with it."""
        return total((line.tax_amount for line in self.lines), self.invoice.currency)

    @property
    def digest(self) -> str:
        """The SHA-256 by which a confirmation is bound to what was shown."""
        return digest_of(
            {
                "invoice": self.invoice.number,
                "disposition": self.disposition,
                "lines": [_shown(line) for line in self.lines],
                "offset": wire(self.offset),
                "balance": wire(self.balance),
                "refund": wire(self.refund),
            }
        )


def assemble_credit(
    *, invoice: Invoice, asked: Sequence[CreditAsked], disposition: str, at: datetime
) -> AssembledCredit:
    """Return the credit note that is asked for; without lines it is over all that is left of the invoice. Nothing is written.

    Raises InvalidFields naming each field that cannot be accepted (`lines[0].quantity`), Conflict where nothing of the invoice can be credited.
    """
    if invoice.status not in STANDING:
        raise Conflict(f"invoice {invoice} is {invoice.status}: only an issued one is credited", field="invoice")
    if invoice.issued_at is None or at < invoice.issued_at:
        raise Conflict(f"invoice {invoice} is not issued yet at that moment", field="at")
    creditable = creditable_of(invoice=invoice)
    if not creditable.left.amount:
        raise Conflict(f"nothing is left to credit of invoice {invoice}", field="invoice", code="nothing_left")
    wanted = asked or [CreditAsked(one.line.position) for one in creditable.lines if one.left.amount]
    lines = _lines(creditable, wanted, is_whole=not asked, at=at)
    whole = total((amount for line in lines for amount in (line.amount, line.tax_added)), invoice.currency)
    assert whole <= creditable.left, "the lines are asked for no more than the invoice"
    offset = min(whole, creditable.open)
    rest, nothing = whole - offset, from_minor_units(0, invoice.currency)
    _check_disposition(creditable, disposition, rest)
    return AssembledCredit(
        invoice=invoice,
        disposition=disposition,
        lines=lines,
        total=whole,
        offset=offset,
        balance=rest if disposition == Disposition.BALANCE else nothing,
        refund=rest if disposition == Disposition.REFUND else nothing,
    )


def asked_digest(*, invoice: Invoice, asked: Sequence[CreditAsked], disposition: str) -> str:
    """Return what tells a repeated request from another one with the same key."""
    lines = [
        {
            "position": one.position,
            "quantity": None if one.quantity is None else plain(one.quantity),
            "amount": None if one.amount is None else plain(one.amount.amount),
        }
        for one in asked
    ]
    return digest_of({"invoice": invoice.number, "lines": lines, "disposition": disposition})


def note_of_key(*, key: str, digest: str) -> CreditNote | None:
    """Return the credit note that a key stands for, or None; raises InvalidFields for a key that is none, Conflict where it says something else."""
    if not KEY_PATTERN.fullmatch(key):
        message = "use 1 to 100 letters, digits and _ . : -, beginning with a letter or digit"
        raise InvalidFields((FieldError("key", "invalid", message),))
    found = CreditNote.objects.select_related("invoice").filter(key=key).first()
    if found is not None and found.asked_digest != digest:
        raise Conflict(f"{key} is credit note {found}, which says something else", field="key")
    return found


def write_credit_note(
    *,
    assembled: AssembledCredit,
    key: str,
    asked: str,
    at: datetime,
    actor: str,
    reason: str,
    approval: Approval | None = None,
) -> CreditNote:
    """Write an assembled credit note with its number, seal and lines, and the credit that it gives; the invoice is locked.

    The caller takes its offset off the invoice, plans its refund and posts it, in the same transaction: the database refuses a part of them.
    """
    assert connection.in_atomic_block, "a credit note is written with all that follows from it, or not at all"
    invoice = assembled.invoice
    year = year_of(issued_at=at, timezone=invoice.timezone)
    seller = invoice.customer.legal_entity
    series = locked_series(legal_entity=seller.key, name=seller.credit_note_prefix, year=year)
    number = number_of(series=series, ordinal=series.next_number)
    note = CreditNote(
        series=series,
        number=number,
        key=key,
        customer_id=invoice.customer_id,
        invoice=invoice,
        disposition=assembled.disposition,
        currency=invoice.currency,
        total=assembled.total,
        offset_amount=assembled.offset,
        balance_amount=assembled.balance,
        refund_amount=assembled.refund,
        grant=_grant(assembled, number, at=at, actor=actor, reason=reason) if assembled.balance.amount else None,
        issued_at=at,
        actor=actor,
        reason=reason,
        asked_digest=asked,
        approval=approval,
        previous_seal=series.last_seal,
    )
    lines = [
        CreditNoteLine(
            note=note,
            line=one.line,
            quantity=one.quantity,
            currency=invoice.currency,
            amount=one.amount,
            creditable=one.creditable,
            released=one.released,
            tax_amount=one.tax_amount,
            tax_added=one.tax_added,
        )
        for one in assembled.lines
    ]
    note.seal = note_seal(note=note, lines=lines)
    note.save(force_insert=True)
    CreditNoteLine.objects.bulk_create(lines)
    CreditNoteTax.objects.bulk_create(row for line in lines for row in _taxes(line))
    series.next_number += 1
    series.last_seal = note.seal
    series.save(update_fields=["next_number", "last_seal"])
    return note


def note_seal(*, note: CreditNote, lines: Sequence[CreditNoteLine]) -> str:
    """Return the SHA-256 over an issued credit note, its lines and the seal before it in the series; `lines` in the order of the invoice's."""
    return digest_of(
        {
            "number": note.number,
            "key": note.key,
            "customer": note.customer_id,
            "invoice": note.invoice_id,
            "disposition": note.disposition,
            "currency": note.currency,
            "total": wire(note.total),
            "offset": wire(note.offset_amount),
            "balance": wire(note.balance_amount),
            "refund": wire(note.refund_amount),
            "grant": note.grant_id,
            "issued_at": note.issued_at.astimezone(UTC).isoformat(timespec="microseconds"),
            "actor": note.actor,
            "reason": note.reason,
            "asked": note.asked_digest,
            "lines": [
                {
                    "line": line.line_id,
                    "quantity": None if line.quantity is None else plain(line.quantity),
                    "amount": wire(line.amount),
                    "creditable": wire(line.creditable),
                    "released": wire(line.released),
                    # Said only where there is some: the seals of before there was tax stay the same.
                    **(
                        {"tax": wire(line.tax_amount), "tax_added": wire(line.tax_added)}
                        if line.tax_amount.amount
                        else {}
                    ),
                }
                for line in lines
            ],
            "previous_seal": note.previous_seal,
        }
    )


def _grant(assembled: AssembledCredit, number: str, *, at: datetime, actor: str, reason: str) -> CreditGrant:
    """Give what is kept for later invoices as prepaid credit: it was paid for, so that it is owed until it is drawn, and does not expire."""
    terms = GrantTerms(
        key=f"credit-note-{number}-{uuid4().hex[:8]}",
        kind=CreditKind.PREPAID,
        name=f"Credit note {number}",
        amount=assembled.balance,
        effective_at=at,
    )
    return grant_sold_credit(customer=assembled.invoice.customer, terms=terms, at=at, actor=actor, reason=reason)


def _shown(line: AssembledLine) -> dict[str, Any]:
    return {
        "position": line.line.position,
        "quantity": None if line.quantity is None else plain(line.quantity),
        "amount": wire(line.amount),
        "released": wire(line.released),
        **({"tax": wire(line.tax_amount), "tax_added": wire(line.tax_added)} if line.tax_amount.amount else {}),
    }


def _taxes(line: CreditNoteLine) -> list[CreditNoteTax]:
    """Return what of each tax of the invoice's line goes back, unsaved: by what each came to, also over nothing."""
    rows = list(line.line.taxes.order_by("ordinal"))
    if not rows:
        return []
    owed = [abs(row.amount.amount) for row in rows]
    parts = allocate(line.tax_amount, owed) if any(owed) else [line.tax_amount * 0 for _ in rows]
    contained = line.tax_amount - line.tax_added
    return [
        CreditNoteTax(note_line=line, tax=row, currency=line.currency, taxable=line.amount - contained, amount=part)
        for row, part in zip(rows, parts, strict=True)
    ]


def _lines(
    creditable: CreditableInvoice, wanted: Sequence[CreditAsked], *, is_whole: bool, at: datetime
) -> list[AssembledLine]:
    by_position = {one.line.position: one for one in creditable.lines}
    errors: list[FieldError] = []
    taken: dict[int, AssembledLine] = {}
    held = _held(creditable, at=at)
    if len(wanted) > LINES_MAX:
        raise InvalidFields((FieldError("lines", "too_many", f"must be at most {LINES_MAX}"),))
    for place, one in enumerate(wanted):
        path = "lines" if is_whole else f"lines[{place}]"
        of = by_position.get(one.position)
        if of is None:
            message = f"invoice {creditable.invoice} has no line {one.position} that asks for anything"
            errors.append(FieldError(f"{path}.position", "unknown", message))
            continue
        mistake = (
            _mistake(of, one, path) if one.position not in taken else FieldError(path, "duplicate", "stands twice")
        )
        if mistake is not None:
            errors.append(mistake)
            continue
        quantity, amount = _taken(of, one)
        if not amount.amount:
            errors.append(FieldError(path, "nothing", f"line {one.position}: so little of it is worth nothing"))
            continue
        released, number = amount * 0, of.line.subscription_id
        if _is_held(of.line) and number is not None and number in held:
            released = min(amount, held[number])
            held[number] -= released
        tax, added = (
            tax_of_amount(tax=whole, net=of.net, credited=of.credited, credited_tax=before, amount=amount)
            for whole, before in ((of.asked.tax, of.credited_tax), (of.asked.added, of.credited_added))
        )
        taken[one.position] = AssembledLine(of.line, quantity, amount, of.net, released, tax, added)
    if errors:
        raise InvalidFields(tuple(errors))
    return [taken[position] for position in sorted(taken)]


def _mistake(of: CreditableLine, one: CreditAsked, path: str) -> FieldError | None:
    position = one.position
    if of.refusal:
        return FieldError(f"{path}.position", "not_creditable", f"line {position} {of.refusal}")
    if not of.left.amount:
        return FieldError(f"{path}.position", "nothing_left", f"nothing is left to credit of line {position}")
    if one.quantity is not None and one.amount is not None:
        return FieldError(f"{path}.amount", "not_allowed", "say a quantity or an amount, not both")
    if one.quantity is not None and not 0 < one.quantity <= of.quantity_left:
        left = plain(of.quantity_left)
        message = (
            f"must be more than nothing, and at most {left}" if of.quantity_left else "the line has none: say an amount"
        )
        return FieldError(f"{path}.quantity", "out_of_range", message)
    if one.amount is None:
        return None
    if one.amount.currency != of.left.currency:
        return FieldError(f"{path}.amount", "currency_differs", f"must be in {of.left.currency}")
    if not is_rounded(one.amount) or not 0 < one.amount.amount <= of.left.amount:
        message = f"must be more than nothing, in whole minor units, and at most {plain(of.left.amount)}"
        return FieldError(f"{path}.amount", "out_of_range", message)
    return None


def _taken(of: CreditableLine, one: CreditAsked) -> tuple[Decimal | None, Money]:
    if one.amount is not None:
        return None, one.amount
    if one.quantity is None:
        return of.quantity_left or None, of.left
    amount = amount_of_quantity(
        net=of.net,
        whole=of.line.quantity,
        quantity=one.quantity,
        credited_quantity=of.credited_quantity,
        credited=of.credited,
    )
    return one.quantity, amount


def _is_held(line: InvoiceLine) -> bool:
    return line.adjustment == AdjustmentKind.IN_ADVANCE


def _held(creditable: CreditableInvoice, *, at: datetime) -> dict[int, Money]:
    """Return what is held in advance of subscriptions that have ended: nobody will be served for the rest of it.

    Of one that runs a credit is a concession, and what is held pays for the service as it was agreed.
    """
    over = {
        one.line.subscription.pk: one.line.subscription
        for one in creditable.lines
        if _is_held(one.line) and one.line.subscription and one.line.subscription.ended_at
        if one.line.subscription.ended_at <= at
    }
    for subscription in over.values():
        subscription.customer = creditable.invoice.customer
    return held_in_advance(subscriptions=over.values())


def _check_disposition(creditable: CreditableInvoice, disposition: str, rest: Money) -> None:
    open_, currency = creditable.open.amount, creditable.invoice.currency
    if disposition not in Disposition.values:
        raise InvalidFields((FieldError("disposition", "unknown", f"must be one of {', '.join(Disposition.values)}"),))
    if disposition == Disposition.OFFSET and rest.amount:
        told = f"only {currency} {plain(open_)} are open" if open_ else "nothing is open"
        told += ": keep the rest as credit for later invoices (balance) or pay it back (refund)"
        raise InvalidFields((FieldError("disposition", "exceeds_open", told),))
    if disposition == Disposition.REFUND and rest > creditable.refundable:
        message = (
            f"only {currency} {plain(creditable.refundable.amount)} were paid in money and not given back: what credit"
            " paid goes back as a balance"
        )
        raise InvalidFields((FieldError("disposition", "exceeds_paid", message),))
