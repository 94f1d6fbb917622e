"""Gather → rate → assemble: the invoice of one customer and period, without writing anything.

Billing, preview, portal estimate and API preview are this one function with different arguments.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from moneyed import Money

from billing_site.kernel.money import EXACT
from billing_site.kernel.period import Period
from invoicing.core.adjustments.credits import Lot
from invoicing.core.assembly import AssembledInvoice, assemble
from invoicing.core.contract import AdjustmentLine, Charge, CorrectionLine, OpenCorrection, Usage
from invoicing.core.correction import corrections_after
from invoicing.core.detail import BySize, SizeUsage, groups_needed
from invoicing.core.figures import CompiledPrices, InvoiceFigures, figures_of
from invoicing.core.rating import rate_charge
from invoicing.core.tax import TaxMissing, TaxTerms
from invoicing.customers.models import Customer
from invoicing.invoices.corrections import open_corrections
from invoicing.invoices.credits import open_lots
from invoicing.invoices.taxes import tax_terms
from invoicing.subscriptions.snapshot import Contract, InPlace, contract_at, without_fees_in_advance
from invoicing.tax.provider import tax_provider
from invoicing.tax.queries import tax_book
from metering.queries import MeterUsage, billing_usage, sizes_as_known, usage_as_known
from metering.queries.billing import no_usage

# What each of some meters counted in a service period.
Measure = Callable[[list[str], Period], dict[str, MeterUsage]]
# What metering measured, as the price of a charge needs it.
AsNeeded = Callable[[Charge, MeterUsage], Usage]


@dataclass(frozen=True)
class ComputedInvoice:
    """An assembled invoice and the contract that it was computed from."""

    assembled: AssembledInvoice
    contract: Contract


def compute_invoice(
    *, customer: Customer, period: Period, until: datetime, computed: Sequence[AssembledInvoice] = ()
) -> ComputedInvoice:
    """Rate the usage of `period` up to `until` (exclusive) under the contract at that period.

    Usage is read from the rolled-up windows, so roll up first; every charge counts usage only in
    its own service period, so that each event is rated exactly once. What was decided about late usage of
    earlier invoices and is on none yet joins it (S0-061), tax is charged where the company charges any, and credit pays for it as far as
    some is left: a draft reserves none.
    `computed` are invoices of earlier periods that are not stored: what they take in advance is settled, what they draw and carry is gone.
    """
    contract = contract_at(customer=customer, period=period, computed=computed)
    corrections = corrections_after(
        corrections=open_corrections(customer=customer, period=period),
        carried=_sums(line for invoice in computed for line in invoice.corrections),
    )
    return _computed(
        contract,
        measure_for_billing(customer=customer, until=until),
        corrections=corrections,
        lots=_after(computed, open_lots(customer=customer, contract=contract)),
        tax=tax_terms(
            book=tax_book(customers=[customer.pk]),
            provider=tax_provider(),
            customer=customer,
            snapshot=contract.snapshot,
            corrections=corrections,
        ),
    )


def _after(computed: Sequence[AssembledInvoice], lots: Sequence[Lot]) -> list[Lot]:
    """Return what invoices that are not stored leave of lots."""
    drawn = _sums(line for invoice in computed for line in invoice.credits)
    return [lot.after(drawn=drawn.get(lot.reference)) for lot in lots]


def _sums(lines: Iterable[AdjustmentLine | CorrectionLine]) -> dict[str, Money]:
    sums: dict[str, Money] = {}
    for line in lines:
        sums[line.reference] = sums[line.reference] + line.amount if line.reference in sums else line.amount
    return sums


def compute_as_known(*, customer: Customer, period: Period, known_through: int) -> ComputedInvoice:
    """Rate the charges of a whole period with its usage as it was known through a number, from raw events.

    Corrections, tax and credit are left out: they are what was learnt later, and who pays. The money effect of late usage is the difference of two of these.
    """

    def measured(keys: list[str], service: Period) -> dict[str, MeterUsage]:
        return {
            key: usage_as_known(meter_key=key, customer_id=customer.key, period=service, known_through=known_through)
            for key in keys
        }

    return _computed(contract_at(customer=customer, period=period), measured)


def compute_in_place(
    *, customer: Customer, period: Period, in_place: InPlace, measure: Measure, as_needed: AsNeeded
) -> ComputedInvoice:
    """Rate the charges of a whole period with other rate cards in place of those of some plans, without corrections, fees in advance and credit.

    `measure` says what the meters counted, `as_needed` what of it a price asks for. Raises BillingError where the cards cannot be set in place of what was agreed.
    """
    contract = contract_at(customer=customer, period=period, in_place=in_place)
    return _computed(without_fees_in_advance(contract=contract), measure, as_needed=as_needed)


def compute_figures(
    *,
    contract: Contract,
    measure: Measure,
    prices: CompiledPrices,
    corrections: Sequence[OpenCorrection] = (),
    as_needed: AsNeeded | None = None,
    lots: Sequence[Lot] = (),
    tax: TaxTerms | TaxMissing | None = None,
) -> InvoiceFigures:
    """Return what a contract, open corrections, tax and credit come to, to the cent as their lines would, without making these."""
    measured = _measured_of(contract.snapshot.charges, measure)
    return figures_of(
        snapshot=contract.snapshot,
        usage_of=lambda charge: _usage(charge, measured, as_needed or usage_of_charge),
        prices=prices,
        corrections=corrections,
        lots=lots,
        tax=tax,
    )


def compute_total(*, customer: Customer, period: Period, until: datetime) -> Money:
    """Return what `compute_invoice` comes to before tax, for whoever reads no line of it."""
    contract = contract_at(customer=customer, period=period)
    figures = compute_figures(
        contract=contract,
        measure=measure_for_billing(customer=customer, until=until),
        prices=CompiledPrices(),
        corrections=open_corrections(customer=customer, period=period),
        lots=open_lots(customer=customer, contract=contract),
    )
    return figures.total


def measure_for_billing(*, customer: Customer, until: datetime) -> Measure:
    """Return how the meters of a customer are read for billing, up to `until` (exclusive): from the rolled-up windows."""
    return lambda keys, service: _measured(keys, service, customer=customer, until=until)


def _computed(
    contract: Contract,
    measure: Measure,
    corrections: Sequence[OpenCorrection] = (),
    lots: Sequence[Lot] = (),
    as_needed: AsNeeded | None = None,
    tax: TaxTerms | TaxMissing | None = None,
) -> ComputedInvoice:
    charges = contract.snapshot.charges
    measured = _measured_of(charges, measure)
    lines = tuple(
        rate_charge(
            charge=charge,
            usage=_usage(charge, measured, as_needed or usage_of_charge),
            currency=contract.snapshot.currency,
        )
        for charge in charges
    )
    assembled = assemble(snapshot=contract.snapshot, lines=lines, corrections=corrections, lots=lots, tax=tax)
    return ComputedInvoice(assembled=assembled, contract=contract)


def _usage(charge: Charge, measured: Mapping[Period, Mapping[str, MeterUsage]], as_needed: AsNeeded) -> Usage | None:
    """Return the usage of a charge, with what was used before in the services that it carries on from."""
    if charge.meter is None:
        return None
    carried = Decimal(0)
    for span in charge.carries:
        carried = EXACT.add(carried, measured[span][charge.meter].quantity)
    return replace(as_needed(charge, measured[charge.service_period][charge.meter]), carried=carried)


def usage_of_charge(charge: Charge, measured: MeterUsage) -> Usage:
    """Return what metering measured as rating takes it, divided as the charge's price needs it."""
    assert charge.meter is not None, "a fee has no usage"
    groups, by_size, need = None, None, charge.price.need
    if isinstance(need, BySize):
        by_size = _by_size(need, measured)
    elif need is not None:
        # Nothing can have been used where metering was not asked.
        divided = measured.groups.by(need.dimensions) if measured.groups is not None else {}
        groups = groups_needed(need=need, groups=dict(divided.items()))
    return Usage(
        meter=charge.meter,
        quantity=measured.quantity,
        window_count=measured.window_count,
        event_count=measured.event_count,
        windows_digest=measured.windows_digest,
        known_through=measured.known_through,
        groups=groups,
        by_size=by_size,
    )


