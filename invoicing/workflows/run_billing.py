"""One billing run: every period that is due becomes a draft, or an issued invoice, exactly once."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import DataError, IntegrityError, transaction

from billing_site.kernel.errors import BillingError
from billing_site.kernel.period import Period
from invoicing.customers.models import Customer
from invoicing.customers.operations import lock_customer
from invoicing.customers.queries import customer_by_key
from invoicing.invoices.models import BillingRun, Invoice, InvoiceStatus
from invoicing.invoices.operations import save_draft
from invoicing.subscriptions.snapshot import periods_due
from invoicing.workflows.compute_invoice import ComputedInvoice, compute_invoice
from invoicing.workflows.issue_invoice import issue_computed
from invoicing.workflows.settle_late_usage import settle_counted_changes
from metering.rollup import roll_up

logger = logging.getLogger(__name__)

# A rule of the business, a broken assertion, a rule of the database, a figure that no column holds.
OF_ONE_CUSTOMER = (BillingError, AssertionError, IntegrityError, DataError, ArithmeticError)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class BillingFailure:
    """One customer and period that could not be billed, and why."""

    customer: str
    period: Period | None
    message: str


@dataclass(frozen=True)
class WaitingPeriod:
    """One customer and period that has ended and is not issued before its grace is over (S0-062)."""

    customer: str
    period: Period
    until: datetime


@dataclass
class RunReport:
    """What a billing run did: its invoices in order, what waits for late usage, and what it could not bill."""

    invoices: list[Invoice] = field(default_factory=list)
    previews: list[ComputedInvoice] = field(default_factory=list)
    waiting: list[WaitingPeriod] = field(default_factory=list)
    failures: list[BillingFailure] = field(default_factory=list)


def preview_billing(*, as_of: datetime, customer_key: str = "") -> RunReport:
    """Compute what a run would make of the periods that ended by `as_of`; keeps nothing but usage windows.

    Late usage is settled as the run would settle it, and taken back.
    """
    roll_up()
    report = RunReport()
    with transaction.atomic():
        _settle_late_usage(report, at=as_of, customer_key=customer_key)
        for customer, period in _due(as_of=as_of, customer_key=customer_key, report=report):
            with _failures_told(report, customer, period):
                with transaction.atomic():
                    computed = compute_invoice(customer=customer, period=period, until=period.end)
                report.previews.append(computed)
            _note_grace(report, customer, period, known_at=as_of)
        transaction.set_rollback(True)
    return report


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

    A period that ended less than its customer's grace ago, by `as_of` and by `at`, stays a draft: late usage still
    joins it (S0-060, S0-062). What is late for earlier invoices is settled first. Each customer and period is a transaction of its own: a crash leaves whole invoices or none,
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
    _settle_late_usage(report, at=at, customer_key=customer_key)
    due = list(_due(as_of=as_of, customer_key=customer_key, report=report))
    run = BillingRun.objects.create(as_of=as_of, started_at=at)
    reason = f"billing run {run.pk} as of {as_of:%Y-%m-%d %H:%M} UTC"
    for done, (customer, period) in enumerate(due, start=1):
        waits = _note_grace(report, customer, period, known_at=min(as_of, at))
        end = _keep_draft if waits else finish
        with _failures_told(report, customer, period):
            report.invoices.append(_bill(customer, period, run=run, at=at, actor=actor, reason=reason, finish=end))
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


def _settle_late_usage(report: RunReport, *, at: datetime, customer_key: str) -> None:
    for customer, message in settle_counted_changes(at=at, customer_key=customer_key).failures:
        report.failures.append(BillingFailure(customer, None, f"late usage: {message}"))


def _note_grace(report: RunReport, customer: Customer, period: Period, *, known_at: datetime) -> bool:
    """Put a period whose grace is not over into the report, and say whether it is one."""
    until = period.end + timedelta(hours=customer.grace_hours)
    if not customer.grace_hours or until <= known_at:
        return False
    report.waiting.append(WaitingPeriod(customer.key, period, until))
    return True


@transaction.atomic
def _bill(
    customer: Customer,
    period: Period,
    *,
    run: BillingRun,
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
    return finish(invoice_id=invoice.pk, at=at, actor=actor, reason=reason)


def _due(*, as_of: datetime, customer_key: str, report: RunReport) -> Iterator[tuple[Customer, Period]]:
    """Yield each customer and period that has ended by `as_of` and has no issued invoice, oldest period first."""
    customers = (
        [customer_by_key(key=customer_key, field="customer")]
        if customer_key
        else list(Customer.objects.filter(subscriptions__isnull=False).distinct().order_by("id"))
    )
    issued = set(
        Invoice.objects.filter(customer__in=customers)
        .exclude(status__in=(InvoiceStatus.DRAFT, InvoiceStatus.VOID))
        .values_list("customer_id", "period_start", "period_end")
    )
    due: list[tuple[Customer, Period]] = []
    for customer in customers:
        with _failures_told(report, customer, None):
            due += [
                (customer, period)
                for period in periods_due(customer=customer, until=as_of)
                if (customer.pk, period.start, period.end) not in issued
            ]
    yield from sorted(due, key=lambda pair: (pair[1].end, pair[0].pk))


class _failures_told:  # noqa: N801 - reads as a sentence: with _failures_told(...)
    """Put an anticipated failure into the report and go on with the next customer."""

    def __init__(self, report: RunReport, customer: Customer, period: Period | None) -> None:
        self.report, self.customer, self.period = report, customer, period

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: object) -> bool:
        # What is wrong with one customer holds back this customer, not the whole run; it is logged with its trace.
        if not isinstance(problem, OF_ONE_CUSTOMER):
            return False
        if isinstance(problem, BillingError):
            logger.info("billing of %s failed: %s", self.customer.key, problem)
        else:
            logger.error("billing of %s failed", self.customer.key, exc_info=problem)
        message = str(problem).partition("\n")[0] or f"an internal check failed ({kind.__name__ if kind else ''})"
        self.report.failures.append(BillingFailure(self.customer.key, self.period, message))
        return True
