"""Issue an invoice: number and seal, books, and the intent to push it, in one transaction."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from django.db import transaction
from moneyed import Money

from billing_site.kernel.errors import Conflict
from billing_site.kernel.money import from_minor_units, plain, total
from billing_site.kernel.period import Period, as_utc
from invoicing.core.adjustments.credits import CreditKind
from invoicing.core.assembly import AssembledInvoice
from invoicing.core.posting import PREPAID_CREDIT, PROMOTIONAL_CREDIT, TAX_PAYABLE, postings_for_issue
from invoicing.credits.models import CreditGrant
from invoicing.credits.operations import draw_credits
from invoicing.customers.models import SettlementChannel
from invoicing.gate.models import InvoiceHold
from invoicing.invoices.crediting import credited_beside
from invoicing.invoices.drafting import save_draft
from invoicing.invoices.issuing import NOTHING_WRITTEN, LinesOf, issue_all
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceLine, InvoiceStatus
from invoicing.invoices.operations import apply_payment, locked_invoice, nothing_due
from invoicing.invoices.queries import OWED
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.operations import NewEntry, post_entries
from invoicing.payments.push import plan_pushes
from invoicing.run_proposals.queries import signed_run_with
from invoicing.workflows.compute_invoice import ComputedInvoice, compute_invoice
from invoicing.workflows.hash_events import hashing_ahead
from invoicing.workflows.pre_issue_gate import ask_gate, gate_for, reasons_of
from metering.rollup import roll_up


def issue_invoice(*, invoice_id: int, at: datetime, actor: str, reason: str) -> Invoice:
    """Issue a draft that people have looked at, exactly as they saw it; a second time changes nothing.

    Raises Conflict (code `outdated`) where it would be another invoice today, because usage has arrived or
    the contract has changed since it was made: `refresh_draft` brings it up to date. Raises Conflict (code `held`)
    where the gate holds it: it is put into the queue of held invoices, unless the caller takes that back. Raises Conflict
    (code `signed`) where it is part of a signed run: issued alone, the run would not be the one that was signed.
    """
    roll_up()
    with transaction.atomic():
        draft = locked_invoice(invoice_id=invoice_id)
        held = None
        if draft.status == InvoiceStatus.DRAFT and draft.kind == InvoiceKind.PERIOD:
            refuse_signed(draft=draft)
            today = _as_of_today(draft).assembled
            _refuse_outdated(draft, today)
            held = _ask_gate(draft, today, at=at)
        if held is None:
            return issue_computed(invoice_id=invoice_id, at=at, actor=actor, reason=reason)
    # Raised when the hold is kept.
    raise Conflict(f"it is held: {reasons_of(held=held)}; release it with a reason, then issue it", code="held")


def _ask_gate(draft: Invoice, assembled: AssembledInvoice, *, at: datetime) -> InvoiceHold | None:
    gate = gate_for(due=[(draft.customer, assembled.period)])
    return ask_gate(gate=gate, invoice=draft, assembled=assembled, at=at)


def refresh_draft(*, invoice_id: int, at: datetime, actor: str, reason: str) -> Invoice:
    """Compute a draft again from today's usage and contract; one that says the same, or is issued, stays untouched."""
    roll_up()
    return hashing_ahead(partial(refresh_from_windows, invoice_id=invoice_id, at=at, actor=actor, reason=reason), at=at)


@transaction.atomic
def refresh_from_windows(*, invoice_id: int, at: datetime, actor: str, reason: str) -> Invoice:
    """Do what `refresh_draft` does, from the usage that is in the windows already."""
    draft = locked_invoice(invoice_id=invoice_id)
    if draft.status != InvoiceStatus.DRAFT or draft.kind != InvoiceKind.PERIOD:
        return draft
    computed = _as_of_today(draft)
    refreshed = save_draft(
        customer=draft.customer,
        assembled=computed.assembled,
        sources=computed.contract.sources,
        run=draft.billing_run,
        at=at,
        actor=actor,
        reason=reason,
    )
    if draft.period_end <= at:
        _ask_gate(refreshed, computed.assembled, at=at)
    return refreshed


