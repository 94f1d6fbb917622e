"""What billing runs and their previews share: what is due, what waits for late usage, and what could not be billed."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from django.db import DataError, IntegrityError
from moneyed import Money

from billing_site.kernel.among import among, among_found
from billing_site.kernel.errors import BillingError
from billing_site.kernel.garbage import set_aside, uncollected
from billing_site.kernel.period import Period, as_utc
from invoicing.core.contract import Charge
from invoicing.customers.models import Customer
from invoicing.customers.queries import customer_by_key
from invoicing.invoices.drafting import drop_drafts
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.subscriptions.agreements import Agreements, agreements_of
from invoicing.subscriptions.queries import who_is_billed
from invoicing.subscriptions.snapshot import periods_agreed
from invoicing.workflows.settle_late_usage import settle_counted_changes

logger = logging.getLogger(__name__)

BATCH_CUSTOMERS = 1_000
# A rule of the business, a broken assertion, a rule of the database, a figure that no column holds.
OF_ONE_CUSTOMER = (BillingError, AssertionError, IntegrityError, DataError, ArithmeticError)


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


@dataclass(frozen=True)
class HeldInvoice:
    """One customer and period whose draft the gate holds, and what it found."""

    customer: str
    period: Period
    reasons: str


@dataclass(frozen=True)
class InvoicePreview:
    """What the invoice of one customer and period would come to; its lines are `compute_invoice`'s, made where they are read."""

    customer: Customer
    period: Period
    total: Money


@dataclass
class RunReport:
    """What a billing run did: its invoices in order, what waits for late usage or is held, and what it could not bill.

    Of very many invoices it keeps their keys, and how many of them are drafts; `invoices` reads them when it is asked first.
    """

    invoice_keys: list[int] = field(default_factory=list)
    draft_count: int = 0
    previews: list[InvoicePreview] = field(default_factory=list)
    waiting: list[WaitingPeriod] = field(default_factory=list)
    held: list[HeldInvoice] = field(default_factory=list)
    failures: list[BillingFailure] = field(default_factory=list)

    @cached_property
    def invoices(self) -> list[Invoice]:
        """Return the invoices with their customers, in the order of the run."""
        rows = Invoice.objects.select_related("customer").in_bulk(self.invoice_keys)
        return [rows[key] for key in self.invoice_keys]

    def add(self, part: "RunReport") -> None:
        """Put what a part of the run did behind what is told already."""
        self.invoice_keys += part.invoice_keys
        self.draft_count += part.draft_count
        self.previews += part.previews
        self.waiting += part.waiting
        self.held += part.held
        self.failures += part.failures


@dataclass(frozen=True)
class DueBatch:
    """Some customers with the periods that are due, oldest first of each, and what they agreed to."""

    due: list[tuple[Customer, Period]]
    agreements: Agreements


def settle_first(report: RunReport, *, at: datetime, customer_key: str) -> None:
    """Settle what is late for earlier invoices, before anything is billed."""
    for customer, message in settle_counted_changes(at=at, customer_key=customer_key).failures:
        report.failures.append(BillingFailure(customer, None, f"late usage: {message}"))


def due_in_batches(*, as_of: datetime, customer_key: str, report: RunReport) -> Iterator[DueBatch]:
    """Return the customers with the periods that have ended by `as_of` and have no issued invoice, as they are looked at; queries count by batch.

    Drafts of periods in which nothing is charged any more, since the contract has changed, are deleted: they would hold what
    nobody will pay. Raises NotFound at once where there is no such customer.
    """
    numbers = (
        [customer_by_key(key=customer_key, field="customer").payer_id]
        if customer_key
        else list(who_is_billed().order_by("id").values_list("pk", flat=True))
    )
    return _due_of_numbers(numbers, as_of, report)


def _due_of_numbers(numbers: Sequence[int], as_of: datetime, report: RunReport) -> Iterator[DueBatch]:
    with set_aside():
        for first in range(0, len(numbers), BATCH_CUSTOMERS):
            with uncollected():
                batch = list(
                    Customer.objects.filter(among("pk", numbers[first : first + BATCH_CUSTOMERS])).order_by("id")
                )
                agreements = agreements_of(customers=batch)
                if _drop_stale_drafts(batch, agreements):
                    agreements = agreements_of(customers=batch)
                due = due_of(customers=batch, agreements=agreements, as_of=as_of, report=report)
            yield DueBatch(due, agreements)


