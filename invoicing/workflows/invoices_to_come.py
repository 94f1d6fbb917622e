"""Invoices as they would be, one after the other: each settles, draws and carries what those before it leave."""

from collections.abc import Sequence
from datetime import datetime

from billing_site.kernel.errors import BillingError
from billing_site.kernel.period import Period, as_utc
from invoicing.core.contract import AssembledInvoice
from invoicing.customers.models import Customer
from invoicing.invoices.models import InvoiceKind, InvoiceStatus
from invoicing.subscriptions.snapshot import periods_due, periods_running
from invoicing.workflows.compute_invoice import compute_invoice


def invoices_before(*, customer: Customer, period: Period) -> list[AssembledInvoice]:
    """Compute the invoices that are due before that of a period and not issued yet, in the order in which they are billed.

    One that cannot be computed is told where it is billed, and left out here.
    """
    due = (one for one in _due(customer, until=period.end) if billing_order(one) < billing_order(period))
    computed: list[AssembledInvoice] = []
    for one in due:
        try:
            computed.append(compute_invoice(customer=customer, period=one, until=one.end, computed=computed).assembled)
        except BillingError:
            continue
    return computed


def invoices_of(*, customer: Customer, periods: Sequence[Period], at: datetime) -> list[AssembledInvoice]:
    """Compute the invoices of periods with the usage before `at`, after those that are due before and not issued yet.

    In the order in which they are given, which should be that in which they are billed: by their ends.
    """
    invoices = invoices_before(customer=customer, period=periods[0]) if periods else []
    before = len(invoices)
    for period in periods:
        computed = compute_invoice(customer=customer, period=period, until=as_utc(at), computed=invoices)
        invoices.append(computed.assembled)
    return invoices[before:]


def invoices_to_come(*, customer: Customer, at: datetime) -> list[AssembledInvoice]:
    """Compute what is due at a moment and not issued yet, and then the periods that run, with the usage before it."""
    due = _due(customer, until=at)
    running = [period for period in periods_running(customer=customer, moment=at) if period not in due]
    return invoices_of(customer=customer, periods=[*due, *sorted(running, key=billing_order)], at=at)


def _due(customer: Customer, *, until: datetime) -> list[Period]:
    issued = _issued(customer)
    due = (period for period in periods_due(customer=customer, until=until) if period not in issued)
    return sorted(due, key=billing_order)


def _issued(customer: Customer) -> set[Period]:
    rows = customer.payer.invoices.filter(kind=InvoiceKind.PERIOD).exclude(
        status__in=(InvoiceStatus.DRAFT, InvoiceStatus.VOID)
    )
    return {Period(as_utc(start), as_utc(end)) for start, end in rows.values_list("period_start", "period_end")}


def billing_order(period: Period) -> tuple[datetime, datetime]:
    """Sort periods as they are billed."""
    return period.end, period.start
