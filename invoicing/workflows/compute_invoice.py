"""Gather → rate → assemble: the invoice of one customer and period, without writing anything.

Billing, preview, portal estimate and API preview are this one function with different arguments.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from moneyed import Money

from billing_site.kernel.money import EXACT
from billing_site.kernel.period import Period
from invoicing.core.assembly import AssembledInvoice, assemble
from invoicing.core.contract import Charge, OpenCorrection, Usage
from invoicing.core.figures import CompiledPrices, InvoiceFigures, figures_of
from invoicing.core.rating import rate_charge
from invoicing.customers.models import Customer
from invoicing.invoices.corrections import open_corrections
from invoicing.subscriptions.snapshot import AS_AGREED, Contract, InPlace, contract_at
from metering.queries import MeterUsage, billing_usage, usage_as_known
from metering.queries.billing import no_usage

# What each of some meters counted in a service period.
Measure = Callable[[list[str], Period], dict[str, MeterUsage]]


@dataclass(frozen=True)
class ComputedInvoice:
    """An assembled invoice and the contract that it was computed from."""

    assembled: AssembledInvoice
    contract: Contract


def compute_invoice(*, customer: Customer, period: Period, until: datetime) -> ComputedInvoice:
    """Rate the usage of `period` up to `until` (exclusive) under the contract at that period.

    Usage is read from the rolled-up windows, so roll up first; every charge counts usage only in
    its own service period, so that each event is rated exactly once. What was decided about late usage of
    earlier invoices and is on none yet joins it (S0-061).
    """
    corrections = open_corrections(customer=customer, period=period)
    return _computed(customer, period, corrections, measure_for_billing(customer=customer, until=until))


def compute_as_known(*, customer: Customer, period: Period, known_through: int) -> ComputedInvoice:
    """Rate the charges of a whole period with its usage as it was known through a number, from raw events.

    Corrections are left out: they are what was learnt later. The money effect of late usage is the difference of two of these.
    """

    def measured(keys: list[str], service: Period) -> dict[str, MeterUsage]:
        return {
            key: usage_as_known(meter_key=key, customer_id=customer.key, period=service, known_through=known_through)
            for key in keys
        }

    return _computed(customer, period, [], measured)


def compute_in_place(*, customer: Customer, period: Period, in_place: InPlace, measure: Measure) -> ComputedInvoice:
    """Rate the charges of a whole period with other rate cards in place of those of some plans, without corrections.

    `measure` says what the meters counted. Raises BillingError where the cards cannot be set in place of what was agreed.
    """
    return _computed(customer, period, [], measure, in_place)


def compute_figures(
    *,
    contract: Contract,
    measure: Measure,
    prices: CompiledPrices,
    corrections: Sequence[OpenCorrection] = (),
) -> InvoiceFigures:
    """Return what a contract and open corrections come to, to the cent as their lines would, without making these."""
    usage = _usage_of(contract.snapshot.charges, measure)
    return figures_of(
        snapshot=contract.snapshot,
        usage_of=lambda charge: _with_carried(charge, usage),
        prices=prices,
        corrections=corrections,
    )


def compute_total(*, customer: Customer, period: Period, until: datetime) -> Money:
    """Return the total of `compute_invoice`, for whoever reads no line of it."""
    figures = compute_figures(
        contract=contract_at(customer=customer, period=period),
        measure=measure_for_billing(customer=customer, until=until),
        prices=CompiledPrices(),
        corrections=open_corrections(customer=customer, period=period),
    )
    return figures.total


def measure_for_billing(*, customer: Customer, until: datetime) -> Measure:
    """Return how the meters of a customer are read for billing, up to `until` (exclusive): from the rolled-up windows."""
    return lambda keys, service: _measured(keys, service, customer=customer, until=until)


def _computed(
    customer: Customer,
    period: Period,
    corrections: Sequence[OpenCorrection],
    measure: Measure,
    in_place: InPlace = AS_AGREED,
) -> ComputedInvoice:
    contract = contract_at(customer=customer, period=period, in_place=in_place)
    charges = contract.snapshot.charges
    usage = _usage_of(charges, measure)
    lines = tuple(
        rate_charge(
            charge=charge,
            usage=_with_carried(charge, usage),
            currency=contract.snapshot.currency,
        )
        for charge in charges
    )
    assembled = assemble(snapshot=contract.snapshot, lines=lines, corrections=corrections)
    return ComputedInvoice(assembled=assembled, contract=contract)


def _with_carried(charge: Charge, usage: Mapping[Period, Mapping[str, Usage]]) -> Usage | None:
    """Return the usage of a charge, with what was used before in the services that it carries on from."""
    if charge.meter is None:
        return None
    carried = Decimal(0)
    for span in charge.carries:
        carried = EXACT.add(carried, usage[span][charge.meter].quantity)
    return replace(usage[charge.service_period][charge.meter], carried=carried)


def usage_of_charge(*, meter: str, measured: MeterUsage) -> Usage:
    """Return what metering measured as rating takes it."""
    return Usage(
        meter=meter,
        quantity=measured.quantity,
        window_count=measured.window_count,
        event_count=measured.event_count,
        windows_digest=measured.windows_digest,
        known_through=measured.known_through,
    )


def _usage_of(charges: Sequence[Charge], measure: Measure) -> dict[Period, dict[str, Usage]]:
    """Return what each meter counted in each service period: one query a service period, not a charge."""
    meters: dict[Period, set[str]] = {}
    for charge in charges:
        if charge.meter is not None:
            meters.setdefault(charge.service_period, set()).add(charge.meter)
    return {
        service: {
            meter: usage_of_charge(meter=meter, measured=measured)
            for meter, measured in measure(sorted(keys), service).items()
        }
        for service, keys in meters.items()
    }


def _measured(keys: list[str], service: Period, *, customer: Customer, until: datetime) -> dict[str, MeterUsage]:
    if until <= service.start:
        # A preview at the first moment of a service, or before it: nothing can have been used yet.
        return dict.fromkeys(keys, no_usage())
    counted = replace(service, end=min(service.end, until))
    return billing_usage(customer_id=customer.key, meter_keys=keys, period=counted)
