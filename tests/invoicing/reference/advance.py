"""Fees in advance, told again: a fee rides on the bill before its period, and is settled against what the period came to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

from tests.invoicing.reference.billing import (
    DECIMALS,
    Account,
    Agreement,
    Stretch,
    fee_of,
    parts_of,
    periods_of,
    services_of,
)
from tests.invoicing.reference.dates import earlier, on_the_wall
from tests.invoicing.reference.pricing import to_minor_units
from tests.invoicing.reference.sheet import Sheet

NOTHING = Fraction(0)


@dataclass(frozen=True)
class Coming:
    """A billing period that is charged, the bill on which its fees ride, and whether that one is made for them alone."""

    agreement: str
    rides_on: tuple[datetime, datetime]
    is_opening: bool
    fees: tuple[Fraction, ...]


def coming(account: Account, agreement: Agreement, *, until: datetime) -> Iterator[Coming]:
    """The periods that begin by a moment and have fees in advance, as agreed now."""
    before: tuple[datetime, datetime] | None = None
    for start, end, stretches in periods_of(agreement, account.timezone, until=until):
        active = [stretch for stretch in stretches if stretch.kind == "active"]
        if not active:
            continue
        begins = active[0].start
        goes_on = before is not None and begins <= before[1] < end
        if before is None or not goes_on:
            rides_on = _period_before(begins, active[0].plan["cadence"], account.timezone)
        else:
            rides_on = before
        fees = tuple(_fees(account, agreement, start, end, stretches))
        if fees:
            yield Coming(agreement.key, rides_on, not goes_on, fees)
        before = (start, end)


def openings(account: Account, *, until: datetime) -> set[tuple[datetime, datetime]]:
    """The bills, ended by then, that are made to take fees before service begins."""
    return {
        one.rides_on
        for agreement in account.agreements
        for one in coming(account, agreement, until=until)
        if one.is_opening and one.rides_on[1] <= until
    }


def _period_before(moment: datetime, cadence: str, timezone: str) -> tuple[datetime, datetime]:
    zone = ZoneInfo(timezone)
    wall = moment.astimezone(zone).replace(tzinfo=None)
    return on_the_wall(datetime.combine(earlier(wall.date(), cadence), wall.time()), zone), moment


def _fees(
    account: Account, agreement: Agreement, start: datetime, end: datetime, stretches: Sequence[Stretch]
) -> Iterator[Fraction]:
    for service in services_of(stretches):
        for price in stretches[service[0]].plan["prices"]:
            if price.get("in_advance") and price["currency"] == account.currency:
                for part in parts_of(stretches, service, agreement.own_prices, price, start, end, account.timezone):
                    yield to_minor_units(fee_of(part), DECIMALS[account.currency])


def settle(sheet: Sheet, account: Account, held: dict[str, Fraction]) -> None:
    """Take what is held of each agreement off its charges, and lift the rest to the fees of the next period.

    What is left of an agreement of which nothing more is billed comes off what else the bill comes to.
    """
    charged = {line.agreement for line in sheet.lines if line.plan}
    for agreement in account.agreements:
        key = agreement.key
        if key in charged and held.get(key):
            owed = sum(
                (sheet.left[number] for number in sheet.of(key) if sheet.lines[number].price != "commitment_base"),
                NOTHING,
            )
            settled = min(held[key], max(owed, NOTHING))
            held[key] -= settled
            sheet.pay_in_order(_fees_first(sheet, agreement), settled)
            sheet.owe(key, "invoiced_in_advance", -settled)
            sheet.left[-1] = NOTHING
    riding: dict[str, Fraction] = {}
    for agreement in account.agreements:
        for one in coming(account, agreement, until=sheet.end):
            if one.rides_on == (sheet.start, sheet.end):
                riding[agreement.key] = riding.get(agreement.key, NOTHING) + sum(one.fees, NOTHING)
    for key, fees in riding.items():
        more = max(fees - held.get(key, NOTHING), NOTHING)
        held[key] = held.get(key, NOTHING) + more
        sheet.owe(key, "in_advance", more)
    for agreement in account.agreements:
        key = agreement.key
        if key not in charged and key not in riding and held.get(key) and _is_over(account, agreement, sheet):
            given = min(held[key], max(sheet.total, NOTHING))
            held[key] -= given
            sheet.owe(key, "advance_credit", -given)


def _fees_first(sheet: Sheet, agreement: Agreement) -> list[int]:
    """The lines that what was taken before pays for: the fees it was taken for, then the others of the agreement."""
    numbers = [number for number in sheet.of(agreement.key) if sheet.lines[number].price != "commitment_base"]
    in_advance = {
        (stretch.plan["key"], price["key"])
        for stretch in agreement.stretches
        for price in stretch.plan["prices"]
        if price.get("in_advance")
    }
    return sorted(numbers, key=lambda number: (sheet.lines[number].plan, sheet.lines[number].price) not in in_advance)


def _is_over(account: Account, agreement: Agreement, sheet: Sheet) -> bool:
    ended_at = agreement.stretches[-1].end
    if ended_at > sheet.end:
        return False
    billed = periods_of(agreement, account.timezone, until=ended_at)
    last = [(end, start) for start, end, found in billed if any(one.kind == "active" for one in found)]
    return all(one < (sheet.end, sheet.start) for one in last)
