"""One-off invoices as rows: what somebody stated, checked field by field, and kept under its key."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.db import IntegrityError, connection, transaction
from moneyed import Money

from billing_site.kernel.bulk import insert_rows
from billing_site.kernel.errors import Conflict, FieldError, InvalidFields
from billing_site.kernel.history import save_with_reason
from billing_site.kernel.model import AMOUNT_DIGITS, AMOUNT_PLACES
from billing_site.kernel.money import from_minor_units
from billing_site.kernel.text import is_storable
from invoicing.core.numbers import Mistake, read_number
from invoicing.core.one_off import OneOffInvoice, ProgressiveInvoice, assemble_once
from invoicing.core.proof import stated_document
from invoicing.core.stated import StatedItem
from invoicing.customers.models import Customer
from invoicing.customers.operations import KEY_PATTERN
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceLine
from invoicing.invoices.parties import copy_parties, sellers_of
from invoicing.invoices.sealing import line_digest
from invoicing.invoices.taxes import note_tax, rows_of_tax, tax_terms_once

ITEMS_MAX = 100
DESCRIPTION_MAX = 300
UNIT_MAX = 50
AMOUNT_LIMIT = 10 ** (AMOUNT_DIGITS - AMOUNT_PLACES)
KEY_MISTAKE = FieldError("key", "invalid", "use 1 to 100 letters, digits and _ . : -, beginning with a letter or digit")


@dataclass(frozen=True)
class NewItem:
    """What is to be invoiced once; `unit_amount` may be finer than the minor unit, as prices may."""

    description: str
    quantity: Decimal
    unit_amount: Money
    unit: str = ""


def assembled_once(*, customer: Customer, items: Sequence[NewItem], at: datetime) -> OneOffInvoice:
    """Return the one-off invoice that items make at a moment, with its tax; raises InvalidFields naming each field that cannot be accepted ("lines[0].quantity")."""
    errors = [] if items else [FieldError("lines", "required", "state at least one line")]
    if len(items) > ITEMS_MAX:
        errors.append(FieldError("lines", "too_many", f"state at most {ITEMS_MAX} lines"))
    for place, item in enumerate(items[:ITEMS_MAX]):
        errors += _mistakes(f"lines[{place}]", item, customer)
    if errors:
        raise InvalidFields(tuple(errors))
    day = day_of(customer=customer, at=at)
    assembled = assemble_once(
        customer=customer.key,
        currency=customer.currency,
        items=[
            StatedItem(
                description=item.description.strip(),
                quantity=item.quantity,
                unit_amount=item.unit_amount.amount,
                unit=item.unit.strip(),
            )
            for item in items
        ],
        day=day,
        tax=tax_terms_once(customer=customer, day=day),
    )
    if assembled.total.amount >= AMOUNT_LIMIT:
        digits = AMOUNT_DIGITS - AMOUNT_PLACES
        raise InvalidFields((FieldError("lines", "too_large", f"come to more than {digits} digits"),))
    return assembled


def day_of(*, customer: Customer, at: datetime) -> date:
    """Return the day of a moment where the customer is: the one whose rates of tax hold for what is invoiced once."""
    return at.astimezone(ZoneInfo(customer.timezone)).date()


def invoice_of_key(*, key: str, customer: Customer, assembled: OneOffInvoice) -> Invoice | None:
    """Return the one-off invoice that has a key, or None; raises InvalidFields, and Conflict where it says something else."""
    if not KEY_PATTERN.fullmatch(key):
        raise InvalidFields((KEY_MISTAKE,))
    existing = Invoice.objects.filter(key=key).select_related("customer").first()
    if existing is None:
        return None
    if existing.customer_id != customer.pk:
        raise Conflict(f"{key} is an invoice of another customer", field="key")
    stated = [stated_document(line=line) for line in assembled.lines]
    # Its tax is what held when it was made, whatever holds today.
    if [line.rated for line in existing.lines.order_by("position")] != stated:
        raise Conflict(f"{key} is invoice {existing}, which says something else", field="key")
    return existing


def save_once(
    *, customer: Customer, key: str, assembled: OneOffInvoice, at: datetime, actor: str, reason: str
) -> Invoice:
    """Keep an assembled one-off invoice as a draft, to be issued in the same transaction; the customer is locked."""
    return save_without_period(
        kind=InvoiceKind.ONE_OFF,
        lines=[
            InvoiceLine(
                kind=line.item.kind.value,
                description=line.item.description,
                unit=line.item.unit,
                quantity=line.item.quantity,
                currency=assembled.currency,
                amount=line.amount,
                rated=stated_document(line=line),
            )
            for line in assembled.lines
        ],
        customer=customer,
        key=key,
        assembled=assembled,
        at=at,
        actor=actor,
        reason=reason,
    )


def save_without_period(
    *,
    kind: InvoiceKind,
    lines: Sequence[InvoiceLine],
    customer: Customer,
    key: str,
    assembled: OneOffInvoice | ProgressiveInvoice,
    at: datetime,
    actor: str,
    reason: str,
) -> Invoice:
    """Keep an assembled invoice of no period, with its lines in their order, as a draft, to be issued in the same transaction; the customer is locked."""
    assert connection.in_atomic_block, "what bills no period is drafted and issued together, or not at all"
    invoice = Invoice(
        kind=kind,
        key=key,
        customer=customer,
        period_start=at,
        period_end=at,
        drafted_at=at,
        currency=assembled.currency,
        amount_paid=from_minor_units(0, assembled.currency),
        amount_credited=from_minor_units(0, assembled.currency),
        amount_written_off=from_minor_units(0, assembled.currency),
        subtotal=assembled.subtotal,
        total=assembled.total,
        content_digest=assembled.digest,
    )
    note_tax(invoice=invoice, tax=assembled.tax)
    copy_parties(invoice=invoice, customer=customer, sellers=sellers_of(customers=[customer]), accounts={})
    try:
        with transaction.atomic():
            save_with_reason(invoice, actor=actor, reason=reason)
    except IntegrityError:
        # Another customer's invoice took the key at the same moment.
        raise Conflict(f"{key} is an invoice of another customer", field="key") from None
    for position, line in enumerate(lines, start=1):
        line.invoice, line.position = invoice, position
        line.service_start = line.service_end = at
        line.digest = line_digest(line=line)
    insert_rows(lines)
    insert_rows(rows_of_tax(tax=assembled.tax, lines=lines))
    return invoice


def _mistakes(path: str, item: NewItem, customer: Customer) -> list[FieldError]:
    errors = []
    for name, text, longest in (
        ("description", item.description, DESCRIPTION_MAX),
        ("unit", item.unit, UNIT_MAX),
    ):
        if len(text) > longest or not is_storable(text):
            errors.append(FieldError(f"{path}.{name}", "too_long", f"must be a text of at most {longest} characters"))
    if not item.description.strip():
        errors.append(FieldError(f"{path}.description", "required", "say what is invoiced"))
    quantity = read_number(item.quantity)
    if isinstance(quantity, Mistake):
        errors.append(FieldError(f"{path}.quantity", quantity.code, quantity.message))
    elif not quantity:
        errors.append(FieldError(f"{path}.quantity", "out_of_range", "must be more than nothing"))
    amount = read_number(item.unit_amount.amount)
    if isinstance(amount, Mistake):
        errors.append(FieldError(f"{path}.unit_amount", amount.code, amount.message))
    if item.unit_amount.currency.code != customer.currency:
        message = f"must be in {customer.currency}, in which {customer} is billed"
        errors.append(FieldError(f"{path}.unit_amount", "currency_differs", message))
    return errors
