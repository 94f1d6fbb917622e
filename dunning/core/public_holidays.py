"""The public holidays of a country, of which a policy is filled in: its terms keep the days themselves, so that no later list moves a step of a case."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import holidays as calendars

# So many years are filled in: that of today, and those after it.
YEARS = 3


@dataclass(frozen=True)
class PublicHolidays:
    """The days on which a country, or a part of it, does not work; `weekend` as 0 (Monday) to 6."""

    days: tuple[date, ...]
    weekend: tuple[int, ...]


def places() -> dict[str, list[str]]:
    """Return the countries whose holidays are known, by ISO 3166-1 letters, with the parts that have others of their own (ISO 3166-2 without its country)."""
    return {code: list(parts) for code, parts in calendars.list_supported_countries(include_aliases=False).items()}


def public_holidays(*, place: str, years: Iterable[int]) -> PublicHolidays:
    """Return the public holidays of a place such as DE or DE-BY in some years; raises ValueError naming what there is instead."""
    country, _, part = place.strip().upper().partition("-")
    known = places()
    if country not in known:
        raise ValueError(
            f"the holidays of {place!r} are not known: write a country such as DE, or a part such as DE-BY"
        )
    if part and part not in known[country]:
        parts = ", ".join(f"{country}-{one}" for one in known[country]) or "none"
        raise ValueError(f"{country} has no part {part!r} with holidays of its own; known are: {parts}")
    found = calendars.country_holidays(country, subdiv=part or None, years=list(years))
    return PublicHolidays(tuple(sorted(found)), tuple(sorted(found.weekend)))
