"""One billing run: every period that is due becomes a draft, or an issued invoice, exactly once."""

from collections.abc import Callable
from datetime import datetime
from functools import partial

from django.db import transaction

from billing_site.kernel.period import Period
from invoicing.customers.models import Customer
from invoicing.customers.operations import lock_customer
from invoicing.invoices.models import BillingRun, Invoice, InvoiceStatus
from invoicing.invoices.operations import save_draft
from invoicing.workflows.compute_invoice import compute_invoice
from invoicing.workflows.hash_events import hashing_ahead
from invoicing.workflows.issue_invoice import issue_computed
from invoicing.workflows.run_report import RunReport, due_in_batches, failures_told, note_grace, settle_first
from metering.rollup import roll_up

Progress = Callable[[int, int], None]


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
    draft: late usage still joins it (S0-060, S0-062). What is late for earlier invoices is settled first. Each customer and period is a transaction of its own: a crash leaves whole invoices or none,
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
    batches = due_in_batches(as_of=as_of, customer_key=customer_key, report=report)
    # The oldest periods first: what is settled late goes to the next invoice.
    due = sorted((pair for batch in batches for pair in batch.due), key=lambda pair: (pair[1].end, pair[0].pk))
    run = BillingRun.objects.create(as_of=as_of, started_at=at)
    reason = f"billing run {run.pk} as of {as_of:%Y-%m-%d %H:%M} UTC"
    for done, (customer, period) in enumerate(due, start=1):
        with failures_told(report, customer, period):
            bill = partial(_bill, customer, period, report, run, at=at, actor=actor, reason=reason, finish=finish)
            report.invoices.append(hashing_ahead(bill, at=at))
        if progress is not None:
            progress(done, len(due))
    run.finished_at = at
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
    return report


@transaction.atomic
def _bill(
    customer: Customer,
    period: Period,
    report: RunReport,
    run: BillingRun,
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
    return (_keep_draft if waits else finish)(invoice_id=invoice.pk, at=at, actor=actor, reason=reason)