def _by_size(need: BySize, measured: MeterUsage) -> SizeUsage:
    """Return the sizes of the events that were measured; only bounds ask for the events themselves."""
    if not measured.event_count or need == BySize():
        return SizeUsage(between_count=measured.event_count, between_quantity=measured.quantity)
    assert measured.period is not None, "what was counted was asked for"
    sizes = sizes_as_known(
        meter_key=measured.meter,
        customer_id=measured.customer_id,
        period=measured.period,
        through=measured.known_through,
        lower=need.lower,
        upper=need.upper,
    )
    by_size = SizeUsage(**vars(sizes))
    assert (by_size.event_count, by_size.quantity) == (measured.event_count, measured.quantity), (
        "the events are those of the windows"
    )
    return by_size


def _measured_of(charges: Sequence[Charge], measure: Measure) -> dict[Period, Mapping[str, MeterUsage]]:
    """Return what each meter counted in each service period: one query a service period, not a charge."""
    meters: dict[Period, set[str]] = {}
    for charge in charges:
        if charge.meter is not None:
            meters.setdefault(charge.service_period, set()).add(charge.meter)
    return {service: measure(sorted(keys), service) for service, keys in meters.items()}


def _measured(keys: list[str], service: Period, *, customer: Customer, until: datetime) -> dict[str, MeterUsage]:
    if until <= service.start:
        # A preview at the first moment of a service, or before it: nothing can have been used yet.
        return dict.fromkeys(keys, no_usage())
    counted = replace(service, end=min(service.end, until))
    return billing_usage(customer_id=customer.key, meter_keys=keys, period=counted)
