"""How many graduated prices one core rates in a second, exact to the cent, against an empty loop over the same rows.

python -m tests.bench.bench_rating [--rows 200000]
"""

from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from time import process_time
from typing import Any

from billing_site.kernel.money import minor_unit, round_money
from billing_site.kernel.period import Period
from invoicing.core.contract import Charge, Price, PriceModel, Tier, Usage
from invoicing.core.figures import CompiledPrices, amount_of
from invoicing.core.pricing import price_quantity
from invoicing.core.pricing.compiled import CompiledPrice, compile_price
from invoicing.core.rating import rate_charge

CURRENCY = "USD"
JULY, AUGUST = datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 8, 1, tzinfo=UTC)
REPEATS = 3
# What the written-out way does in a second is known after fewer.
STEPWISE_ROWS = 5_000


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000, help="quantities rated by each way (%(default)s)")
    options = parser.parse_args()
    chance = Random(3)
    quantities = [Decimal(chance.randrange(3 * 10**12)).scaleb(-6) for _ in range(options.rows)]
    few = quantities[:STEPWISE_ROWS]
    graduated, volume = graduated_price(), Price(PriceModel.VOLUME, tiers=graduated_price().tiers)
    bounded = Price(PriceModel.GRADUATED, tiers=graduated.tiers, free_units=Decimal(100), minimum_amount=Decimal(5))
    check(graduated, few)
    for tried in (compiled(volume), compiled(bounded)):
        assert tried.amount(few[0]) >= 0
    charge, prices = charge_of(graduated), CompiledPrices()
    usages = [Usage("m", quantity, 1, 1, "", 1) for quantity in quantities]
    ways: list[tuple[str, Callable[[Any], object] | None, Sequence[Any]]] = [
        ("empty loop over the same rows (floor)", None, quantities),
        ("graduated, 5 tiers: compiled", compiled(graduated).amount, quantities),
        ("graduated with free units and a minimum: compiled", compiled(bounded).amount, quantities),
        ("volume, 5 tiers: compiled", compiled(volume).amount, quantities),
        (
            "graduated, a charge with its usage: figures",
            lambda usage: amount_of(charge=charge, usage=usage, currency=CURRENCY, prices=prices),
            usages,
        ),
        (
            "graduated, written out in steps",
            lambda quantity: price_quantity(price=graduated, quantity=quantity, currency=CURRENCY),
            few,
        ),
        (
            "graduated, a line with its words",
            lambda usage: rate_charge(charge=charge, usage=usage, currency=CURRENCY),
            usages[:STEPWISE_ROWS],
        ),
    ]
    print(f"\n{options.rows:,} quantities, one process, best of {REPEATS}")
    print(f"{'':52}{'ratings / CPU-second':>22}{'microseconds':>14}")
    for name, rate, rows in ways:
        seconds = min(taken(rate, rows) for _ in range(REPEATS))
        print(f"{name:52}{len(rows) / seconds:22,.0f}{seconds / len(rows) * 1e6:14.2f}")


def taken(rate: Callable[[Any], object] | None, rows: Sequence[Any]) -> float:
    """Return the CPU seconds of one way over all rows, the loop itself included."""
    began = process_time()
    if rate is None:
        for _ in rows:
            pass
    else:
        for row in rows:
            rate(row)
    # A clock that has not ticked would be no floor.
    return max(process_time() - began, 1e-9)


def graduated_price() -> Price:
    ups = (Decimal(1_000), Decimal(10_000), Decimal(100_000), Decimal(1_000_000), None)
    rates = ("0.01", "0.008", "0.005", "0.0025", "0.000015")
    return Price(
        PriceModel.GRADUATED,
        tiers=tuple(
            Tier(up_to=up, unit_amount=Decimal(rate), flat_amount=Decimal(position))
            for position, (up, rate) in enumerate(zip(ups, rates, strict=True))
        ),
    )


def compiled(price: Price) -> CompiledPrice:
    found = compile_price(price=price, minor_unit=minor_unit(CURRENCY))
    assert found is not None
    return found


def charge_of(price: Price) -> Charge:
    return Charge("sub/m", "Units", price, "m", "unit", "sub", Period(JULY, AUGUST))


def check(price: Price, quantities: Sequence[Decimal]) -> None:
    """What is measured is right: the same cents as step by step."""
    fast = compiled(price)
    for quantity in quantities[:500]:
        exact = price_quantity(price=price, quantity=quantity).unrounded_amount
        assert fast.amount(quantity) == round_money(exact, CURRENCY).amount


if __name__ == "__main__":
    main()
