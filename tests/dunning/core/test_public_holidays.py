"""Public holidays of countries and of their parts, of which a policy is filled in."""

from datetime import date

import pytest

from dunning.core.public_holidays import places, public_holidays
from invoicing.core.countries import COUNTRIES


def test_a_part_of_a_country_has_its_own_holidays_besides_those_of_all() -> None:
    germany = public_holidays(place="DE", years=[2027])
    bavaria = public_holidays(place="de-by", years=[2027])

    assert date(2027, 10, 3) in germany.days and date(2027, 12, 25) in germany.days
    assert set(germany.days) < set(bavaria.days) and date(2027, 1, 6) in set(bavaria.days) - set(germany.days)
    assert germany.days == tuple(sorted(germany.days)) and {day.year for day in germany.days} == {2027}


def test_easter_moves_and_the_weekend_is_that_of_the_country() -> None:
    assert [
        date(year, month, day) in public_holidays(place="GB-ENG", years=[year]).days
        for year, month, day in ((2027, 3, 29), (2028, 4, 17), (2028, 3, 29))
    ] == [True, True, False]
    assert public_holidays(place="DE", years=[2027]).weekend == (5, 6)
    assert public_holidays(place="SA", years=[2027]).weekend == (4, 5)


@pytest.mark.parametrize(
    ("place", "told"),
    [("", "write a country such as DE"), ("Germany", "'Germany' are not known"), ("DE-XX", "known are: DE-BB, DE-BE")],
)
def test_a_place_that_nobody_knows_is_told_with_what_there_is(place: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        public_holidays(place=place, years=[2027])


def test_the_places_are_countries_as_customers_have_them() -> None:
    assert len(places()) > 200
    assert set(places()) - COUNTRIES == {"XK"}, "Kosovo has no letters of ISO 3166-1, but holidays"
    for place in ("NP", "BR-SP", "US-NY"):
        assert public_holidays(place=place, years=[2026, 2027, 2028]).days
