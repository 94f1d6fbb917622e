"""What a price makes of a quantity: one file a family of models, one dispatch, one law of conservation."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from functools import reduce

from billing_site.kernel.money import EXACT
from invoicing.core.contract import Price, PriceModel, Step, StepKind
from invoicing.core.detail import ByDimensions, BySize, GroupUsage, SizeUsage
from invoicing.core.languages import ENGLISH, Language
from invoicing.core.priced import PricedQuantity
from invoicing.core.pricing.bounds import exact_sum, within_bounds
from invoicing.core.pricing.flat import price_flat, price_per_unit
from invoicing.core.pricing.matrix import price_matrix
from invoicing.core.pricing.package import price_packages
from invoicing.core.pricing.per_event import price_per_event
from invoicing.core.pricing.percentage import price_graduated_percentage, price_percentage
from invoicing.core.pricing.tiered import price_graduated, price_volume
from invoicing.core.wording import Words, step_arithmetic, step_text

# All models but the matrix. Of a price, the quantity that is not free, the quantity before it that moves its place on, and the share.
ModelFunction = Callable[[Price, Decimal, Decimal, Fraction], list[Step]]

MODELS: dict[PriceModel, ModelFunction] = {
    PriceModel.FLAT: lambda price, quantity, carried, share: price_flat(price=price, quantity=quantity, share=share),
    PriceModel.PER_UNIT: lambda price, quantity, carried, share: price_per_unit(price=price, quantity=quantity),
    PriceModel.GRADUATED: lambda price, quantity, carried, share: price_graduated(
        tiers=price.tiers, quantity=quantity, carried=carried, share=share
    ),
    PriceModel.VOLUME: lambda price, quantity, carried, share: price_volume(
        tiers=price.tiers, quantity=quantity, carried=carried, share=share
    ),
    PriceModel.PACKAGE: lambda price, quantity, carried, share: price_packages(
        price=price, quantity=quantity, carried=carried
    ),
    PriceModel.PERCENTAGE: lambda price, quantity, carried, share: price_percentage(price=price, quantity=quantity),
    PriceModel.GRADUATED_PERCENTAGE: lambda price, quantity, carried, share: price_graduated_percentage(
        tiers=price.tiers, quantity=quantity, carried=carried, share=share
    ),
}


def price_quantity(
    *,
    price: Price,
    quantity: Decimal,
    share: Fraction = Fraction(1),
    seats: int = 1,
    carried: Decimal = Decimal(0),
    groups: Sequence[GroupUsage] | None = None,
    by_size: SizeUsage | None = None,
    unit: str = "",
    currency: str = "",
    language: Language = ENGLISH,
) -> PricedQuantity:
    """Price a quantity exactly and write out how (S0-063..068).

    Free units come off first; tiers and packages see the rest. Flat fees, minimum and maximum are
    per billing period and count by `share`; nothing else does. A flat price counts once for each seat.
    `carried` was used before in the same billing period: free units, tiers and packages go on from there.
    `groups` divide the quantity as a matrix needs it, `by_size` as a percentage of each event does; other prices have none.
    `unit`, `currency` and `language` only flavour the texts. Rounding is the caller's, once per line.
    """
    assert quantity.is_finite() and quantity >= 0, "a negative aggregate is a metering bug, not a refund"
    assert 0 <= share <= 1, f"a share is a part of a period: {share}"

    assert carried.is_finite() and carried >= 0, "what was used before is not negative"

    free_before = min(price.free_units, carried)
    free = min(EXACT.subtract(price.free_units, free_before), quantity)
    paid_before = EXACT.subtract(carried, free_before)
    assert (groups is not None) == isinstance(price.need, ByDimensions), (
        "a matrix, and nothing else, is priced by groups"
    )
    assert (by_size is not None) == isinstance(price.need, BySize), "what is charged per event needs their sizes"
    if groups is not None:
        steps = price_matrix(price=price, groups=groups)
    elif by_size is not None:
        assert by_size.quantity == quantity, "all events are priced"
        steps = list(price_per_event(price=price, sizes=by_size))
    else:
        steps = MODELS[price.model](price, EXACT.subtract(quantity, free), paid_before, share)
    if seats != 1:
        assert price.model is PriceModel.FLAT, "seats multiply flat fees, not usage"
        steps = [replace(step, count=Decimal(seats), amount=seats * step.amount) for step in steps]
    steps = within_bounds(steps=steps, minimum=price.minimum_amount, maximum=price.maximum_amount, share=share)
    words = Words(
        unit=unit,
        currency=currency,
        share=share,
        package_size=price.package_size,
        carried=carried,
        dimensions=price.dimensions,
        language=language,
    )

    amount = exact_sum([step.amount for step in steps])
    priced = reduce(EXACT.add, (step.quantity for step in steps), free)
    assert priced == quantity, "every unit is priced once or free"
    assert amount >= 0, "a price never pays the customer"
    assert all(step.amount == _amount_of(step, share=share) for step in steps if not step.kind.is_bound), (
        "each rung says how its amount came about"
    )
    return PricedQuantity(
        quantity=quantity,
        free_quantity=free,
        unrounded_amount=amount,
        steps=tuple(
            replace(
                step,
                text=step_text(step=step, is_first=position == 0, words=words),
                arithmetic=step_arithmetic(step=step, words=words),
            )
            for position, step in enumerate(steps)
        ),
    )


def _amount_of(step: Step, *, share: Fraction) -> Fraction:
    """Multiply as decimals, which is exact, and make a fraction of it once: only the share is none."""
    units = EXACT.multiply(step.count, step.unit_amount)
    if step.rate:
        units = EXACT.add(units, EXACT.multiply(step.quantity, step.rate))
    flat = step.flat_amount
    if step.kind is StepKind.FLAT_FEE and step.count:
        flat = EXACT.multiply(step.count, flat)
    return Fraction(units) + Fraction(flat) * share if flat else Fraction(units)
