"""Gather → rate → assemble: the invoice of one customer and period, without writing anything.

Billing, preview, portal estimate and API preview are this one function with different arguments.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from billing_site.kernel.period import Period
from invoicing.core.assembly import AssembledInvoice, assemble
from invoicing.core.contract import Charge, Usage
from invoicing.core.rating import rate_charge
from invoicing.customers.models import Customer
from invoicing.subscriptions.snapshot import Contract, contract_at
from metering.queries import billing_usage
from metering.queries.billing import usage_of_hours


@dataclass(frozen=True)
class ComputedInvoice:
    """An assembled invoice and the contract that it was computed from."""

    assembled: AssembledInvoice
    contract: Contract


def compute_invoice(*, customer: Customer, period: Period, until: datetime) -> ComputedInvoice:
    """Rate the usage of `period` up to `until` (exclusive) under the contract at that period.

    Usage is read from the rolled-up windows, so roll up first; every charge counts usage only in
    its own service period, so that each event is rated exactly once.
    """
    contract = contract_at(customer=customer, period=period)
    lines = tuple(
        rate_charge(
            charge=charge,
            usage=_usage_of(charge, customer=customer, until=until),
            currency=contract.snapshot.currency,
        )
        for charge in contract.snapshot.charges
    )
    return ComputedInvoice(assembled=assemble(snapshot=contract.snapshot, lines=lines), contract=contract)


def _usage_of(charge: Charge, *, customer: Customer, until: datetime) -> Usage | None:
    if charge.meter is None:
        return None
    if until <= charge.service_period.start:
        # A preview at the first moment of a service, or before it: nothing can have been used yet.
        measured = usage_of_hours(hours=(), known_through=0)
    else:
        counted = replace(charge.service_period, end=min(charge.service_period.end, until))
        measured = billing_usage(customer_id=customer.key, meter_keys=[charge.meter], period=counted)[charge.meter]
    return Usage(
        meter=charge.meter,
        quantity=measured.quantity,
        window_count=measured.window_count,
        event_count=measured.event_count,
        windows_digest=measured.windows_digest,
        known_through=measured.known_through,
    )
