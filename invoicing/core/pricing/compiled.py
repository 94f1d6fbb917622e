"""Prices compiled for the figure alone: what a quantity costs, rounded, without steps and words.

`price_quantity` writes out how an amount comes about and is what bills. Where only the amount is wanted, many thousand
times, a price is compiled once: a price by tiers is a line `rate × quantity + offset` on each stretch between two bounds,
found by bisection. It is decimal arithmetic in which the loss of a single digit raises, and equals the stepwise way to the
last cent for every price, quantity, share and place in tiers (`tests/invoicing/core/test_compiled.py`).
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, fields
from decimal import ROUND_HALF_UP, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from fractions import Fraction

from invoicing.core.contract import Price, PriceModel
from invoicing.core.pricing.tiered import check_tiers

# Products of 38-digit numbers and of the microseconds of a period; what does not fit raises instead of being rounded.
_EXACTLY = Context(prec=200, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
_ROUNDING = Context(prec=200, rounding=ROUND_HALF_UP, traps=[InvalidOperation, DivisionByZero, Overflow])
_NOTHING = Decimal(0)
_ONE = Decimal(1)
_WHOLE = Fraction(1)
_TIERED = {
    PriceModel.GRADUATED: "unit_amount",
    PriceModel.VOLUME: "unit_amount",
    PriceModel.GRADUATED_PERCENTAGE: "rate",
}
# Whatever else a price says is not compiled, and priced step by step.
_MEMBERS = frozenset(
    {
        "model",
        "unit_amount",
        "tiers",
        "package_size",
        "package_amount",
        "free_units",
        "rate",
        "minimum_amount",
        "maximum_amount",
    }
)


@dataclass(frozen=True, slots=True)
class CompiledPrice:
    """Stretches of a price: from above one bound up to the next it costs `rates × quantity + units + flats`.

    The quantity counts from the first unit, free ones included; `flats` is what is owed per billing period. A price
    of packages has none of it but `lot`: size and amount of one.
    """

    minor_unit: Decimal
    bounds: tuple[Decimal, ...]
    rates: tuple[Decimal, ...]
    units: tuple[Decimal, ...]
    flats: tuple[Decimal, ...]
    wholes: tuple[Decimal, ...]
    free_units: Decimal
    lot: tuple[Decimal, Decimal] | None
    at_tier_reached: bool
    minimum: Decimal | None
    maximum: Decimal | None
    is_bounded: bool

    def amount(self, quantity: Decimal) -> Decimal:
        """Return what a quantity costs in a whole billing period, rounded to the minor unit, halves up."""
        assert quantity >= 0, "a negative aggregate is a metering bug, not a refund"
        place = bisect_left(self.bounds, quantity)
        if self.lot is None:
            amount = _EXACTLY.fma(quantity, self.rates[place], self.wholes[place])
        else:
            amount = self._usage(quantity, _NOTHING, place)
        if self.is_bounded:
            amount = self._bounded(amount, _ONE, _ONE)
        return amount.quantize(self.minor_unit, ROUND_HALF_UP, _ROUNDING)

    def amount_of_part(
        self, quantity: Decimal, *, carried: Decimal = _NOTHING, share: Fraction = _WHOLE, seats: int = 1
    ) -> Decimal:
        """Return the same for a service that is a `share` of the billing period and goes on from what was `carried` before."""
        assert quantity >= 0 and carried >= 0, "a negative aggregate is a metering bug, not a refund"
        assert 0 <= share <= 1, f"a share is a part of a period: {share}"
        place = bisect_left(self.bounds, _EXACTLY.add(carried, quantity))
        parts, period = Decimal(share.numerator), Decimal(share.denominator)
        # Everything is counted in so many parts of the period as there are: no division before the rounding.
        amount = _EXACTLY.fma(
            _EXACTLY.multiply(self.flats[place], Decimal(seats)),
            parts,
            _EXACTLY.multiply(self._usage(quantity, carried, place), period),
        )
        if self.is_bounded:
            amount = self._bounded(amount, parts, period)
        assert amount >= 0, "a price never pays the customer"
        return self._rounded(amount, period)

    def _bounded(self, amount: Decimal, parts: Decimal, period: Decimal) -> Decimal:
        """Lift to the share of the minimum, or cut at that of the maximum, which stands whole where there is no share."""
        if self.minimum is not None:
            amount = max(amount, _EXACTLY.multiply(self.minimum, parts))
        if self.maximum is not None:
            amount = min(amount, _EXACTLY.multiply(self.maximum, parts or period))
        return amount

    def _usage(self, quantity: Decimal, carried: Decimal, place: int) -> Decimal:
        """Return what the units cost that were not used before."""
        end = _EXACTLY.add(carried, quantity)
        if self.lot is not None:
            size, price = self.lot
            started = _started(max(_EXACTLY.subtract(end, self.free_units), _NOTHING), size)
            before = _started(max(_EXACTLY.subtract(carried, self.free_units), _NOTHING), size)
            return _EXACTLY.multiply(_EXACTLY.subtract(started, before), price)
        usage = _EXACTLY.fma(end, self.rates[place], self.units[place])
        if carried <= self.free_units:
            return usage
        earlier = place if self.at_tier_reached else bisect_left(self.bounds, carried)
        return _EXACTLY.subtract(usage, _EXACTLY.fma(carried, self.rates[earlier], self.units[earlier]))

    def _rounded(self, amount: Decimal, period: Decimal) -> Decimal:
        """Return `amount / period` in minor units, halves up; both are exact and not negative."""
        if period == 1:
            return amount.quantize(self.minor_unit, ROUND_HALF_UP, _ROUNDING)
        unit = _EXACTLY.multiply(self.minor_unit, period)
        whole, rest = _EXACTLY.divmod(amount, unit)
        if _EXACTLY.multiply(rest, Decimal(2)) >= unit:
            whole = _EXACTLY.add(whole, _ONE)
        return _EXACTLY.multiply(whole, self.minor_unit)


def compile_price(*, price: Price, minor_unit: Decimal) -> CompiledPrice | None:
    """Compile a price of one number a quantity, or return None where the model asks for more than that.

    `minor_unit` is what amounts are rounded to, `kernel.money.minor_unit` of the currency.
    """
    if any(getattr(price, one.name) != one.default for one in fields(price) if one.name not in _MEMBERS):
        return None
    lot = None
    bounds: list[Decimal] = []
    rates, units, flats = [_NOTHING], [_NOTHING], [_NOTHING]
    match price.model:
        case PriceModel.FLAT:
            flats = [_known(price.unit_amount)]
        case PriceModel.PER_UNIT:
            rates = [_known(price.unit_amount)]
        case PriceModel.PERCENTAGE:
            rates = [_known(price.rate)]
        case PriceModel.PACKAGE:
            lot = (_known(price.package_size), _known(price.package_amount))
        case PriceModel.GRADUATED | PriceModel.GRADUATED_PERCENTAGE | PriceModel.VOLUME:
            check_tiers(tiers=price.tiers)
            bounds = [tier.up_to for tier in price.tiers if tier.up_to is not None]
            rates = [getattr(tier, _TIERED[price.model]) for tier in price.tiers]
            flats = [tier.flat_amount for tier in price.tiers]
            units = [_NOTHING] * len(rates)
            if price.model is not PriceModel.VOLUME:
                units, flats = _cumulated(bounds, rates), _sums(flats)
        case _:
            return None
    if price.free_units:
        # What is free is a stretch of its own before the others, which begin so much later.
        units = [
            _NOTHING,
            *(
                _EXACTLY.subtract(unit, _EXACTLY.multiply(price.free_units, rate))
                for rate, unit in zip(rates, units, strict=True)
            ),
        ]
        bounds = [price.free_units, *(_EXACTLY.add(bound, price.free_units) for bound in bounds)]
        rates, flats = [_NOTHING, *rates], [flats[0], *flats]
    return CompiledPrice(
        minor_unit=minor_unit,
        bounds=tuple(bounds),
        rates=tuple(rates),
        units=tuple(units),
        flats=tuple(flats),
        wholes=tuple(_EXACTLY.add(unit, flat) for unit, flat in zip(units, flats, strict=True)),
        free_units=price.free_units,
        lot=lot,
        at_tier_reached=price.model is PriceModel.VOLUME,
        minimum=price.minimum_amount,
        maximum=price.maximum_amount,
        is_bounded=price.minimum_amount is not None or price.maximum_amount is not None,
    )


def _known(number: Decimal | None) -> Decimal:
    assert number is not None, "a price has the members of its model"
    return number


def _cumulated(bounds: Sequence[Decimal], rates: Sequence[Decimal]) -> list[Decimal]:
    """Return what to add to `rate × quantity` in each tier for what its lower ones cost more or less."""
    offsets = [_NOTHING]
    for bound, lower, upper in zip(bounds, rates[:-1], rates[1:], strict=True):
        offsets.append(_EXACTLY.fma(bound, _EXACTLY.subtract(lower, upper), offsets[-1]))
    return offsets


def _sums(amounts: Sequence[Decimal]) -> list[Decimal]:
    sums = [amounts[0]]
    for amount in amounts[1:]:
        sums.append(_EXACTLY.add(sums[-1], amount))
    return sums


def _started(quantity: Decimal, size: Decimal) -> Decimal:
    """Return how many packages of a size a quantity starts."""
    whole, rest = _EXACTLY.divmod(quantity, size)
    return _EXACTLY.add(whole, _ONE) if rest else whole
