"""Coupons, told again: what was redeemed takes something off each bill in its turn, cent by cent off the lines it is for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

from tests.invoicing.reference.pricing import exact, to_minor_units


@dataclass(frozen=True)
class Redeemed:
    """A coupon as it stands in a catalog file, redeemed at a moment for one agreement, or ("") for all of a customer."""

    coupon: Mapping[str, Any]
    agreement: str
    at: datetime

    def is_for(self, *, agreement: str, plan: str, price: str) -> bool:
        """Whether it takes something off a line; what belongs to no price is not among named plans and prices."""
        named = self.coupon.get("plans") or self.coupon.get("prices")
        return (
            self.agreement in ("", agreement)
            and (plan in self.coupon["plans"] if self.coupon.get("plans") else True)
            and (price in self.coupon["prices"] if self.coupon.get("prices") else True)
            and not (named and not plan)
        )


def in_turn(redeemed: Sequence[Redeemed]) -> list[Redeemed]:
    """The smaller position first, then percentages before amounts, then the one that was redeemed before."""
    return sorted(redeemed, key=lambda one: (one.coupon.get("position", 100), "amount_off" in one.coupon))


def periods_counted(one: Redeemed, charged: Sequence[tuple[datetime, datetime]]) -> Sequence[tuple[datetime, datetime]]:
    """The billing periods in which it takes something off, of those in which something of what it is for is charged."""
    since = [period for period in sorted(set(charged)) if period[1] > one.at]
    most = {"once": 1, "repeating": one.coupon.get("periods"), "forever": None}[one.coupon.get("duration", "once")]
    return since[:most]


def taken_off(coupon: Mapping[str, Any], left: Sequence[Fraction], *, decimals: int) -> Fraction:
    """What a coupon takes off what others left of its lines; never more than there is."""
    total = sum(left, Fraction(0))
    if total <= 0 or total < exact(coupon.get("minimum_amount")):
        return Fraction(0)
    wanted = total * exact(coupon["percent_off"]) / 100 if "percent_off" in coupon else exact(coupon["amount_off"])
    return min(to_minor_units(wanted, decimals), total)


def spread(amount: Fraction, over: Sequence[Fraction], *, decimals: int) -> Iterator[Fraction]:
    """Divide an amount over lines by what they have: whole cents first, then one more for the largest remainders."""
    weights = [max(weight, Fraction(0)) for weight in over]
    cent = Fraction(1, 10**decimals)
    if not amount:
        yield from (Fraction(0) for _ in over)
        return
    shares = [amount * weight / sum(weights, Fraction(0)) for weight in weights]
    whole = [share // cent * cent for share in shares]
    missing = (amount - sum(whole, Fraction(0))) / cent
    by_rest = sorted(range(len(shares)), key=lambda number: (whole[number] - shares[number], number))
    favoured = by_rest[: int(missing)]
    yield from (part + (cent if number in favoured else 0) for number, part in enumerate(whole))
