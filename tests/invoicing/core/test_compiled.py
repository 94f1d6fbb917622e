"""A compiled price says the figure that the written-out arithmetic says, for every price and quantity."""

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from billing_site.kernel.money import minor_unit, round_money
from billing_site.kernel.period import Period
from invoicing.core.adjustments.spend import MaximumSpend, MinimumSpend
from invoicing.core.assembly import RatedTwice, assemble
from invoicing.core.contract import Charge, ContractSnapshot, Price, PriceModel, Tier, Usage
from invoicing.core.figures import CompiledPrices, figures_of
from invoicing.core.pricing import price_quantity
from invoicing.core.pricing.compiled import compile_price
from invoicing.core.rating import UsageMissing, rate
from tests.factories import AUGUST, JULY
from tests.invoicing.core.test_pricing_properties import prices, quantities, small_quantities

CENT = Decimal("0.01")
DAY = timedelta(days=1)
# Finer than any price times any quantity: nothing is left to rounding but what no decimal can say.
FINEST = Decimal("1E-24")
shares = st.one_of(st.just(Fraction(1)), st.fractions(min_value=0, max_value=1, max_denominator=10**15))
TIERS = (
    Tier(up_to=Decimal(10), unit_amount=Decimal("0.1")),
    Tier(up_to=Decimal("20.5"), unit_amount=Decimal("0.05"), flat_amount=Decimal(1)),
    Tier(up_to=None, unit_amount=Decimal("0.01"), flat_amount=Decimal(2)),
)


@given(
    price=prices(),
    quantity=st.one_of(small_quantities, quantities),
    carried=st.one_of(st.just(Decimal(0)), small_quantities),
    share=shares,
)
@example(
    Price(PriceModel.GRADUATED, tiers=TIERS, free_units=Decimal(10**25)),
    Decimal(10**25 + 1),
    Decimal(3),
    Fraction(1, 3),
)
@example(Price(PriceModel.VOLUME, tiers=TIERS, maximum_amount=Decimal(1)), Decimal(30), Decimal(0), Fraction(0))
def test_the_figure_is_that_of_the_written_out_steps(
    price: Price, quantity: Decimal, carried: Decimal, share: Fraction
) -> None:
    expected = price_quantity(price=price, quantity=quantity, carried=carried, share=share).unrounded_amount

    compiled = compile_price(price=price, minor_unit=FINEST)

    assert compiled is not None
    assert compiled.amount_of_part(quantity, carried=carried, share=share) == rounded(expected, places=24)
    for currency in ("JPY", "USD", "KWD"):
        figure = compile_price(price=price, minor_unit=minor_unit(currency))
        assert figure is not None
        found = figure.amount_of_part(quantity, carried=carried, share=share)
        assert found == round_money(expected, currency).amount
        if share == 1 and not carried:
            assert figure.amount(quantity) == found


@pytest.mark.parametrize(
    "quantity", ["0", "9.999999999999", "10", "10.000000000001", "20.5", "20.500000000001", "1E+20"]
)
@pytest.mark.parametrize("model", [PriceModel.GRADUATED, PriceModel.VOLUME])
@pytest.mark.parametrize("free", ["0", "0.5"])
def test_a_bound_belongs_to_its_tier_in_compiled_tiers_too(quantity: str, model: PriceModel, free: str) -> None:
    price = Price(model, tiers=TIERS, free_units=Decimal(free))
    compiled = compile_price(price=price, minor_unit=FINEST)

    assert compiled is not None
    for used in (Decimal(quantity), Decimal(quantity) + Decimal(free)):
        assert compiled.amount(used) == price_quantity(price=price, quantity=used).unrounded_amount


@pytest.mark.parametrize("seats", [1, 3])
def test_a_flat_fee_counts_once_a_seat_and_for_its_share(seats: int) -> None:
    price = Price(PriceModel.FLAT, unit_amount=Decimal("29"), maximum_amount=Decimal("40"))
    share = Fraction(10, 31)
    expected = price_quantity(price=price, quantity=Decimal(seats), seats=seats, share=share).unrounded_amount

    compiled = compile_price(price=price, minor_unit=CENT)

    assert compiled is not None
    found = compiled.amount_of_part(Decimal(seats), seats=seats, share=share)
    assert found == round_money(expected, "USD").amount


