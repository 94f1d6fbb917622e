"""What a running period will come to: contracts rated with what weeks like the last will add."""

from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from billing_site.kernel.period import Period
from invoicing.core.contract import Charge, ContractSnapshot, Price, PriceModel, Tier, Usage
from invoicing.core.detail import GroupUsage, SizeUsage
from invoicing.core.forecast import NotEnoughHistory
from invoicing.core.projecting import MeterHistory, SpendForecast, project_spend, usage_grown
from invoicing.core.rating import rate_charge

AUGUST = Period(datetime(2026, 8, 1, tzinfo=UTC), datetime(2026, 9, 1, tzinfo=UTC))
# A Monday: 15 days are left with today, two weeks and a Monday.
TODAY = date(2026, 8, 17)
CENT = Price(model=PriceModel.PER_UNIT, unit_amount=Decimal("0.01"))


def a_charge(price: Price = CENT, **members: Any) -> Charge:
    known = {"reference": "sub/actions", "name": "Actions", "meter": "actions", "unit": "action", "subscription": "sub"}
    return Charge(price=price, service_period=AUGUST, **(known | members))


def projected(
    *, used: str, weeks: list[int], today: int = 0, adds_up: bool = True, price: Price = CENT, last_day: int = 31
) -> SpendForecast:
    """Project a period with so many used, after weeks of so many a day."""
    charge = a_charge(price)
    usage = Usage("actions", Decimal(used), 1, 1, "", 1)
    known = tuple(Fraction(week) for week in weeks for _ in range(7))
    return project_spend(
        snapshot=ContractSnapshot(customer="c", currency="USD", period=AUGUST, charges=(charge,)),
        lines=[rate_charge(charge=charge, usage=usage, currency="USD")],
        histories={"sub/actions": MeterHistory(known, Fraction(today), adds_up)},
        days={charge.reference: (date(2026, 8, 1), date(2026, 8, last_day))},
        today=TODAY,
    )


def figures(found: SpendForecast) -> tuple[str, str, str]:
    return (str(found.low.amount), str(found.expected.amount), str(found.high.amount))


@pytest.mark.requirement("S3-048")
def test_weeks_of_the_last_month_say_what_the_rest_of_the_period_will_cost_and_why() -> None:
    found = projected(used="1600", weeks=[100, 100, 100, 140])

    # 15 days: at 100, 110 and 140 a day.
    assert figures(found) == ("31.00", "32.50", "37.00")
    assert found.reason == (
        "Actions: 1,650 actions expected in today and 14 days more, like the last 4 weeks;"
        " the last week was 40 % above the one before."
    )


def test_what_today_has_counted_already_is_not_expected_again_and_a_lively_day_is_kept() -> None:
    assert figures(projected(used="1660", weeks=[100, 100], today=60))[1] == "31.00"
    assert figures(projected(used="1900", weeks=[100, 100], today=300))[1] == "33.00"


def test_where_the_service_is_over_or_days_do_not_add_up_nothing_is_added_and_it_says_so() -> None:
    over = projected(used="1600", weeks=[100, 100], last_day=16)
    level = projected(used="1600", weeks=[], adds_up=False)

    assert figures(over) == figures(level) == ("16.00", "16.00", "16.00")
    assert over.reason == "Actions: nothing more is counted in this period."
    assert "does not add up by day" in level.reason


def test_of_volume_prices_the_range_is_that_of_the_figures_not_of_the_usage() -> None:
    tiers = (Tier(up_to=Decimal(3200), unit_amount=Decimal("0.01")), Tier(up_to=None, unit_amount=Decimal("0.005")))

    found = projected(used="1600", weeks=[100, 140], price=Price(model=PriceModel.VOLUME, tiers=tiers))

    assert figures(found) == ("17.00", "17.00", "31.00")


def test_groups_grow_in_proportion_and_still_add_up() -> None:
    groups = tuple(GroupUsage((name,), Decimal(quantity)) for name, quantity in (("eu", "1"), ("us", "2")))
    usage = Usage("actions", Decimal(3), 1, 1, "", 1, groups=groups)

    grown = usage_grown(usage=usage, to=Fraction(10))

    assert [group.quantity for group in grown.groups or ()] == [Decimal("3.333333"), Decimal("6.666667")]
    nothing = Usage("actions", Decimal(0), 0, 0, "", 1, groups=())
    assert usage_grown(usage=nothing, to=Fraction(10)) == nothing


def test_events_of_each_size_grow_in_number_and_sum() -> None:
    sizes = SizeUsage(2, Decimal("1.5"), 3, Decimal(30), 1, Decimal(1000))
    usage = Usage("sales", sizes.quantity, 1, 6, "", 1, by_size=sizes)

    grown = usage_grown(usage=usage, to=Fraction(sizes.quantity) * 2)

    assert grown.by_size == SizeUsage(4, Decimal(3), 6, Decimal(60), 2, Decimal(2000))
    assert grown.quantity == grown.by_size.quantity


def test_less_than_two_weeks_are_no_ground_for_a_forecast() -> None:
    with pytest.raises(NotEnoughHistory):
        projected(used="1600", weeks=[100])
