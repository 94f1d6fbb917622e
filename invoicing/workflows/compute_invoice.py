"""Gather → rate → assemble: the invoice of one customer and period, without writing anything.

Billing, preview, portal estimate and API preview are this one function with different arguments.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from moneyed import Money

from billing_site.kernel.money import EXACT
from billing_site.kernel.period import Period
from invoicing.core.adjustments.credits import Lot
from invoicing.core.assembly import AssembledInvoice, assemble
from invoicing.core.consumers import consumer_of
from invoicing.core.contract import AdjustmentLine, Charge, CorrectionLine, OpenCorrection, Usage
from invoicing.core.correction import corrections_after
from invoicing.core.detail import BySize, SizeUsage, groups_needed
from invoicing.core.figures import CompiledPrices, InvoiceFigures, figures_of
from invoicing.core.rating import rate_charge
from invoicing.core.tax import TaxMissing, TaxTerms
from invoicing.customers.models import Customer
from invoicing.draft_edits.models import LineEdit
from invoicing.draft_edits.queries import edit_terms, edits_in_force
from invoicing.invoices.adjustments import changes_issued
from invoicing.invoices.corrections import customers_with_open_corrections, open_corrections
from invoicing.invoices.credits import customers_with_credit, open_lots
from invoicing.invoices.taxes import tax_terms
from invoicing.subscriptions.agreements import Agreements, agreements_of
from invoicing.subscriptions.snapshot import Contract, InPlace, contract_agreed, contract_at, without_fees_in_advance
from invoicing.tax.provider import TaxProvider, tax_provider
from invoicing.tax.queries import TaxBook, tax_book
from metering.queries import Asked, MeterUsage, billing_usage, billing_usages, sizes_as_known, usage_as_known
from metering.queries.billing import no_usage

# What each of some meters counted for a customer, named by its key, in a service period.
Measure = Callable[[str, list[str], Period], dict[str, MeterUsage]]
# What metering measured, as the price of a charge needs it.
AsNeeded = Callable[[Charge, MeterUsage], Usage]
# What was measured, by whose usage it is and in which service period, of each meter.
Measured = Mapping[tuple[str, Period], Mapping[str, MeterUsage]]


@dataclass(frozen=True)
class ComputedInvoice:
    """An assembled invoice and the contract that it was computed from."""

    assembled: AssembledInvoice
    contract: Contract


@dataclass(frozen=True)
class Ground:
    """What invoices of some customers are computed from beside usage, read at once: what they agreed to, who has credit or open corrections, tax."""

    agreements: Agreements
    corrected: Collection[int]
    credited: Collection[int]
    book: TaxBook
    provider: TaxProvider
    edits: Mapping[int, Sequence[LineEdit]]
    issued: Mapping[str, Decimal]

    def contract(self, *, customer: Customer, period: Period) -> Contract:
        """Return what one of the customers is charged for a period, with what people have changed on its draft by hand."""
        contract = contract_agreed(agreements=self.agreements, customer=customer, period=period)
        edited = edit_terms(edits=self.edits.get(customer.pk, ()), snapshot=contract.snapshot, issued=self.issued)
        if not edited:
            return contract
        return replace(contract, snapshot=replace(contract.snapshot, terms=(*contract.snapshot.terms, *edited)))

    def corrections(self, *, customer: Customer, period: Period) -> Sequence[OpenCorrection]:
        """Return what the invoice of a period may take of late usage."""
        return open_corrections(customer=customer, period=period) if customer.pk in self.corrected else ()

    def lots(self, *, customer: Customer, contract: Contract) -> Sequence[Lot]:
        """Return the credit that may pay for a contract."""
        return open_lots(customer=customer, contract=contract) if customer.pk in self.credited else ()

    def tax(
        self, *, customer: Customer, contract: Contract, corrections: Sequence[OpenCorrection]
    ) -> TaxTerms | TaxMissing | None:
        """Return how the invoice of a contract is taxed; what an account uses is taxed with the invoice of who pays."""
        if customer.billed_to_id is not None:
            return None
        return tax_terms(
            book=self.book,
            provider=self.provider,
            customer=customer,
            snapshot=contract.snapshot,
            corrections=corrections,
        )


def ground_of(*, customers: Sequence[Customer], agreements: Agreements | None = None) -> Ground:
    """Read what invoices of customers are computed from; the number of queries does not grow with them."""
    numbers = [customer.pk for customer in customers]
    edits = edits_in_force(customers=numbers)
    return Ground(
        agreements=agreements or agreements_of(customers=customers),
        corrected=customers_with_open_corrections(customers=customers),
        credited=customers_with_credit(customers=customers),
        book=tax_book(customers=numbers),
        provider=tax_provider(customers=numbers),
        edits=edits,
        issued=changes_issued(customers=edits) if edits else {},
    )


def compute_invoice(
    *,
    customer: Customer,
    period: Period,
    until: datetime,
    computed: Sequence[AssembledInvoice] = (),
    ground: Ground | None = None,
) -> ComputedInvoice:
    """Rate the usage of `period` up to `until` (exclusive) under the contract at that period.

    Usage is read from the rolled-up windows, so roll up first; every charge counts usage only in
    its own service period, so that each event is rated exactly once. What was decided about late usage of
    earlier invoices and is on none yet joins it (S0-061), tax is charged where the company charges any, and credit pays for it as far as
    some is left: a draft reserves none.
    `computed` are invoices of earlier periods that are not stored: what they take in advance is settled, what they draw and carry is gone.
    `ground` is what was read of the customer already, where it was.
    """
    assert ground is None or not computed, "what is not stored is noted on a ground of its own"
    ground = ground or ground_of(customers=[customer])
    for invoice in computed:
        amounts = {line.reference: line.amount.amount for line in invoice.bill_lines}
        ground.agreements.note_computed(customer=customer, period=invoice.period, amounts=amounts)
    contract = ground.contract(customer=customer, period=period)
    return _computed_on(ground, customer, contract, measure_for_billing(until=until), computed=computed)


def compute_invoices(*, ground: Ground, due: Sequence[tuple[Customer, Period]]) -> list[ComputedInvoice]:
    """Compute the invoices of whole periods, of customers of whom a ground was read: their usage is read at once, too."""
    contracts = [ground.contract(customer=customer, period=period) for customer, period in due]
    asked = {
        Asked(consumer, meter, replace(service, end=min(service.end, period.end)))
        for (_, period), contract in zip(due, contracts, strict=True)
        for (consumer, service), meters in _meters_of(contract).items()
        for meter in meters
        if service.start < period.end
    }
    usages = billing_usages(asked=asked)

    def read(until: datetime) -> Measure:
        return _up_to(until, lambda consumer, keys, span: {key: usages[Asked(consumer, key, span)] for key in keys})

    return [
        _computed_on(ground, customer, contract, read(period.end))
        for (customer, period), contract in zip(due, contracts, strict=True)
    ]


def _computed_on(
    ground: Ground,
    customer: Customer,
    contract: Contract,
    measure: Measure,
    *,
    computed: Sequence[AssembledInvoice] = (),
) -> ComputedInvoice:
    corrections = corrections_after(
        corrections=ground.corrections(customer=customer, period=contract.snapshot.period),
        carried=_sums(line for invoice in computed for line in invoice.corrections),
    )
    return _computed(
        contract,
        measure,
        corrections=corrections,
        lots=_after(computed, ground.lots(customer=customer, contract=contract)),
        tax=ground.tax(customer=customer, contract=contract, corrections=corrections),
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


def compute_so_far(*, customer: Customer, period: Period, until: datetime) -> ComputedInvoice:
    """Rate the usage of a running period up to `until`, credit included, tax and corrections left out: what a progressive invoice is made of.

    Credit that invoices due before may draw counts as if they did not: less is charged by that, never more.
    """
    ground = ground_of(customers=[customer])
    contract = ground.contract(customer=customer, period=period)
    return _computed(contract, measure_for_billing(until=until), lots=ground.lots(customer=customer, contract=contract))


def compute_as_known(*, customer: Customer, period: Period, known_through: int) -> ComputedInvoice:
    """Rate the charges of a whole period with its usage as it was known through a number, from raw events.

    Corrections, tax and credit are left out: they are what was learnt later, and who pays. The money effect of late usage is the difference of two of these.
    """

    def measured(consumer: str, keys: list[str], service: Period) -> dict[str, MeterUsage]:
        return {
            key: usage_as_known(meter_key=key, customer_id=consumer, period=service, known_through=known_through)
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
    measured = _measured_of(contract, measure)
    return figures_of(
        snapshot=contract.snapshot,
        usage_of=lambda charge: _usage(contract, charge, measured, as_needed or usage_of_charge),
        prices=prices,
        corrections=corrections,
        lots=lots,
        tax=tax,
    )


def compute_total(*, ground: Ground, customer: Customer, period: Period, until: datetime) -> Money:
    """Return what `compute_invoice` comes to before tax, for whoever reads no line of it."""
    contract = ground.contract(customer=customer, period=period)
    figures = compute_figures(
        contract=contract,
        measure=measure_for_billing(until=until),
        prices=CompiledPrices(),
        corrections=ground.corrections(customer=customer, period=period),
        lots=ground.lots(customer=customer, contract=contract),
    )
    return figures.total


def measure_for_billing(*, until: datetime) -> Measure:
    """Return how the meters of customers are read for billing, up to `until` (exclusive): from the rolled-up windows."""
    return _up_to(until, lambda consumer, keys, span: billing_usage(customer_id=consumer, meter_keys=keys, period=span))


def _computed(
    contract: Contract,
    measure: Measure,
    corrections: Sequence[OpenCorrection] = (),
    lots: Sequence[Lot] = (),
    as_needed: AsNeeded | None = None,
    tax: TaxTerms | TaxMissing | None = None,
) -> ComputedInvoice:
    measured = _measured_of(contract, measure)
    lines = tuple(
        rate_charge(
            charge=charge,
            usage=_usage(contract, charge, measured, as_needed or usage_of_charge),
            currency=contract.snapshot.currency,
        )
        for charge in contract.snapshot.charges
    )
    assembled = assemble(snapshot=contract.snapshot, lines=lines, corrections=corrections, lots=lots, tax=tax)
    return ComputedInvoice(assembled=assembled, contract=contract)


def _usage(contract: Contract, charge: Charge, measured: Measured, as_needed: AsNeeded) -> Usage | None:
    """Return the usage of a charge, with what was used before in the services that it carries on from."""
    if charge.meter is None:
        return None
    consumer, carried = consumer_of(snapshot=contract.snapshot, subscription=charge.subscription), Decimal(0)
    for span in charge.carries:
        carried = EXACT.add(carried, measured[consumer, span][charge.meter].quantity)
    return replace(as_needed(charge, measured[consumer, charge.service_period][charge.meter]), carried=carried)


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


def _measured_of(contract: Contract, measure: Measure) -> Measured:
    """Return what each meter counted in each service period: one query a customer and service period, not a charge."""
    meters = _meters_of(contract)
    return {
        (consumer, service): measure(consumer, sorted(keys), service) for (consumer, service), keys in meters.items()
    }


def _meters_of(contract: Contract) -> dict[tuple[str, Period], set[str]]:
    """Return the meters that are charged, by whose usage they count and in which service period."""
    meters: dict[tuple[str, Period], set[str]] = {}
    for charge in contract.snapshot.charges:
        if charge.meter is not None:
            meters.setdefault(
                (consumer_of(snapshot=contract.snapshot, subscription=charge.subscription), charge.service_period),
                set(),
            ).add(charge.meter)
    return meters


def _up_to(until: datetime, read: Measure) -> Measure:
    """Return a measure that reads nothing from a moment on."""

    def measure(consumer: str, keys: list[str], service: Period) -> dict[str, MeterUsage]:
        if until <= service.start:
            # A preview at the first moment of a service, or before it: nothing can have been used yet.
            return dict.fromkeys(keys, no_usage())
        return read(consumer, keys, replace(service, end=min(service.end, until)))

    return measure
