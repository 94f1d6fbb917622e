"""In advance and in arrears bill the same over a life, whatever changes in between; only what is left at the end differs."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from moneyed import Money

from billing_site.kernel.money import total
from billing_site.kernel.period import Period
from invoicing.core.adjusting import adjust_amounts
from invoicing.core.adjustments.advance import AdvanceCredit, InAdvance, InvoicedInAdvance
from invoicing.core.advance import periods_in_advance
from invoicing.core.contract import Cadence, Charge, Price, PriceModel, Term
from invoicing.core.phases import Phase, PhaseKind, Timeline
from invoicing.core.proof import adjusted_again, adjustment_document

CENTS = st.integers(0, 5_000)
JULY = Period(datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 8, 1, tzinfo=UTC))
NOTHING = Decimal(0)


def money(cents: int) -> Money:
    return Money(Decimal(cents) / 100, "EUR")


def in_advance(held: Decimal, cents: int, *, settles: bool = True) -> InAdvance:
    fee = Charge("sub/base", "Base fee", _flat(cents), None, "", "sub", JULY)
    about = ("sub/:invoiced_in_advance",) if settles else ()
    return InAdvance("sub/:in_advance", "sub", JULY, about, held=held, fees=(fee,))


def invoice(held: Decimal, owed: int, ahead: int | None) -> dict[str, Money]:
    """What fees in advance do on one invoice: `ahead` None is the last one."""
    terms: list[Term] = [InvoicedInAdvance("sub/:invoiced_in_advance", "sub", JULY, ("sub/base",), held=held)]
    if ahead is not None:
        terms.append(in_advance(held, ahead))
    lines = adjust_amounts(terms=terms, amounts={"sub/base": money(owed)}, currency="EUR")
    for line in lines:
        document = adjustment_document(line=line)
        assert adjustment_document(line=adjusted_again(inputs=document["inputs"])) == document
    return {line.kind.value: line.amount for line in lines}


@given(st.lists(st.tuples(CENTS, CENTS), min_size=1, max_size=24))
def test_over_a_life_it_comes_to_what_the_phases_owe_and_what_is_left_at_the_end(fees: list[tuple[int, int]]) -> None:
    (opening,) = adjust_amounts(terms=[in_advance(NOTHING, fees[0][1], settles=False)], amounts={}, currency="EUR")
    paid = held = opening.amount
    for number, (owed, _) in enumerate(fees):
        ahead = fees[number + 1][1] if number + 1 < len(fees) else None
        lines = invoice(held.amount, owed, ahead)

        bill = money(owed) + total(lines.values(), "EUR")
        held += total(lines.values(), "EUR")

        assert bill.amount >= 0 and held.amount >= 0
        assert ahead is None or held >= money(ahead), "what begins is paid"
        paid += bill

    assert paid - held == total((money(owed) for owed, _ in fees), "EUR")


def test_an_upgrade_in_mid_period_is_settled_on_the_next_invoice_and_a_rest_goes_on() -> None:
    # 31 in advance for July; from the 21st on 62: 42 were owed. Another 62 for August, which ends after the 10th: 20 were owed.
    assert invoice(Decimal(31), 4200, 6200) == {"invoiced_in_advance": money(-3100), "in_advance": money(6200)}
    assert invoice(Decimal(62), 2000, None) == {"invoiced_in_advance": money(-2000)}
    # A downgrade instead: what is left of 62 pays the 10 of the next period, and more.
    assert invoice(Decimal(62), 2000, 1000) == {"invoiced_in_advance": money(-2000), "in_advance": money(0)}
    credit = AdvanceCredit("old/:advance_credit", "old", JULY, ("sub/base",), held=Decimal(42))
    (line,) = adjust_amounts(terms=[credit], amounts={"sub/base": money(3000)}, currency="EUR")
    assert line.amount == money(-3000)


def test_fees_ride_on_the_period_before_and_on_an_opening_invoice_at_the_start_and_after_a_trial_or_pause() -> None:
    trial, active, pause, again = (JULY.start + timedelta(days=days) for days in (0, 14, 40, 101))
    kinds = [PhaseKind.TRIAL, PhaseKind.ACTIVE, PhaseKind.PAUSED, PhaseKind.ACTIVE]
    bounds = [trial, active, pause, again, None]
    phases = tuple(
        Phase(start, end, plan=1, cadence=Cadence.MONTH, kind=kind)
        for start, end, kind in zip(bounds, bounds[1:], kinds, strict=False)
        if start is not None
    )
    timeline = Timeline(phases, timezone="UTC", is_calendar=False)

    found = list(periods_in_advance(timeline=timeline, until=datetime(2026, 11, 1, tzinfo=UTC)))

    assert [
        (one.period.start.month, one.rides_on.start.strftime("%m-%d"), one.rides_on.end.strftime("%m-%d"))
        for one in found
    ] == [
        (7, "06-15", "07-15"),
        (8, "07-01", "08-01"),
        (10, "09-10", "10-10"),
        (11, "10-01", "11-01"),
    ]
    assert [one.is_opening for one in found] == [True, False, True, False]


def _flat(cents: int) -> Price:
    return Price(model=PriceModel.FLAT, unit_amount=Decimal(cents) / 100)
