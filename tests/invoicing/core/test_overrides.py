"""Prices of one's own in time: laid over each other they neither overlap nor lose a moment."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from billing_site.kernel.period import Period
from invoicing.core.contract import Cadence, Price, PriceModel
from invoicing.core.overrides import Override, in_force, laid_over, priced_services
from invoicing.core.phases import Phase, Timeline, services_in

JULY = datetime(2026, 7, 1, tzinfo=UTC)
DAYS = st.integers(0, 40)
Said = tuple[int, int | None]
said = st.tuples(DAYS, st.one_of(st.none(), st.integers(1, 10))).map(
    lambda pair: (pair[0], None if pair[1] is None else pair[0] + pair[1])
)


def day(number: int) -> datetime:
    return JULY + timedelta(days=number)


def override(number: int, span: Said) -> Override:
    price = Price(model=PriceModel.FLAT, unit_amount=Decimal(number))
    return Override(price, day(span[0]), None if span[1] is None else day(span[1]))


def agreed(words: list[Said]) -> tuple[Override, ...]:
    """What holds after all was said, one after the other."""
    held: tuple[Override, ...] = ()
    for number, span in enumerate(words, start=1):
        new = override(number, span)
        held = (*laid_over(overrides=held, since=new.starts_at, until=new.ends_at), new)
    return tuple(sorted(held, key=lambda one: one.starts_at))


def price_on(held: tuple[Override, ...], number: int) -> int:
    found = [one for one in held if one.starts_at <= day(number) and (one.ends_at is None or day(number) < one.ends_at)]
    assert len(found) <= 1, "two prices at once"
    return int(found[0].price.unit_amount or 0) if found else 0


@given(st.lists(said, max_size=8))
def test_on_every_day_the_last_word_holds(words: list[Said]) -> None:
    held = agreed(words)

    for number in range(60):
        last = [
            place for place, (start, end) in enumerate(words, 1) if start <= number and (end is None or number < end)
        ]
        assert price_on(held, number) == (last[-1] if last else 0)


@given(st.lists(said, max_size=4), st.lists(said, max_size=4))
def test_what_is_agreed_for_a_subscription_comes_before_what_is_for_its_customer(
    general: list[Said], special: list[Said]
) -> None:
    whole, own = agreed(general), agreed(special)

    held = in_force(general=whole, special=own)

    for number in range(60):
        assert price_on(held, number) == (price_on(own, number) or price_on(whole, number))


@given(st.lists(said, max_size=5), st.integers(0, 30), st.integers(1, 3))
def test_parts_of_a_service_meet_add_up_and_have_the_price_of_their_time(
    words: list[Said], begins: int, quantity: int
) -> None:
    phases = (
        Phase(day(-40), day(begins), plan=1, cadence=Cadence.MONTH),
        Phase(day(begins), None, plan=2, cadence=Cadence.MONTH, quantity=quantity),
    )
    timeline = Timeline(phases, "UTC", is_calendar=True)
    period, held = Period(JULY, day(31)), agreed(words)

    for service in services_in(timeline=timeline, period=period):
        parts = priced_services(timeline=timeline, period=period, service=service, overrides=held)

        assert parts[0].service.period.start == service.period.start
        assert parts[-1].service.period.end == service.period.end
        assert sum(part.service.share for part in parts) == service.share
        for part in parts:
            first = (part.service.period.start - JULY).days
            costs = int(part.override.price.unit_amount or 0) if part.override else 0
            assert costs == price_on(held, first)