@pytest.mark.parametrize("quantity", ["-1", "NaN", "Infinity"])
def test_what_is_no_quantity_has_no_figure(quantity: str) -> None:
    compiled = compile_price(price=Price(PriceModel.GRADUATED, tiers=TIERS), minor_unit=CENT)

    assert compiled is not None
    with pytest.raises((AssertionError, ArithmeticError)):
        compiled.amount(Decimal(quantity))
    with pytest.raises((AssertionError, ArithmeticError)):
        compiled.amount_of_part(Decimal(quantity))


def rounded(amount: Fraction, *, places: int) -> Fraction:
    return Fraction((amount * 10**places + Fraction(1, 2)).__floor__(), 10**places)


def test_a_price_that_says_more_than_a_compiled_one_knows_is_left_to_the_steps() -> None:
    @dataclass(frozen=True)
    class Newer(Price):
        per_event: Decimal | None = None

    known = Newer(PriceModel.PER_UNIT, unit_amount=Decimal(1))

    assert compile_price(price=known, minor_unit=CENT) is not None
    assert compile_price(price=replace(known, per_event=Decimal(0)), minor_unit=CENT) is None


@given(
    charges=st.lists(st.tuples(prices(), quantities, small_quantities, shares), min_size=1, max_size=6),
    bounds=st.lists(st.sampled_from(["0", "10", "1E+9", "1E+24"]), max_size=2),
)
def test_the_figures_of_a_contract_are_the_amounts_of_its_lines(
    charges: list[tuple[Price, Decimal, Decimal, Fraction]], bounds: list[str]
) -> None:
    earlier, service = Period(JULY, JULY + DAY), Period(JULY + DAY, AUGUST)
    snapshot = ContractSnapshot(
        customer="cust_acme",
        currency="KWD",
        period=Period(JULY, AUGUST),
        charges=tuple(
            Charge(
                reference=f"sub/{number}",
                name="Calls",
                price=price,
                meter=None if price.model is PriceModel.FLAT else f"m{number}",
                unit="call",
                subscription="sub",
                service_period=service,
                share=share,
                quantity=number + 1 if price.model is PriceModel.FLAT else 1,
                carries=(earlier,),
            )
            for number, (price, _, _, share) in enumerate(charges)
        ),
    )
    about = tuple(charge.reference for charge in snapshot.charges)
    snapshot = replace(
        snapshot,
        terms=tuple(
            kind(f"sub/{kind.kind.value}", "sub", service, about, Decimal(bound), Fraction(1, 2))
            for kind, bound in zip((MinimumSpend, MaximumSpend), sorted(bounds, key=Decimal), strict=False)
        ),
    )
    usage = {
        f"m{number}": Usage(f"m{number}", quantity, 1, 1, "", 1, carried=carried)
        for number, (_, quantity, carried, _) in enumerate(charges)
    }

    figures = figures_of(
        snapshot=snapshot,
        usage_of=lambda charge: usage[charge.meter] if charge.meter is not None else None,
        prices=CompiledPrices(),
    )

    invoice = assemble(snapshot=snapshot, lines=rate(snapshot=snapshot, usage=usage))
    assert figures.amounts == {line.reference: line.amount.amount for line in invoice.bill_lines}
    assert list(figures.amounts) == [line.reference for line in invoice.bill_lines]
    assert figures.total == invoice.total


def test_usage_that_is_missing_or_charged_twice_is_refused_without_lines_too() -> None:
    def charge(subscription: str) -> Charge:
        service = Period(JULY, AUGUST)
        price = Price(PriceModel.PER_UNIT, unit_amount=CENT)
        return Charge(f"{subscription}/calls", "Calls", price, "calls", "call", subscription, service)

    def figures(*charges: Charge, usage: Usage | None) -> None:
        snapshot = ContractSnapshot("cust_acme", "USD", Period(JULY, AUGUST), charges)
        figures_of(snapshot=snapshot, usage_of=lambda _: usage, prices=CompiledPrices())

    with pytest.raises(UsageMissing):
        figures(charge("one"), usage=None)
    with pytest.raises(RatedTwice):
        figures(charge("one"), charge("other"), usage=Usage("calls", Decimal(1), 1, 1, "", 1))
