"""One billing run: every period that is due becomes a draft, or an issued invoice, exactly once."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial

from django.db import connection, transaction

from billing_site.kernel.period import Period
from invoicing.customers.models import Customer
from invoicing.customers.operations import lock_customer
from invoicing.invoices.models import BillingRun, Invoice, InvoiceStatus
from invoicing.invoices.operations import save_draft
from invoicing.invoices.taxes import missing_tax
from invoicing.workflows.compute_invoice import compute_invoice
from invoicing.workflows.gate_facts import Due
from invoicing.workflows.hash_events import hashing_ahead
from invoicing.workflows.issue_invoice import issue_computed
from invoicing.workflows.pre_issue_gate import Gate, ask_gate, gate_for, reasons_of
from invoicing.workflows.run_report import (
    HeldInvoice,
    RunReport,
    due_in_batches,
    failures_told,
    note_grace,
    note_missing_tax,
    settle_first,
)
from metering.rollup import roll_up

Progress = Callable[[int, int], None]
# The gate reads what it knows about so many at once.
BATCH_INVOICES = 500


def draft_billing(*, as_of: datetime, at: datetime, customer_key: str = "", actor: str = "billing run") -> RunReport:
    """Make or refresh the draft of every period that ended by `as_of` and is not issued yet."""
    return _run(as_of=as_of, at=at, customer_key=customer_key, actor=actor, finish=_keep_draft)


def issue_billing(
    *,
    as_of: datetime,
    at: datetime,
    customer_key: str = "",
    actor: str = "billing run",
    progress: Progress | None = None,
) -> RunReport:
    """Draft and issue every period that ended by `as_of`; running it again makes nothing new.

    A period in which usage is charged and that ended less than its customer's grace ago, by `as_of` and by `at`, stays a
    draft: late usage still joins it (S0-060, S0-062). So does one that the gate holds, until somebody releases it (S3-053). What is late for earlier invoices is settled first. Each customer and period is a transaction of its own: a crash leaves whole invoices or none,
    and the next run goes on where it stopped (S0-131).
    """
    return _run(as_of=as_of, at=at, customer_key=customer_key, actor=actor, finish=issue_computed, progress=progress)


def _keep_draft(*, invoice_id: int, at: datetime, actor: str, reason: str) -> Invoice:
    return Invoice.objects.get(pk=invoice_id)


def _run(
    *,
    as_of: datetime,
    at: datetime,
    customer_key: str,
    actor: str,
    finish: Callable[..., Invoice],
    progress: Progress | None = None,
) -> RunReport:
    roll_up()
    report = RunReport()
    settle_first(report, at=at, customer_key=customer_key)
    _bill_all(
        report, as_of=as_of, at=at, customer_key=customer_key, actor=actor, reason="", finish=finish, progress=progress
    )
    return report


def issue_due(*, report: RunReport, as_of: datetime, at: datetime, actor: str, reason: str) -> BillingRun:
    """Issue what is due within the caller's transaction, which has locked everybody who may be billed, and tell it in the report.

    What is late must be rolled up and settled before.
    """
    assert connection.in_atomic_block, "the caller keeps the whole run or takes it back"
    return _bill_all(
        report, as_of=as_of, at=at, customer_key="", actor=actor, reason=reason, finish=issue_computed, progress=None
    )


def _bill_all(
    report: RunReport,
    *,
    as_of: datetime,
    at: datetime,
    customer_key: str,
    actor: str,
    reason: str,
    finish: Callable[..., Invoice],
    progress: Progress | None,
) -> BillingRun:
    batches = due_in_batches(as_of=as_of, customer_key=customer_key, report=report)
    # The oldest periods first: what is settled late goes to the next invoice.
    due = sorted((pair for batch in batches for pair in batch.due), key=lambda pair: (pair[1].end, pair[0].pk))
    run = BillingRun.objects.create(as_of=as_of, started_at=at)
    reason = reason or f"billing run {run.pk} as of {as_of:%Y-%m-%d %H:%M} UTC"
    done = 0
    for batch in _each_customer_once(due):
        gate = gate_for(due=batch)
        for customer, period in batch:
            with failures_told(report, customer, period):
                bill = partial(
                    _bill, customer, period, report, run, gate, at=at, actor=actor, reason=reason, finish=finish
                )
                invoice = hashing_ahead(bill, at=at)
                report.invoices.append(invoice)
                note_missing_tax(report, customer, period, missing=missing_tax(invoice=invoice))
            done += 1
            if progress is not None:
                progress(done, len(due))
    run.finished_at = at
    run.held_count = len(report.held)
    run.drafted_count = sum(invoice.status == InvoiceStatus.DRAFT for invoice in report.invoices)
    run.issued_count = len(report.invoices) - run.drafted_count
    run.failures = [
        {
            "customer": failure.customer,
            "period_start": failure.period.start.isoformat() if failure.period else None,
            "message": failure.message,
        }
        for failure in report.failures
    ]
    run.save()
    return run


def _each_customer_once(due: Sequence[Due]) -> Iterator[list[Due]]:
    """Yield what is due in its order, in batches that name nobody twice: what is known about an invoice includes the one before."""
    batch: dict[int, Due] = {}
    for customer, period in due:
        if customer.pk in batch or len(batch) == BATCH_INVOICES:
            yield list(batch.values())
            batch = {}
        batch[customer.pk] = (customer, period)
    if batch:
        yield list(batch.values())


@transaction.atomic
def _bill(
    customer: Customer,
    period: Period,
    report: RunReport,
    run: BillingRun,
    gate: Gate,
    *,
    at: datetime,
    actor: str,
    reason: str,
    finish: Callable[..., Invoice],
) -> Invoice:
    # Locked before it is computed: no subscription starts or ends between the figures and their issue.
    customer = lock_customer(customer_id=customer.pk)
    computed = compute_invoice(customer=customer, period=period, until=period.end)
    invoice = save_draft(
        customer=customer,
        assembled=computed.assembled,
        sources=computed.contract.sources,
        run=run,
        at=at,
        actor=actor,
        reason=reason,
    )
    charges = computed.contract.snapshot.charges
    waits = note_grace(report, customer, period, charges=charges, known_at=min(run.as_of, at))
    # Usage that is still to come would look silent.
    is_complete = not waits and period.end <= at
    held = ask_gate(gate=gate, invoice=invoice, assembled=computed.assembled, at=at) if is_complete else None
    if held is not None:
        report.held.append(HeldInvoice(customer.key, period, reasons_of(held=held)))
    # Without tax data it stays a draft until somebody says what is missing.
    end = _keep_draft if waits or held or missing_tax(invoice=invoice) else finish
    return end(invoice_id=invoice.pk, at=at, actor=actor, reason=reason)
