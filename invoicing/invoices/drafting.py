"""Drafts: what was computed, kept as the one draft of its customer and period."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction
from moneyed import Money

from billing_site.kernel.among import among, among_found
from billing_site.kernel.bulk import insert_rows
from billing_site.kernel.history import create_all_with_reason, delete_with_reason, save_with_reason
from billing_site.kernel.new_row import new_row
from billing_site.kernel.period import Period, as_utc
from invoicing.core.assembly import AssembledInvoice
from invoicing.customers.models import Customer
from invoicing.customers.operations import lock_customer
from invoicing.customers.queries import names_of_accounts
from invoicing.invoices.adjustments import lines_of_adjustments
from invoicing.invoices.corrections import lines_of_corrections
from invoicing.invoices.event_roots import drafts_lacking_roots, root_over_lines, set_event_roots
from invoicing.invoices.models import BillingRun, Invoice, InvoiceKind, InvoiceLine, InvoiceStatus
from invoicing.invoices.parties import copy_parties, sellers_of
from invoicing.invoices.sealing import line_digest
from invoicing.invoices.taxes import note_tax, rows_of_tax
from invoicing.subscriptions.agreements import billed_to
from invoicing.subscriptions.snapshot import ContractSource


@dataclass(frozen=True)
class NewDraft:
    """An assembled invoice of a customer, who is locked, and the rows that its charges come from."""

    customer: Customer
    assembled: AssembledInvoice
    sources: dict[str, ContractSource]


@dataclass(frozen=True)
class SavedDrafts:
    """The invoices of drafts, in their order, and the lines of those that were written just now, by the invoice's number, in their order."""

    invoices: list[Invoice]
    written: dict[int, list[InvoiceLine]]


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
    """Keep an assembled invoice as the one draft of its customer and period, as `save_drafts` does."""
    # The customer's row serialises billing of one customer; the unique constraint is the guarantee.
    draft = NewDraft(lock_customer(customer_id=customer.pk), assembled, sources)
    [invoice] = save_drafts(drafts=[draft], run=run, at=at, actor=actor, reason=reason).invoices
    return invoice


def save_drafts(
    *, drafts: Sequence[NewDraft], run: BillingRun | None, at: datetime, actor: str, reason: str
) -> SavedDrafts:
    """Keep assembled invoices, at most one of a customer, as the one draft each of their customers and periods.

    A draft that says the same stays untouched, one that says something else gets the new lines,
    and an invoice that is issued already is returned as it is. The number of queries does not grow with new drafts.
    """
    assert connection.in_atomic_block, "the customers are locked"
    assert len({draft.customer.pk for draft in drafts}) == len(drafts), "each customer once"
    stored = _stored(drafts)
    invoices = [stored.get(_place(draft)) or _new_invoice(draft, at=at) for draft in drafts]
    changing = _changing(drafts, invoices)
    lines_of = {draft.customer.pk: _lines(invoice, draft.assembled, draft.sources) for draft, invoice in changing}
    # The events of all of them are hashed by one query.
    set_event_roots(lines=[line for lines in lines_of.values() for line in lines])
    customers = [draft.customer for draft, _ in changing]
    sellers, accounts = sellers_of(customers=customers), names_of_accounts(customers=customers)
    for draft, invoice in changing:
        lines = lines_of[draft.customer.pk]
        for line in lines:
            line.digest = line_digest(line=line)
        invoice.billing_run = run
        invoice.subtotal = draft.assembled.subtotal
        invoice.total = draft.assembled.total
        invoice.content_digest = draft.assembled.digest
        note_tax(invoice=invoice, tax=draft.assembled.tax)
        copy_parties(invoice=invoice, customer=draft.customer, sellers=sellers, accounts=accounts)
        invoice.events_root = root_over_lines(lines=lines)
    for _, invoice in changing:
        if invoice.pk is not None:
            # The manager, not what was read of its lines: those are to go.
            InvoiceLine.objects.filter(invoice=invoice).delete()
            save_with_reason(invoice, actor=actor, reason=reason)
    create_all_with_reason([invoice for _, invoice in changing if invoice.pk is None], actor=actor, reason=reason)
    taxes = []
    for draft, invoice in changing:
        for line in lines_of[draft.customer.pk]:
            # The invoice has its number only now.
            line.invoice = invoice
    insert_rows([line for lines in lines_of.values() for line in lines])
    for draft, _ in changing:
        taxes += rows_of_tax(tax=draft.assembled.tax, lines=lines_of[draft.customer.pk])
    insert_rows(taxes)
    return SavedDrafts(invoices, {invoice.pk: lines_of[draft.customer.pk] for draft, invoice in changing})


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


