"""What was done to contracts, told again: deed after deed, a contract becomes what it is known to be before a billing run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tests.invoicing.reference.billing import FOR_EVER, Account, Agreement, Stretch
from tests.invoicing.reference.discounts import Redeemed
from tests.invoicing.reference.grants import Grant
from tests.invoicing.reference.own_prices import OwnPrice
from tests.invoicing.reference.promises import Promise


@dataclass(frozen=True)
class Deed:
    """What was done to an agreement, and `wave`: before which billing run that was.

    `what` is to `start` it, another `plan`, so many `seats`, a `pause`, to `resume`, to `reactivate` what has ended, to `end` it, to `move`
    the end of the trial to `at`; or, refused, to pause a trial; or an `own` price, to `redeem` a coupon, to `promise` spend; or
    to `grant` credit to the customer, and to `void` what is left of it.
    """

    agreement: str
    what: str
    at: datetime
    plan: Mapping[str, Any] | None = None
    seats: int = 0
    wave: int = 0
    own: OwnPrice | None = None
    redeemed: Redeemed | None = None
    promise: Promise | None = None
    grant: Grant | None = None


@dataclass(frozen=True)
class Drawn:
    """An agreement as it begins, its plans in all their versions, and what was done to it."""

    agreement: Agreement
    plans: tuple[tuple[dict[str, Any], ...], ...]
    deeds: tuple[Deed, ...]


def done(account: Account, deeds: Iterable[Deed]) -> Account:
    """The account as these deeds, in their order, have made it: only what was started is there."""
    wanted = {agreement.key: agreement for agreement in account.agreements}
    found: dict[str, Agreement] = {}
    redeemed: list[Redeemed] = []
    for deed in deeds:
        if deed.redeemed is not None:
            redeemed.append(deed.redeemed)
            continue
        if deed.what == "start":
            found[deed.agreement] = _started(wanted[deed.agreement], found)
        elif deed.own is not None:
            # For all of a customer's it is said to those that come later, too.
            wanted = {key: _said(one, deed, deed.agreement) for key, one in wanted.items()}
            found = {key: _said(one, deed, deed.agreement) for key, one in found.items()}
        elif deed.agreement in found:
            changed = changed_by(found[deed.agreement], deed)
            found[deed.agreement] = changed
            found |= {
                key: replace(one, stretches=following(one.stretches, changed.stretches))
                for key, one in found.items()
                if one.parent == changed.key
            }
    return replace(account, agreements=tuple(found.values()), redeemed=tuple(redeemed))


def _started(agreement: Agreement, found: Mapping[str, Agreement]) -> Agreement:
    if not agreement.parent:
        return agreement
    return replace(agreement, stretches=following(agreement.stretches, found[agreement.parent].stretches))


def _said(agreement: Agreement, deed: Deed, to: str) -> Agreement:
    assert deed.own is not None, "a price was said"
    if agreement.key != to and not deed.own.of_customer:
        return agreement
    return replace(agreement, own_prices=(*agreement.own_prices, deed.own))


def changed_by(agreement: Agreement, deed: Deed) -> Agreement:
    """What a deed makes of an agreement: everything from its moment on is another."""
    stretches: Sequence[Stretch] = agreement.stretches
    if deed.what in ("plan", "seats", "pause", "resume"):
        stretches = [changed for stretch in stretches for changed in _changed(stretch, deed)]
    elif deed.what == "reactivate":
        stretches = _gone_on(stretches, deed.at)
    elif deed.what == "end":
        stretches = [replace(one, end=min(one.end, deed.at)) for one in stretches if one.start < deed.at]
    elif deed.what == "move":
        trial, after = stretches
        stretches = [replace(trial, end=deed.at), replace(after, start=deed.at)]
    return replace(agreement, stretches=tuple(joined(stretches)))


def following(stretches: Sequence[Stretch], parent: Sequence[Stretch]) -> tuple[Stretch, ...]:
    """An add-on as it follows what it is added to: tried, charged and paused with it, and over when it is."""
    parts = [
        replace(own, start=max(own.start, over.start), end=min(own.end, over.end), kind=over.kind)
        for own in stretches
        for over in parent
        if max(own.start, over.start) < min(own.end, over.end)
    ]
    return tuple(joined(parts))


def joined(stretches: Sequence[Stretch]) -> list[Stretch]:
    """Make neighbours that say the same one."""
    found: list[Stretch] = []
    for one in stretches:
        if found and found[-1].end == one.start and _says(found[-1]) == _says(one):
            found[-1] = replace(found[-1], end=one.end)
        else:
            found.append(one)
    return found


def _says(stretch: Stretch) -> tuple[object, ...]:
    return id(stretch.plan), stretch.seats, stretch.kind


def _changed(stretch: Stretch, deed: Deed) -> list[Stretch]:
    if stretch.end <= deed.at or (deed.what == "seats" and deed.seats == stretch.seats):
        return [stretch]
    before = [replace(stretch, end=deed.at)] if stretch.start < deed.at else []
    after = replace(stretch, start=max(stretch.start, deed.at))
    if deed.what == "plan":
        assert deed.plan is not None, "another plan was named"
        after = replace(after, plan=deed.plan)
    elif deed.what == "seats":
        after = replace(after, seats=deed.seats)
    else:
        after = replace(after, kind="paused" if deed.what == "pause" else "active")
    return [*before, after]


def _gone_on(stretches: Sequence[Stretch], at: datetime) -> list[Stretch]:
    """What has ended goes on until further notice: paused from its end to the moment, charged after it."""
    last = stretches[-1]
    if at == last.end and last.kind != "trial":
        return [*stretches[:-1], replace(last, end=FOR_EVER)]
    gap = [replace(last, start=last.end, end=at, kind="paused")] if last.end < at else []
    return [*stretches, *gap, replace(last, start=at, end=FOR_EVER, kind="active")]