def due_of(
    *, customers: Sequence[Customer], agreements: Agreements, as_of: datetime, report: RunReport
) -> list[tuple[Customer, Period]]:
    """Return the periods of customers that have ended by `as_of` and have no issued invoice; what fails is in the report."""
    issued = set(
        Invoice.objects.filter(among("customer", [customer.pk for customer in customers]))
        .exclude(status__in=(InvoiceStatus.DRAFT, InvoiceStatus.VOID))
        .values_list("customer_id", "period_start", "period_end")
    )
    due: list[tuple[Customer, Period]] = []
    for customer in customers:
        with failures_told(report, customer.key, None):
            due += [
                (customer, period)
                for period in periods_agreed(agreements=agreements, customer=customer, until=as_of)
                if (customer.pk, period.start, period.end) not in issued
            ]
    return due


def _drop_stale_drafts(customers: Sequence[Customer], agreements: Agreements) -> int:
    """Delete the drafts of customers that stand for no period in which they are charged, and return how many."""
    drafts: dict[int, dict[Period, int]] = {}
    rows = Invoice.objects.filter(
        among("customer", [customer.pk for customer in customers]),
        among_found("status", [InvoiceStatus.DRAFT.value]),
    )
    for number, customer_id, start, end in rows.values_list("id", "customer_id", "period_start", "period_end"):
        drafts.setdefault(customer_id, {})[Period(as_utc(start), as_utc(end))] = number
    stale: list[int] = []
    for customer in customers:
        if of_customer := drafts.get(customer.pk):
            until = max(period.end for period in of_customer)
            try:
                charged = set(periods_agreed(agreements=agreements, customer=customer, until=until))
            except OF_ONE_CUSTOMER:
                # It is told where its periods are asked for.
                continue
            stale += [number for period, number in of_customer.items() if period not in charged]
    return drop_drafts(invoice_ids=stale, actor="billing", reason="nothing is charged in its period any more")


def note_grace(
    report: RunReport, customer: Customer, period: Period, *, charges: Iterable[Charge], known_at: datetime
) -> bool:
    """Put a period whose grace is not over into the report, and say whether it is one.

    Where none of its charges counts usage, as on an opening invoice of fees in advance, there is nothing to wait for.
    """
    until = period.end + timedelta(hours=customer.grace_hours)
    if not customer.grace_hours or until <= known_at or all(charge.meter is None for charge in charges):
        return False
    report.waiting.append(WaitingPeriod(customer.key, period, until))
    return True


def note_missing_tax(report: RunReport, customer: Customer, period: Period, *, missing: Sequence[str]) -> None:
    """Put what has to be known before an invoice can be taxed, and so issued, into the report."""
    if missing:
        message = f"it cannot be taxed, so it stays a draft; it is not known: {'; '.join(missing)}"
        report.failures.append(BillingFailure(customer.key, period, message))


class failures_told:  # noqa: N801 - reads as a sentence: with failures_told(...)
    """Put an anticipated failure into the report and go on with the next customer."""

    def __init__(self, report: RunReport, customer: str, period: Period | None) -> None:
        self.report, self.customer, self.period = report, customer, period

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: object) -> bool:
        # What is wrong with one customer holds back this customer, not the whole run.
        if not isinstance(problem, OF_ONE_CUSTOMER):
            return False
        tell_failure(self.report, self.customer, self.period, problem)
        return True


def tell_failure(report: RunReport, customer: str, period: Period | None, problem: Exception) -> None:
    """Put into the report why a customer could not be billed; what nobody anticipated is logged with its trace."""
    if isinstance(problem, BillingError):
        logger.info("billing of %s failed: %s", customer, problem)
    else:
        logger.error("billing of %s failed", customer, exc_info=problem)
    message = str(problem).partition("\n")[0] or f"an internal check failed ({type(problem).__name__})"
    report.failures.append(BillingFailure(customer, period, message))