@transaction.atomic
def issue_computed(*, invoice_id: int, at: datetime, actor: str, reason: str) -> Invoice:
    """Issue a draft that was computed in this transaction, as `issue_all_computed` does; what is issued already is left as it is."""
    invoice = locked_invoice(invoice_id=invoice_id)
    if invoice.status in OWED:
        return invoice
    [issued] = issue_all_computed(invoices=[invoice], at=at, actor=actor, reason=reason)
    return issued


def issue_all_computed(
    *, invoices: Sequence[Invoice], at: datetime, actor: str, reason: str, written: LinesOf = NOTHING_WRITTEN
) -> list[Invoice]:
    """Issue drafts that were computed in this transaction, post them to the books and plan their push; they are locked with their customers.

    An invoice over nothing is paid at once and goes nowhere. Raises Conflict as `issue_all` does, which says what was `written`.
    """
    issued = issue_all(invoices=invoices, at=at, actor=actor, reason=reason, written=written)
    for invoice, lines in issued:
        if drawn := _drawn(lines):
            assert invoice.number is not None
            draw_credits(
                drawn={grant.pk: amount for grant, amount in drawn.items()},
                invoice_number=invoice.number,
                at=at,
                actor=actor,
            )
    post_entries(entries=[_entry(invoice, lines) for invoice, lines in issued])
    plan_pushes(
        invoices=[
            invoice
            for invoice in invoices
            if invoice.settlement_channel == SettlementChannel.STRIPE and not nothing_due(invoice=invoice)
        ]
    )
    return [_paid_where_nothing_is_due(invoice, at=at, actor=actor) for invoice in invoices]


def _drawn(lines: Sequence[InvoiceLine]) -> dict[CreditGrant, Money]:
    return {line.credit_grant: line.amount * -1 for line in lines if line.credit_grant_id and line.credit_grant}


def _entry(invoice: Invoice, lines: Sequence[InvoiceLine]) -> NewEntry:
    """Return what an issued invoice says to the books."""
    assert invoice.number is not None and invoice.issued_at is not None, "it is issued"
    drawn = _drawn(lines)

    def paid(kind: CreditKind) -> Money:
        return total((-amount for grant, amount in drawn.items() if grant.kind == kind), invoice.currency)

    return NewEntry(
        kind=JournalEntry.Kind.ISSUE,
        reference=invoice.number,
        postings=postings_for_issue(
            total=invoice.total,
            currency=invoice.currency,
            beside={
                # What is owed to the tax office is never revenue.
                TAX_PAYABLE: invoice.tax_amount or from_minor_units(0, invoice.currency),
                # What credit pays is earned beside what the customer owes.
                PREPAID_CREDIT: paid(CreditKind.PREPAID),
                PROMOTIONAL_CREDIT: paid(CreditKind.PROMOTIONAL),
                # An invoice that sells credit draws none.
                **credited_beside(lines=lines),
            },
        ),
        description=f"Invoice {invoice.number}, {invoice.customer_name}"[:300],
        occurred_at=invoice.issued_at,
        entity=invoice.customer.seller_key,
    )


def _paid_where_nothing_is_due(invoice: Invoice, *, at: datetime, actor: str) -> Invoice:
    if not nothing_due(invoice=invoice):
        return invoice
    nothing = from_minor_units(0, invoice.currency)
    return apply_payment(invoice_id=invoice.pk, amount=nothing, paid_at=at, actor=actor, reason="nothing is due")


def refuse_signed(*, draft: Invoice) -> None:
    """Raise Conflict (code `signed`) where a draft is part of a signed run: the run would be another one."""
    if run := signed_run_with(draft=draft):
        raise Conflict(
            f"it is part of a signed run ({run}): issue that run, or make its figures again to take the signature back",
            code="signed",
        )


def _refuse_outdated(draft: Invoice, today: AssembledInvoice) -> None:
    if today.digest != draft.content_digest:
        then, now = (f"{money.currency.code} {plain(money.amount)}" for money in (draft.total, today.total))
        difference = (
            f"it says {then}, today it would be {now}" if then != now else f"its lines are others today ({now})"
        )
        raise Conflict(f"{draft} is outdated: {difference}; refresh it and look again", code="outdated")


def _as_of_today(draft: Invoice) -> ComputedInvoice:
    period = Period(as_utc(draft.period_start), as_utc(draft.period_end))
    return compute_invoice(customer=draft.customer, period=period, until=period.end)
