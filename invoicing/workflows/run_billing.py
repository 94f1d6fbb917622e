"""One billing run: every period that is due becomes a draft, or an issued invoice, exactly once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import NamedTuple

from django.db import connection, transaction

from billing_site.kernel import clock
from billing_site.kernel.garbage import set_aside, uncollected
from billing_site.kernel.period import Period
from billing_site.kernel.processes import done_beside_each_other
from invoicing.customers.operations import lock_customers
from invoicing.invoices.drafting import NewDraft, save_drafts
from invoicing.invoices.issuing import refuse_unended
from invoicing.invoices.models import BillingRun, InvoiceStatus
from invoicing.invoices.taxes import missing_tax
from invoicing.workflows.ask_stripe_tax import BUDGET, ask_for_periods
from invoicing.workflows.compute_invoice import compute_invoices, ground_of
from invoicing.workflows.hash_events import hashing_ahead
from invoicing.workflows.issue_invoice import issue_all_computed
from invoicing.workflows.pre_issue_gate import ask_gate, gate_for, reasons_of
from invoicing.workflows.run_report import (
    OF_ONE_CUSTOMER,
    HeldInvoice,
    RunReport,
    due_in_batches,
    failures_told,
    note_grace,
    note_missing_tax,
    settle_first,
    tell_failure,
)
from metering.rollup import roll_up

# How many periods are done, and how many are known to be due by then.
Progress = Callable[[int, int], None]
# What is done with drafts of locked customers that may be issued; nothing is where drafts are what is asked for.
Finish = Callable[..., object] | None
# So many customers are locked, billed and committed together.
BATCH_INVOICES = 500


def draft_billing(
    *,
    as_of: datetime,
    at: datetime,
    customer_key: str = "",
    actor: str = "billing run",
    asking: timedelta | None = BUDGET,
    trial_of: str = "",
) -> RunReport:
    """Make or refresh the draft of every period that ended by `as_of` and is not issued yet.

    `asking` is how long Stripe Tax may be asked before, None as long as it takes; `trial_of` names the proposed run that is tried.
    """
    return _run(
        as_of=as_of, at=at, customer_key=customer_key, actor=actor, finish=None, asking=asking, trial_of=trial_of
    )


def issue_billing(
    *,
    as_of: datetime,
    at: datetime,
    customer_key: str = "",
    actor: str = "billing run",
    progress: Progress | None = None,
    processes: int = 1,
    asking: timedelta | None = BUDGET,
) -> RunReport:
    """Draft and issue every period that ended by `as_of`; running it again makes nothing new.

    A period in which usage is charged and that ended less than its customer's grace ago, by `as_of` and by `at`, stays a
    draft: late usage still joins it (S0-060, S0-062). So does one that the gate holds, until somebody releases it (S3-053). What is late for earlier invoices is settled first. Some customers at a time are a transaction of their own: a crash leaves whole invoices or none,
    and the next run goes on where it stopped (S0-131). With more than one of `processes` so many batches are billed at a time; it is
    asked for outside of any transaction.
    """
    return _run(
        as_of=as_of,
        at=at,
        customer_key=customer_key,
        actor=actor,
        finish=issue_all_computed,
        progress=progress,
        processes=processes,
        asking=asking,
    )


def _run(
    *,
    as_of: datetime,
    at: datetime,
    customer_key: str,
    actor: str,
    finish: Finish,
    asking: timedelta | None,
    progress: Progress | None = None,
    processes: int = 1,
    trial_of: str = "",
) -> RunReport:
    roll_up()
    report = RunReport()
    settle_first(report, at=at, customer_key=customer_key)
    # Stripe is asked now, whatever moment the invoices are issued at.
    ask_for_periods(as_of=as_of, at=clock.now(), customer_key=customer_key, budget=asking)
    _bill_all(
        report,
        as_of=as_of,
        at=at,
        customer_key=customer_key,
        actor=actor,
        reason="",
        finish=finish,
        progress=progress,
        processes=processes,
        trial_of=trial_of,
    )
    return report


def issue_due(*, report: RunReport, as_of: datetime, at: datetime, actor: str, reason: str) -> BillingRun:
    """Issue what is due within the caller's transaction, which has locked everybody who may be billed, and tell it in the report.

    What is late must be rolled up and settled before.
    """
    assert connection.in_atomic_block, "the caller keeps the whole run or takes it back"
    return _bill_all(
        report,
        as_of=as_of,
        at=at,
        customer_key="",
        actor=actor,
        reason=reason,
        finish=issue_all_computed,
        progress=None,
        processes=1,
    )


def _bill_all(
    report: RunReport,
    *,
    as_of: datetime,
    at: datetime,
    customer_key: str,
    actor: str,
    reason: str,
    finish: Finish,
    progress: Progress | None,
    processes: int,
    trial_of: str = "",
) -> BillingRun:
    found = (
        [_Due(period.end, customer.pk, customer.key, period) for customer, period in batch.due]
        for batch in due_in_batches(as_of=as_of, customer_key=customer_key, report=report)
    )
    run = BillingRun.objects.create(as_of=as_of, started_at=at, trial_of=trial_of)
    reason = reason or f"billing run {run.pk} as of {as_of:%Y-%m-%d %H:%M} UTC"
    deed = _Deed(run, at, actor, reason, finish)
    known = done = 0

    def batches() -> Iterator[_Batch]:
        nonlocal known
        # Processes begin with what is found first, while the next customers are looked at; one process looks at all of them before.
        for some in found if processes > 1 else [list(chain.from_iterable(found))]:
            # The oldest periods first: what is settled late goes to the next invoice.
            due = sorted(some) if finish is None else _ended(sorted(some), report, at=at)
            known += len(due)
            for batch in _each_customer_once(due):
                yield _Batch(batch, deed)

    try:
        with set_aside():
            for batch, told in _all_billed(batches(), processes=processes):
                report.add(told)
                done += len(batch.due)
                if progress is not None:
                    progress(done, known)
        run.finished_at = at
    finally:
        # A run that breaks off says what it has done until then, and has not ended; one within a transaction is taken back whole.
        if run.finished_at is not None or not connection.in_atomic_block:
            _tell_run(run, report)
    return run


def _tell_run(run: BillingRun, report: RunReport) -> None:
    run.held_count = len(report.held)
    run.drafted_count = report.draft_count
    run.issued_count = len(report.invoice_keys) - report.draft_count
    run.failures = [
        {
            "customer": failure.customer,
            "period_start": failure.period.start.isoformat() if failure.period else None,
            "message": failure.message,
        }
        for failure in report.failures
    ]
    run.save()


def _all_billed(batches: Iterable["_Batch"], *, processes: int) -> Iterator[tuple["_Batch", RunReport]]:
    """Bill batches, and yield each with what is told of it; in one process in their order, in several as they end."""
    if processes == 1:
        for batch in batches:
            yield batch, _bill(batch)
    else:
        yield from done_beside_each_other(_bill, batches, processes=processes, touches=_customers_of)


def _plan_anew() -> None:
    """Let PostgreSQL plan again what triggers ask: a plan that was right for the tables of before the first batch reads them whole, row by row."""
    with connection.cursor() as cursor:
        cursor.execute("DISCARD PLANS")


class _Due(NamedTuple):
    """A customer and a period that is to be billed; of very many of them little is kept. Sorts as they are billed."""

    ends_at: datetime
    customer_id: int
    customer_key: str
    period: Period


def _ended(due: Sequence[_Due], report: RunReport, *, at: datetime) -> list[_Due]:
    """Return what may be issued by now; of what lasts longer it is told why it may not, without computing it."""
    ended: list[_Due] = []
    for one in due:
        with failures_told(report, one.customer_key, one.period):
            refuse_unended(period_end=one.period.end, at=at)
            ended.append(one)
    return ended


def _each_customer_once(due: Sequence[_Due]) -> Iterator[tuple[_Due, ...]]:
    """Yield what is due in its order, in batches that name nobody twice: what is known about an invoice includes the one before."""
    batch: dict[int, _Due] = {}
    for one in due:
        if one.customer_id in batch or len(batch) == BATCH_INVOICES:
            yield tuple(batch.values())
            batch = {}
        batch[one.customer_id] = one
    if batch:
        yield tuple(batch.values())


@dataclass(frozen=True)
class _Deed:
    """How a run bills what is due, and what it does with the drafts that may be issued."""

    run: BillingRun
    at: datetime
    actor: str
    reason: str
    finish: Finish


class _Batch(NamedTuple):
    """Customers, each once, who are billed together, and how."""

    due: tuple[_Due, ...]
    deed: _Deed


def _customers_of(batch: _Batch) -> frozenset[int]:
    return frozenset(one.customer_id for one in batch.due)


def _bill(batch: _Batch) -> RunReport:
    """Bill customers in one transaction; where that fails, in two halves, until it is known of whom it fails."""
    due, deed = batch
    _plan_anew()
    try:
        with uncollected():
            return hashing_ahead(lambda: _billed(due, deed), at=deed.at)
    except OF_ONE_CUSTOMER as problem:
        told = RunReport()
        if len(due) == 1:
            tell_failure(told, due[0].customer_key, due[0].period, problem)
            return told
        middle = len(due) // 2
        for half in (due[:middle], due[middle:]):
            told.add(_bill(_Batch(half, deed)))
        return told


@transaction.atomic
def _billed(batch: Sequence[_Due], deed: _Deed) -> RunReport:
    told = RunReport()
    # Locked before they are computed: no subscription starts or ends between the figures and their issue.
    locked = lock_customers(customer_ids=[one.customer_id for one in batch])
    due = [(locked[one.customer_id], one.period) for one in batch]
    gate = gate_for(due=due)
    computed = compute_invoices(ground=ground_of(customers=list(locked.values())), due=due)
    drafts = [
        NewDraft(customer, one.assembled, one.contract.sources)
        for (customer, _), one in zip(due, computed, strict=True)
    ]
    saved = save_drafts(drafts=drafts, run=deed.run, at=deed.at, actor=deed.actor, reason=deed.reason)
    ready = []
    for (customer, period), one, invoice in zip(due, computed, saved.invoices, strict=True):
        known_at = min(deed.run.as_of, deed.at)
        waits = note_grace(told, customer, period, charges=one.contract.snapshot.charges, known_at=known_at)
        # Usage that is still to come would look silent.
        is_complete = not waits and period.end <= deed.at
        held = ask_gate(gate=gate, invoice=invoice, assembled=one.assembled, at=deed.at) if is_complete else None
        if held is not None:
            told.held.append(HeldInvoice(customer.key, period, reasons_of(held=held)))
        # Without tax data it stays a draft until somebody says what is missing.
        missing = missing_tax(invoice=invoice)
        note_missing_tax(told, customer, period, missing=missing)
        if invoice.status == InvoiceStatus.DRAFT and not (waits or held or missing):
            ready.append(invoice)
    for invoice in ready:
        # It belongs to the run that issues it, whichever drafted it.
        invoice.billing_run = deed.run
    if deed.finish is not None:
        deed.finish(invoices=ready, at=deed.at, actor=deed.actor, reason=deed.reason, written=saved.written)
    told.invoice_keys = [invoice.pk for invoice in saved.invoices]
    told.draft_count = sum(invoice.status == InvoiceStatus.DRAFT for invoice in saved.invoices)
    return told
