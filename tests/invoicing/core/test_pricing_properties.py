"""Laws that every price obeys, searched for counter-examples."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from invoicing.core.contract import Price, PriceModel, Tier
from invoicing.core.definition import definition_of, price_from_definition
from invoicing.core.pricing import price_quantity

amounts = st.decimals(min_value=0, max_value=Decimal("1E+9"), places=12).map(abs)
quantities = st.decimals(min_value=0, max_value=Decimal("1E+15"), places=12).map(abs)
small_quantities = st.decimals(min_value=0, max_value=40, places=1).map(abs)
rates = st.decimals(min_value=0, max_value=1, places=12).map(abs)
shares = st.fractions(min_value=Fraction(1, 10**9), max_value=1)
bounds = st.decimals(min_value=Decimal("0.1"), max_value=40, places=1)


@st.composite
def tiers(draw: st.DrawFn, *, rate_name: str = "unit_amount") -> tuple[Tier, ...]:
    ups: list[Decimal | None] = [*sorted(draw(st.sets(bounds, max_size=4))), None]
    rate = amounts if rate_name == "unit_amount" else rates
    return tuple(Tier(up_to=up, flat_amount=draw(amounts), **{rate_name: draw(rate)}) for up in ups)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    # What a quantity is not enough for has laws of its own: test_matrix.py.
    model = draw(st.sampled_from([model for model in PriceModel if model is not PriceModel.MATRIX]))
    low, high = sorted([draw(amounts), draw(amounts)])
    common = {
        "minimum_amount": draw(st.sampled_from([None, low])),
        "maximum_amount": draw(st.sampled_from([None, high])),
        "free_units": Decimal(0)
        if model is PriceModel.FLAT
        else draw(st.one_of(st.just(Decimal(0)), small_quantities)),
    }
    match model:
        case PriceModel.FLAT | PriceModel.PER_UNIT:
            return Price(model, unit_amount=draw(amounts), **common)
        case PriceModel.GRADUATED | PriceModel.VOLUME:
            return Price(model, tiers=draw(tiers()), **common)
        case PriceModel.PACKAGE:
            return Price(model, package_size=draw(bounds), package_amount=draw(amounts), **common)
        case PriceModel.PERCENTAGE:
            return Price(model, rate=draw(rates), **common)
        case PriceModel.GRADUATED_PERCENTAGE:
            return Price(model, tiers=draw(tiers(rate_name="rate")), **common)
        case PriceModel.MATRIX:
            raise AssertionError("not drawn here")


@given(price=prices(), quantity=st.one_of(small_quantities, quantities), share=shares)
def test_every_unit_is_priced_once_or_free_and_the_rungs_sum_to_the_amount(
    price: Price, quantity: Decimal, share: Fraction
) -> None:
    priced = price_quantity(price=price, quantity=quantity, share=share, unit="token", currency="KWD")

    counted = sum(Fraction(step.quantity) for step in priced.steps) + Fraction(priced.free_quantity)
    assert counted == Fraction(quantity)
    assert sum(step.amount for step in priced.steps) == priced.unrounded_amount >= 0
    assert all(step.text and step.arithmetic for step in priced.steps)


@given(price=prices(), one=small_quantities, other=small_quantities)
def test_more_usage_never_costs_less_except_over_the_cliff_of_volume(
    price: Price, one: Decimal, other: Decimal
) -> None:
    if price.model is PriceModel.VOLUME:
        return

    less, more = (price_quantity(price=price, quantity=quantity) for quantity in sorted([one, other]))

    assert less.unrounded_amount <= more.unrounded_amount


@given(tiers=tiers(), quantity=small_quantities)
def test_graduated_tiers_agree_with_counting_every_tenth_of_a_unit_by_itself(
    tiers: tuple[Tier, ...], quantity: Decimal
) -> None:
    expected = Fraction(tiers[0].flat_amount)
    reached = {0}
    for tenth in range(int(quantity * 10)):
        # The tenth (tenth, tenth + 1] belongs to the first tier whose bound is not below its end.
        end = Fraction(tenth + 1, 10)
        position = next(i for i, tier in enumerate(tiers) if tier.up_to is None or end <= Fraction(tier.up_to))
        expected += Fraction(tiers[position].unit_amount) / 10
        if position not in reached:
            reached.add(position)
            expected += Fraction(tiers[position].flat_amount)

    priced = price_quantity(price=Price(PriceModel.GRADUATED, tiers=tiers), quantity=quantity)

    assert priced.unrounded_amount == expected


@given(tiers=tiers(), quantity=quantities)
def test_graduated_tiers_agree_with_the_sum_of_price_steps(tiers: tuple[Tier, ...], quantity: Decimal) -> None:
    """Written differently: the first rate on everything, then each change of rate on what lies above its bound."""
    amount, above, rate = Fraction(0), Fraction(0), Fraction(0)
    for position, tier in enumerate(tiers):
        if position == 0 or Fraction(quantity) > above:
            amount += Fraction(tier.flat_amount)
        amount += (Fraction(tier.unit_amount) - rate) * max(Fraction(quantity) - above, Fraction(0))
        rate = Fraction(tier.unit_amount)
        above = Fraction(tier.up_to or 0)

    priced = price_quantity(price=Price(PriceModel.GRADUATED, tiers=tiers), quantity=quantity)

    assert priced.unrounded_amount == amount


@given(rate=amounts, flat=amounts, quantity=quantities)
def test_one_open_tier_is_the_same_graduated_and_by_volume(rate: Decimal, flat: Decimal, quantity: Decimal) -> None:
    tiers = (Tier(up_to=None, unit_amount=rate, flat_amount=flat),)

    graduated = price_quantity(price=Price(PriceModel.GRADUATED, tiers=tiers), quantity=quantity)
    volume = price_quantity(price=Price(PriceModel.VOLUME, tiers=tiers), quantity=quantity)

    assert graduated.unrounded_amount == volume.unrounded_amount


@given(price=prices())
def test_a_price_survives_its_definition(price: Price) -> None:
    definition = definition_of(price)

    assert price_from_definition(definition) == price
    assert definition_of(price_from_definition(definition)) == definition
