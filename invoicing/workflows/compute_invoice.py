"""Gather → rate → assemble: the invoice of one customer and period, without writing anything.

Billing, preview, portal estimate and API preview are this one function with different arguments.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from billing_site.kernel.period import Period
from invoicing.core.assembly import AssembledInvoice, assemble
from invoicing.core.contract import Charge, Usage
from invoicing.core.rating import rate_charge
from invoicing.customers.models import Customer
from invoicing.subscriptions.snapshot import Contract, contract_at
from metering.queries import MeterUsage, billing_usage
from metering.queries.billing import no_usage


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
    charges = contract.snapshot.charges
    usage = _usage_of(charges, customer=customer, until=until)
    lines = tuple(
        rate_charge(
            charge=charge,
            usage=usage[charge.service_period][charge.meter] if charge.meter is not None else None,
            currency=contract.snapshot.currency,
        )
        for charge in charges
    )
    return ComputedInvoice(assembled=assemble(snapshot=contract.snapshot, lines=lines), contract=contract)


def _usage_of(charges: Sequence[Charge], *, customer: Customer, until: datetime) -> dict[Period, dict[str, Usage]]:
    """Return what each meter counted in each service period: one query a service period, not a charge."""
    meters: dict[Period, set[str]] = {}
    for charge in charges:
        if charge.meter is not None:
            meters.setdefault(charge.service_period, set()).add(charge.meter)
    return {
        service: {
            meter: Usage(
                meter=meter,
                quantity=measured.quantity,
                window_count=measured.window_count,
                event_count=measured.event_count,
                windows_digest=measured.windows_digest,
                known_through=measured.known_through,
            )
            for meter, measured in _measured(sorted(keys), service, customer=customer, until=until).items()
        }
        for service, keys in meters.items()
    }


def _measured(keys: list[str], service: Period, *, customer: Customer, until: datetime) -> dict[str, MeterUsage]:
    if until <= service.start:
        # A preview at the first moment of a service, or before it: nothing can have been used yet.
        return dict.fromkeys(keys, no_usage())
    counted = replace(service, end=min(service.end, until))
    return billing_usage(customer_id=customer.key, meter_keys=keys, period=counted)
