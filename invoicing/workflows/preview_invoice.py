"""The invoice as it would be: the running period up to a moment."""

from datetime import datetime
from zoneinfo import ZoneInfo

from billing_site.kernel.errors import Conflict, NotFound
from invoicing.customers.models import Customer
from invoicing.customers.queries import customer_by_key
from invoicing.subscriptions.snapshot import periods_running
from invoicing.workflows.compute_invoice import ComputedInvoice, compute_invoice
from invoicing.workflows.invoices_to_come import invoices_before
from metering.rollup import roll_up


def preview_invoice(*, customer_key: str, as_of: datetime) -> ComputedInvoice:
    """Compute the invoice of the period that runs at `as_of`, with the usage before that moment.

    It is the same computation as the billing run's, without writing the result; what is due before and not issued yet comes first. Raises NotFound
    for an unknown customer or one without a subscription at that moment, Conflict (code `billed_to_another`) for an account, which gets no invoice.
    """
    customer = customer_by_key(key=customer_key)
    if customer.billed_to is not None:
        message = f"{customer.key} gets no invoice of its own: it is billed to {customer.billed_to.key}"
        raise Conflict(message, field="customer_id", code="billed_to_another")
    periods = periods_running(customer=customer, moment=as_of)
    if not periods:
        raise NotFound(_why_not(customer, as_of), field="as_of")
    roll_up()
    before = invoices_before(customer=customer, period=periods[0])
    return compute_invoice(customer=customer, period=periods[0], until=as_of, computed=before)


def _why_not(customer: Customer, at: datetime) -> str:
    """Say in the customer's time why nothing runs: nothing ever did, it has ended, or it begins later."""
    moment = f"{at.astimezone(ZoneInfo(customer.timezone)):%Y-%m-%d %H:%M} ({customer.timezone})"
    starts = list(customer.subscriptions.values_list("started_at", flat=True))
    if not starts:
        return f"there is no subscription of {customer.key}"
    if all(started_at > at for started_at in starts):
        return f"no subscription of {customer.key} has begun by {moment}"
    return f"no subscription of {customer.key} runs at {moment}"
