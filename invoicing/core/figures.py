"""The figures of a contract alone: what each charge comes to and the total, without lines, words and digest.

For what is computed by the thousand to be added up: previews of many customers, what-ifs, bulk moves. The amounts are
those of `rating` and `assembly`, to the cent; whoever reads one of these invoices computes its lines then.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from moneyed import Money

from billing_site.kernel.money import EXACT, minor_unit, round_money
from invoicing.core.assembly import check_rated_once
from invoicing.core.contract import Charge, ContractSnapshot, Price, Usage
from invoicing.core.pricing.compiled import CompiledPrice, compile_price
from invoicing.core.rating import quantity_to_rate, rate_charge

_NOTHING = Decimal(0)


@dataclass(frozen=True)
class InvoiceFigures:
    """What an invoice comes to: its charges by reference, in the contract's order, and their sum."""

    snapshot: ContractSnapshot
    amounts: dict[str, Decimal]
    total: Money


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
    *, snapshot: ContractSnapshot, usage_of: Callable[[Charge], Usage | None], prices: CompiledPrices
) -> InvoiceFigures:
    """Return what the charges of a contract come to; raises what rating and assembling them would raise."""
    amounts = {
        charge.reference: amount_of(charge=charge, usage=usage_of(charge), currency=snapshot.currency, prices=prices)
        for charge in snapshot.charges
    }
    assert len(amounts) == len(snapshot.charges), "a reference names one charge of a snapshot"
    check_rated_once(charged=snapshot.charges)
    whole = _NOTHING
    for amount in amounts.values():
        whole = EXACT.add(whole, amount)
    return InvoiceFigures(snapshot=snapshot, amounts=amounts, total=round_money(whole, snapshot.currency))


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