Place = tuple[int, Period]


def _place(draft: NewDraft) -> Place:
    return draft.customer.pk, draft.assembled.period


def _stored(drafts: Sequence[NewDraft]) -> dict[Place, Invoice]:
    """Return the invoices that stand for the customers and periods of drafts; those that are drafts are locked, too.

    What is issued moves by payments, which lock invoices before customers: nobody here waits for them.
    """
    customers = {draft.customer.pk: draft.customer for draft in drafts}
    ends = {draft.assembled.period.end for draft in drafts}
    rows = Invoice.objects.filter(
        among("customer", customers), among_found("period_end", ends), kind=InvoiceKind.PERIOD
    )
    found = {}
    for row in (
        *rows.exclude(status__in=(InvoiceStatus.DRAFT, InvoiceStatus.VOID)),
        *rows.filter(among_found("status", [InvoiceStatus.DRAFT.value]))
        .order_by("customer_id", "id")
        .select_for_update(),
    ):
        row.customer = customers[row.customer_id]
        found[row.customer_id, Period(as_utc(row.period_start), as_utc(row.period_end))] = row
    return found


def _changing(drafts: Sequence[NewDraft], invoices: Sequence[Invoice]) -> list[tuple[NewDraft, Invoice]]:
    """Return the drafts that are new or say something else by now, each with its invoice."""
    same = [
        invoice
        for draft, invoice in zip(drafts, invoices, strict=True)
        if invoice.pk is not None
        and invoice.status == InvoiceStatus.DRAFT
        and invoice.content_digest == draft.assembled.digest
    ]
    without_roots = drafts_lacking_roots(invoices=same)
    return [
        (draft, invoice)
        for draft, invoice in zip(drafts, invoices, strict=True)
        if invoice.pk is None
        or (
            invoice.status == InvoiceStatus.DRAFT
            and (invoice.content_digest != draft.assembled.digest or invoice.pk in without_roots)
        )
    ]


def _new_invoice(draft: NewDraft, *, at: datetime) -> Invoice:
    nothing = Money(0, draft.assembled.currency)
    return new_row(
        Invoice,
        customer=draft.customer,
        period_start=draft.assembled.period.start,
        period_end=draft.assembled.period.end,
        drafted_at=at,
        currency=draft.assembled.currency,
        amount_paid=nothing,
        amount_credited=nothing,
        amount_written_off=nothing,
    )


def _lines(invoice: Invoice, assembled: AssembledInvoice, sources: dict[str, ContractSource]) -> list[InvoiceLine]:
    """Return the lines of an assembled invoice as rows, unsaved, without the roots of their events and without digest."""
    lines = []
    charged = zip(assembled.lines, assembled.documents, strict=True)
    for position, (rated, document) in enumerate(charged, start=1):
        source = sources[rated.reference]
        line = new_row(
            InvoiceLine,
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
            rated=document,
        )
        lines.append(line)
    subscriptions = {source.subscription.key: source.subscription for source in sources.values()}
    # What takes fees in advance, or gives them back, is about a subscription that may have no charge here.
    if others := {line.subscription for line in assembled.adjustments if line.subscription} - set(subscriptions):
        theirs = billed_to(customers=[invoice.customer.pk]).filter(key__in=others).select_related("customer")
        subscriptions |= {row.key: row for row in theirs}
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
    return lines
