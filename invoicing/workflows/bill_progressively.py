"""Progressive billing: whose usage of a running period has reached the threshold is invoiced at once, and the period's invoice takes that off.

The sweep is cheap where nothing happens: it computes customers with a threshold whose usage moved since they were seen, and
everybody who has one once a day, because contracts, discounts and credit move what is charged without an event.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from moneyed import Money

from billing_site.kernel.errors import Conflict
from billing_site.kernel.money import wire
from billing_site.kernel.period import Period
from invoicing.core.assembly import amounts_after_credit
from invoicing.core.one_off import assemble_progressive
from invoicing.core.progressive import ProgressiveLine, amount_of_lines, progressive_lines
from invoicing.customers.models import Customer
from invoicing.customers.operations import lock_customer
from invoicing.customers.queries import names_of_accounts
from invoicing.invoices.models import Invoice, InvoiceStatus, ProgressiveInvoice
from invoicing.invoices.one_off import day_of
from invoicing.invoices.progressive import is_invoiced, progressive_of_period, save_progressive
from invoicing.invoices.taxes import tax_terms_once
from invoicing.payments.disputes import is_frozen
from invoicing.progressive.models import ProgressiveThreshold
from invoicing.subscriptions.snapshot import periods_running
from invoicing.workflows.compute_invoice import compute_so_far
from invoicing.workflows.issue_invoice import issue_computed
from invoicing.workflows.run_report import OF_ONE_CUSTOMER
from metering.queries.touched import customers_touched
from metering.rollup import roll_up

logger = logging.getLogger(__name__)

# Contracts, prices and credit move what is charged without an event.
LOOK_AGAIN_AFTER = timedelta(days=1)
# What could not be invoiced is tried again: tax data may be there, a dispute won.
TRY_AGAIN_AFTER = timedelta(hours=1)
ACTOR = "progressive threshold"
STOPPED = "its last invoice was declared void: set the threshold again to go on"
PAYS_FOR_OTHERS = "it pays for other accounts: what they use is invoiced when the period ends"
FROZEN = "nothing is charged by itself while a payment is disputed"


@dataclass
class ProgressiveReport:
    """What a sweep did: how many thresholds it looked at, what it invoiced, and for whom nothing could be computed."""

    looked_at: int = 0
    made: list[Invoice] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class _Seen:
    """What was seen of one customer: what no invoice has yet, what was invoiced now, and why nothing is."""

    open: Money | None = None
    made: list[Invoice] = field(default_factory=list)
    problem: str = ""


def sweep_progressive(*, at: datetime) -> ProgressiveReport:
    """Look at each threshold in force whose customer's usage moved since it was seen, or that was not seen for a day, or where it has a problem for an hour.

    It may run twice or at once: each customer is a transaction under its lock, and each place in a period is taken once.
    """
    report = ProgressiveReport()
    thresholds = list(ProgressiveThreshold.objects.filter(retired_at=None).select_related("customer").order_by("id"))
    if not thresholds:
        return report
    mark = roll_up().rolled_up_to
    for threshold in _to_look_at(thresholds, mark=mark, at=at):
        report.looked_at += 1
        try:
            report.made += bill_progressively(threshold_id=threshold.pk, at=at)
        except OF_ONE_CUSTOMER as problem:
            logger.error("progressive billing of %s failed", threshold.customer.key, exc_info=problem)
            message = (str(problem).partition("\n")[0] or type(problem).__name__)[:500]
            ProgressiveThreshold.objects.filter(pk=threshold.pk).update(seen_at=at, problem=message)
            report.failures.append((threshold.customer.key, message))
    seen = ProgressiveThreshold.objects.filter(pk__in=[one.pk for one in thresholds], seen_through__lt=mark)
    seen.update(seen_through=mark)
    return report


@transaction.atomic
def bill_progressively(*, threshold_id: int, at: datetime) -> list[Invoice]:
    """Compare the running periods of a threshold's customer with it, and invoice what has reached it; roll up first.

    What is charged is the usage so far, after all that reduces it and less what progressive invoices of the period took, never more than the
    invoice of the period would ask for if it ended now. Nothing is while tax data is missing (raises Conflict), while a payment of the customer is
    disputed, after the last one was declared void, or for whoever pays for other accounts: the threshold says so.
    """
    found = ProgressiveThreshold.objects.values_list("customer_id", flat=True).get(pk=threshold_id)
    customer = lock_customer(customer_id=found)
    threshold = ProgressiveThreshold.objects.select_for_update(no_key=True).get(pk=threshold_id)
    if threshold.retired_at is not None:
        return []
    seen = _Seen(problem=PAYS_FOR_OTHERS if customer.accounts.exists() else "")
    for period in () if seen.problem else periods_running(customer=customer, moment=at):
        rest = _bill_period(threshold, customer, period, seen, at=at)
        seen.open = rest if seen.open is None else max(seen.open, rest)
    changes: dict[str, object] = {"seen_at": at, "problem": seen.problem}
    if seen.open is not None:
        changes["seen_amount"] = seen.open.amount
    ProgressiveThreshold.objects.filter(pk=threshold.pk).update(**changes)
    return seen.made


def _bill_period(
    threshold: ProgressiveThreshold, customer: Customer, period: Period, seen: _Seen, *, at: datetime
) -> Money:
    """Invoice what has reached the threshold, note it or why nothing is, and return what no invoice has then."""
    computed = compute_so_far(customer=customer, period=period, until=at).assembled
    lines = progressive_lines(invoice=computed, left=amounts_after_credit(invoice=computed), until=at)
    reached = amount_of_lines(lines=lines, currency=customer.currency)
    before = progressive_of_period(customer=customer, period=period)
    asked = _asked(threshold, before)
    if asked is None or reached < asked or is_invoiced(customer=customer, period=period):
        return reached
    if any(one.threshold_id == threshold.pk and one.invoice.status == InvoiceStatus.VOID for one in before):
        seen.problem = STOPPED
    elif is_frozen(customer_id=customer.pk):
        seen.problem = FROZEN
    else:
        seen.made.append(_issued(threshold, customer, period, lines, len(before) + 1, asked=asked, at=at))
        return reached * 0
    return reached


def _asked(threshold: ProgressiveThreshold, before: Sequence[ProgressiveInvoice]) -> Money | None:
    """Return what the usage that no invoice has must come to: the amount at first, then the step, where there is one."""
    stands = any(one.invoice.status != InvoiceStatus.VOID for one in before)
    return threshold.step if stands else threshold.amount


def _issued(
    threshold: ProgressiveThreshold,
    customer: Customer,
    period: Period,
    lines: tuple[ProgressiveLine, ...],
    ordinal: int,
    *,
    asked: Money,
    at: datetime,
) -> Invoice:
    day = day_of(customer=customer, at=at)
    assembled = assemble_progressive(
        customer=customer.key,
        currency=customer.currency,
        period=period,
        lines=lines,
        day=day,
        tax=tax_terms_once(customer=customer, day=day),
    )
    if assembled.tax is not None and assembled.tax.missing:
        missing = "; ".join(assembled.tax.missing)
        raise Conflict(f"it cannot be taxed, it is not known: {missing}", field="tax", code="tax_data_missing")
    reached, least = (wire(money)["amount"] for money in (assembled.subtotal, asked))
    reason = f"{customer.currency} {reached} were used and not invoiced, at least {least}"
    draft = save_progressive(
        customer=customer,
        threshold=threshold,
        assembled=assembled,
        ordinal=ordinal,
        at=at,
        actor=ACTOR,
        reason=reason,
    )
    return issue_computed(invoice_id=draft.pk, at=at, actor=ACTOR, reason=reason)


def _to_look_at(thresholds: list[ProgressiveThreshold], *, mark: int, at: datetime) -> Iterator[ProgressiveThreshold]:
    since = min((one.seen_through for one in thresholds if one.seen_at is not None), default=mark)
    touched = customers_touched(after=since, through=mark) if since < mark else None
    accounts = names_of_accounts(customers=[one.customer for one in thresholds])
    for one in thresholds:
        patience = TRY_AGAIN_AFTER if one.problem else LOOK_AGAIN_AFTER
        is_old = one.seen_at is None or one.seen_at <= at - patience
        used = (one.customer.key, *accounts.get(one.customer_id, ()))
        moved = touched is not None and any(touched.number_of(customer_id=key) > one.seen_through for key in used)
        if is_old or moved:
            yield one
