"""What may happen to an invoice: drafted, refreshed while a draft, issued once, settled."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import transaction
from moneyed import Money

from billing_site.kernel.errors import Conflict
from billing_site.kernel.history import delete_with_reason, save_with_reason
from billing_site.kernel.money import from_minor_units, is_rounded
from invoicing.core.assembly import AssembledInvoice
from invoicing.core.proof import line_document
from invoicing.customers.models import Customer
from invoicing.customers.operations import lock_customer
from invoicing.invoices.adjustments import lines_of_adjustments
from invoicing.invoices.corrections import lines_of_corrections
from invoicing.invoices.event_roots import lacks_roots, root_over_lines, set_event_roots
from invoicing.invoices.lifecycle import move
from invoicing.invoices.models import BillingRun, Invoice, InvoiceKind, InvoiceLine, InvoiceStatus, TaxLine, TaxState
from invoicing.invoices.numbering import locked_series, number_of
from invoicing.invoices.parties import copy_parties
from invoicing.invoices.sealing import invoice_seal, line_digest
from invoicing.invoices.taxes import missing_tax, note_tax, rows_of_tax, taxes_of
from invoicing.subscriptions.snapshot import ContractSource


@transaction.atomic
def save_draft(
    *,
    customer: Customer,
    assembled: AssembledInvoice,
    sources: dict[str, ContractSource],
    run: BillingRun | None,
    at: datetime,
    actor: str,
    reason: str,
) -> Invoice:
    """Keep an assembled invoice as the one draft of its customer and period.

    A draft that says the same stays untouched, one that says something else gets the new lines,
    and an invoice that is issued already is returned as it is.
    """
    # The customer's row serialises billing of one customer; the unique constraint is the guarantee.
    customer = lock_customer(customer_id=customer.pk)
    invoice = (
        Invoice.objects.select_for_update()
        .filter(
            customer=customer,
            kind=InvoiceKind.PERIOD,
            period_start=assembled.period.start,
            period_end=assembled.period.end,
        )
        .exclude(status=InvoiceStatus.VOID)
        .first()
    )
    if invoice is not None and (
        invoice.status != InvoiceStatus.DRAFT
        or (invoice.content_digest == assembled.digest and not lacks_roots(lines=invoice.lines.all()))
    ):
        return invoice

    if invoice is None:
        invoice = Invoice(
            customer=customer,
            period_start=assembled.period.start,
            period_end=assembled.period.end,
            drafted_at=at,
            currency=assembled.currency,
            amount_paid=Money(0, assembled.currency),
            amount_credited=Money(0, assembled.currency),
        )
    else:
        invoice.lines.all().delete()
    invoice.billing_run = run
    invoice.subtotal = assembled.subtotal
    invoice.total = assembled.total
    invoice.content_digest = assembled.digest
    note_tax(invoice=invoice, tax=assembled.tax)
    copy_parties(invoice=invoice, customer=customer)
    lines = _lines(invoice, assembled, sources)
    invoice.events_root = root_over_lines(lines=lines)
    save_with_reason(invoice, actor=actor, reason=reason)
    for line in lines:
        # The invoice has its number only now.
        line.invoice = invoice
    InvoiceLine.objects.bulk_create(lines)
    TaxLine.objects.bulk_create(rows_of_tax(tax=assembled.tax, lines=lines))
    return invoice


@transaction.atomic
def drop_drafts(*, invoice_ids: Collection[int], actor: str, reason: str) -> int:
    """Delete those of some invoices that are still there and drafts, and return how many; others stay."""
    dropped = 0
    places = Invoice.objects.filter(pk__in=invoice_ids).order_by("customer_id", "id").values_list("customer_id", "id")
    for customer_id, number in list(places):
        lock_customer(customer_id=customer_id)
        draft = Invoice.objects.select_for_update().filter(pk=number, status=InvoiceStatus.DRAFT).first()
        if draft is not None:
            delete_with_reason(draft, actor=actor, reason=reason)
            dropped += 1
    return dropped


@transaction.atomic
def issue(*, invoice_id: int, at: datetime, actor: str, reason: str) -> Invoice:
    """Give a draft its number, dates and seal; from now on the document is carved in stone.

    Numbers are gapless per series: number, seal and issue commit together or not at all. Issuing
    an issued invoice again changes nothing. Raises Conflict for a void one, for a period that has not
    ended, for lines that are not what was rated, for those that do not say which events they count, and where tax data is missing
    (code `tax_data_missing`).
    """
    invoice = locked_invoice(invoice_id=invoice_id)
    if invoice.status in (InvoiceStatus.ISSUED, InvoiceStatus.PAID):
        return invoice
    if at < invoice.period_end:
        raise Conflict(
            f"the period lasts until {invoice.period_end.isoformat()}: its usage is not complete", field="at"
        )
    if invoice.tax_state == TaxState.MISSING:
        missing = "; ".join(missing_tax(invoice=invoice))
        raise Conflict(f"{invoice} cannot be taxed, it is not known: {missing}", field="tax", code="tax_data_missing")
    copy_parties(invoice=invoice, customer=invoice.customer)
    series = locked_series(name=settings.INVOICE_NUMBER_PREFIX, issued_at=at, timezone=invoice.timezone)
    move(invoice=invoice, to=InvoiceStatus.ISSUED)
    invoice.series = series
    invoice.number = number_of(series=series, ordinal=series.next_number)
    invoice.issued_at = at
    invoice.due_date = at.astimezone(ZoneInfo(invoice.timezone)).date() + timedelta(
        days=invoice.customer.net_terms_days
    )
    invoice.previous_seal = series.last_seal
    lines = list(invoice.lines.prefetch_related("taxes").order_by("position"))
    digests = _checked_digests(invoice, lines)
    invoice.seal = invoice_seal(invoice=invoice, line_digests=digests, taxes=taxes_of(lines=lines))
    save_with_reason(invoice, actor=actor, reason=reason)
    series.next_number += 1
    series.last_seal = invoice.seal
    series.save(update_fields=["next_number", "last_seal"])
    return invoice


@transaction.atomic
def apply_payment(*, invoice_id: int, amount: Money, paid_at: datetime, actor: str, reason: str) -> Invoice:
    """Add a payment to what an issued invoice has received; at the total it becomes paid.

    The caller records the payment itself and makes sure that it is applied once. Raises Conflict
    for a draft or void invoice, another currency, or more than is due.
    """
    assert is_rounded(amount) and amount.amount >= 0, f"a payment is whole minor units: {amount}"
    invoice = Invoice.objects.select_for_update().get(pk=invoice_id)
    if invoice.status not in (InvoiceStatus.ISSUED, InvoiceStatus.PAID):
        raise Conflict(f"invoice {invoice} is {invoice.status}: it cannot be paid", field="invoice")
    if amount.currency.code != invoice.currency:
        raise Conflict(
            f"invoice {invoice} is in {invoice.currency}, the payment in {amount.currency}", field="currency"
        )
    if amount > invoice.amount_due:
        due = invoice.amount_due
        raise Conflict(
            f"invoice {invoice} has {due.amount} {due.currency} due, less than {amount.amount}", field="amount"
        )
    invoice.amount_paid = invoice.amount_paid + amount
    return _settled(invoice, at=paid_at, actor=actor, reason=reason)


def apply_credit(*, invoice: Invoice, amount: Money, at: datetime, actor: str, reason: str) -> Invoice:
    """Take what a credit note offsets off what is open of a locked invoice; where nothing is left to pay it is settled, and so paid.

    The caller writes the credit note in the same transaction: the database compares both. Raises Conflict as `apply_payment` does.
    """
    assert is_rounded(amount) and amount.amount > 0, f"an offset is whole minor units: {amount}"
    if amount > invoice.amount_due:
        raise Conflict(f"invoice {invoice} has {invoice.amount_due} open, less than {amount}", field="amount")
    invoice.amount_credited = invoice.amount_credited + amount
    return _settled(invoice, at=at, actor=actor, reason=reason)


def _settled(invoice: Invoice, *, at: datetime, actor: str, reason: str) -> Invoice:
    if invoice.status == InvoiceStatus.ISSUED and not invoice.amount_due.amount:
        move(invoice=invoice, to=InvoiceStatus.PAID)
        invoice.paid_at = at
    save_with_reason(invoice, actor=actor, reason=reason)
    return invoice


def locked_invoice(*, invoice_id: int) -> Invoice:
    """Return an invoice with its customer, both locked until the transaction ends, the customer first."""
    customer = lock_customer(customer_id=Invoice.objects.values_list("customer_id", flat=True).get(pk=invoice_id))
    invoice = Invoice.objects.select_for_update().get(pk=invoice_id)
    invoice.customer = customer
    return invoice


def nothing_due(*, invoice: Invoice) -> bool:
    """Say whether an issued invoice needs no payment at all."""
    return invoice.status == InvoiceStatus.ISSUED and invoice.total == from_minor_units(0, invoice.currency)


def _checked_digests(invoice: Invoice, lines: Sequence[InvoiceLine]) -> list[str]:
    digests = []
    if lacks_roots(lines=lines) or root_over_lines(lines=lines) != invoice.events_root:
        raise Conflict(f"{invoice} does not say which events it counts: refresh the draft", code="outdated")
    for line in lines:
        if line_digest(line=line) != line.digest:
            raise Conflict(f"line {line.position} of {invoice} is not what was rated: delete the draft, bill again")
        digests.append(line.digest)
    return digests


def _lines(invoice: Invoice, assembled: AssembledInvoice, sources: dict[str, ContractSource]) -> list[InvoiceLine]:
    lines = []
    for position, rated in enumerate(assembled.lines, start=1):
        source = sources[rated.reference]
        line = InvoiceLine(
            invoice=invoice,
            position=position,
            subscription=source.subscription,
            price=source.price,
            description=rated.description,
            meter_key=rated.meter or "",
            unit=rated.unit,
            quantity=rated.quantity,
            currency=assembled.currency,
            amount=rated.amount,
            service_start=rated.service_period.start,
            service_end=rated.service_period.end,
            window_count=rated.usage.window_count if rated.usage else 0,
            event_count=rated.usage.event_count if rated.usage else 0,
            windows_digest=rated.usage.windows_digest if rated.usage else "",
            known_through=rated.usage.known_through if rated.usage else 0,
            rated=line_document(line=rated),
        )
        lines.append(line)
    subscriptions = {source.subscription.key: source.subscription for source in sources.values()}
    # What takes fees in advance, or gives them back, is about a subscription that may have no charge here.
    if others := {line.subscription for line in assembled.adjustments if line.subscription} - set(subscriptions):
        subscriptions |= {row.key: row for row in invoice.customer.subscriptions.filter(key__in=others)}
    lines += lines_of_adjustments(
        invoice=invoice,
        lines=assembled.adjustments,
        subscriptions=subscriptions,
        first_position=len(lines) + 1,
    )
    lines += lines_of_corrections(invoice=invoice, lines=assembled.corrections, first_position=len(lines) + 1)
    lines += lines_of_adjustments(
        invoice=invoice, lines=assembled.credits, subscriptions={}, first_position=len(lines) + 1
    )
    set_event_roots(lines=lines)
    for line in lines:
        line.digest = line_digest(line=line)
    return lines


@transaction.atomic
def void(*, invoice_id: int, at: datetime, actor: str, reason: str) -> Invoice:
    """Declare an issued invoice of which nothing is paid void; a second time changes nothing. The caller takes it out of the books."""
    invoice = locked_invoice(invoice_id=invoice_id)
    if invoice.status == InvoiceStatus.VOID:
        return invoice
    if invoice.amount_paid.amount:
        raise Conflict(f"invoice {invoice} has received money: it cannot be declared void", field="status")
    if invoice.amount_credited.amount:
        raise Conflict(f"invoice {invoice} has credit notes: it cannot be declared void", field="status")
    move(invoice=invoice, to=InvoiceStatus.VOID)
    invoice.voided_at = at
    save_with_reason(invoice, actor=actor, reason=reason)
    return invoice
