"""The figures of a contract alone: what each charge comes to and the total, without lines, words and digest.

For what is computed by the thousand to be added up: previews of many customers, what-ifs, bulk moves. The amounts are
those of `rating` and `assembly`, to the cent; whoever reads one of these invoices computes its lines then.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal

from moneyed import Money

from billing_site.kernel.money import EXACT, minor_unit, round_money, total
from invoicing.core.adjusting import adjust_amounts
from invoicing.core.adjustments.credits import Lot
from invoicing.core.assembly import assemble, check_rated_once
from invoicing.core.contract import (
    Charge,
    ContractSnapshot,
    OpenCorrection,
    Price,
    Usage,
)
from invoicing.core.correction import correction_lines
from invoicing.core.pricing.compiled import CompiledPrice, compile_price
from invoicing.core.rating import quantity_to_rate, rate_charge
from invoicing.core.tax import TaxMissing, TaxTerms

_NOTHING = Decimal(0)
_MEMBERS = ("customer", "currency", "period", "charges", "terms")
# A contract that says more than that is assembled from its lines, whatever it says.
_BEYOND = tuple(one.name for one in fields(ContractSnapshot) if one.name not in _MEMBERS)


@dataclass(frozen=True)
class InvoiceFigures:
    """What an invoice comes to: its charges and adjustments by reference, in the order of the document, the total of all its lines and taxes,
    what it draws on lots of credit, by reference and negative, and what it carries of corrections.
    """

    amounts: dict[str, Decimal]
    total: Money
    drawn: dict[str, Money] = field(default_factory=dict)
    carried: dict[str, Money] = field(default_factory=dict)


@dataclass(frozen=True)
class CompiledPrices:
    """The prices of many contracts, each compiled once for each currency; it lives as long as one run."""

    _known: dict[tuple[int, str], tuple[Price, CompiledPrice | None]] = field(default_factory=dict, repr=False)

    def of(self, *, price: Price, currency: str) -> CompiledPrice | None:
        """Return a price compiled, or None where it is one that is priced step by step."""
        # The price is kept beside, so that no other takes its place in memory.
        found = self._known.get((id(price), currency))
        if found is None:
            found = price, compile_price(price=price, minor_unit=minor_unit(currency))
            self._known[id(price), currency] = found
        return found[1]


def figures_of(
    *,
    snapshot: ContractSnapshot,
    usage_of: Callable[[Charge], Usage | None],
    prices: CompiledPrices,
    corrections: Sequence[OpenCorrection] = (),
    lots: Sequence[Lot] = (),
    tax: TaxTerms | TaxMissing | None = None,
) -> InvoiceFigures:
    """Return what a contract, open corrections, tax and what lots of credit pay come to; raises what rating and assembling them would raise."""
    currency = snapshot.currency
    if lots or isinstance(tax, TaxTerms) or any(getattr(snapshot, name) for name in _BEYOND):
        lines = [rate_charge(charge=one, usage=usage_of(one), currency=currency) for one in snapshot.charges]
        invoice = assemble(snapshot=snapshot, lines=lines, corrections=corrections, lots=lots, tax=tax)
        amounts = {line.reference: line.amount.amount for line in invoice.bill_lines}
        drawn, taken = (
            {one.reference: one.amount for one in lines} for lines in (invoice.credits, invoice.corrections)
        )
        return InvoiceFigures(amounts, invoice.total, drawn, taken)
    amounts = {
        charge.reference: amount_of(charge=charge, usage=usage_of(charge), currency=currency, prices=prices)
        for charge in snapshot.charges
    }
    assert len(amounts) == len(snapshot.charges), "a reference names one charge of a snapshot"
    check_rated_once(snapshot=snapshot)
    if snapshot.terms:
        charges = {reference: round_money(amount, currency) for reference, amount in amounts.items()}
        for line in adjust_amounts(terms=snapshot.terms, amounts=charges, currency=currency):
            amounts[line.reference] = line.amount.amount
    whole = _NOTHING
    for amount in amounts.values():
        whole = EXACT.add(whole, amount)
    charged = round_money(whole, currency)
    carried = correction_lines(corrections=corrections, charged=charged, currency=currency) if corrections else ()
    parts = {line.reference: line.amount for line in carried}
    return InvoiceFigures(amounts, total((charged, *parts.values()), currency), carried=parts)


def amount_of(*, charge: Charge, usage: Usage | None, currency: str, prices: CompiledPrices) -> Decimal:
    """Return the rounded amount of `rate_charge`, by the compiled price where there is one."""
    price = prices.of(price=charge.price, currency=currency)
    if price is None:
        return rate_charge(charge=charge, usage=usage, currency=currency).amount.amount
    quantity = quantity_to_rate(charge=charge, usage=usage)
    carried = usage.carried if usage is not None else _NOTHING
    if charge.share == 1 and charge.quantity == 1 and not carried:
        return price.amount(quantity)
    assert not carried or charge.carries, "only what a charge carries on from moves its tiers"
    return price.amount_of_part(quantity, carried=carried, share=charge.share, seats=charge.quantity)
