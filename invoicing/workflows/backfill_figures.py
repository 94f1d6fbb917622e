"""The figures of a backfill: what became of its events, and what they change, as people read it and as a digest covers it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from moneyed import Money

from billing_site.kernel.digest import digest_of
from billing_site.kernel.money import EXACT, plain, total, wire


@dataclass(frozen=True)
class QuantityEffect:
    """What a meter counts more for a customer in the hours of the events."""

    meter: str
    unit: str
    before: Decimal
    after: Decimal

    @property
    def difference(self) -> Decimal:
        """How much more; for a largest or average value also less."""
        return EXACT.subtract(self.after, self.before)


@dataclass(frozen=True)
class MoneyEffect:
    """What changes in one place: an issued line, a draft, a period that is not drafted yet, or the one that runs.

    For an issued line `note` says what the customer's terms would do about it.
    """

    place: str
    what: str
    before: Money
    after: Money
    note: str = ""

    @property
    def effect(self) -> Money:
        """What the customer owes more."""
        return self.after - self.before


@dataclass
class CustomerEffect:
    """What became of one customer's events, and what they change."""

    customer_id: str
    name: str = ""
    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    quantities: list[QuantityEffect] = field(default_factory=list)
    money: list[MoneyEffect] = field(default_factory=list)
    unbilled: list[str] = field(default_factory=list)

    @property
    def effect(self) -> Money | None:
        """The sum of all that changes; None where nothing does."""
        currencies = {one.effect.currency.code for one in self.money}
        return total((one.effect for one in self.money), currencies.pop()) if currencies else None


@dataclass
class BackfillEffect:
    """What a backfill would do, or did. Conflicts are events whose key was accepted with another content."""

    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    rejected: int = 0
    refusals: list[str] = field(default_factory=list)
    customers: list[CustomerEffect] = field(default_factory=list)
    in_no_window: list[str] = field(default_factory=list)

    @property
    def effects(self) -> list[Money]:
        """The money effect of all of it, by currency."""
        sums: dict[str, list[Money]] = {}
        for customer in self.customers:
            if customer.effect is not None:
                sums.setdefault(customer.effect.currency.code, []).append(customer.effect)
        return [total(amounts, currency) for currency, amounts in sorted(sums.items())]

    @property
    def digest(self) -> str:
        """A digest of every figure: what is committed is what was shown, or nothing."""
        return digest_of(effect_document(self))


def effect_document(effect: BackfillEffect) -> dict[str, Any]:
    """Return every figure as a canonical JSON document; the digest covers it, and pages show it."""
    return {
        "accepted": effect.accepted,
        "duplicates": effect.duplicates,
        "conflicts": effect.conflicts,
        "rejected": effect.rejected,
        "refusals": list(effect.refusals),
        "in_no_window": list(effect.in_no_window),
        "effects": [wire(money) for money in effect.effects],
        "customers": [_customer_document(customer) for customer in effect.customers],
    }


def _customer_document(customer: CustomerEffect) -> dict[str, Any]:
    return {
        "customer_id": customer.customer_id,
        "name": customer.name,
        "accepted": customer.accepted,
        "duplicates": customer.duplicates,
        "conflicts": customer.conflicts,
        "effect": None if customer.effect is None else wire(customer.effect),
        "quantities": [
            {
                "meter": one.meter,
                "unit": one.unit,
                "before": plain(one.before),
                "after": plain(one.after),
                "difference": plain(one.difference),
            }
            for one in customer.quantities
        ],
        "money": [
            {
                "place": one.place,
                "what": one.what,
                "before": wire(one.before),
                "after": wire(one.after),
                "effect": wire(one.effect),
                "note": one.note,
            }
            for one in customer.money
        ],
        "unbilled": list(customer.unbilled),
    }


def affected(effect: BackfillEffect) -> Sequence[CustomerEffect]:
    """Return the customers for whom anything changes, the greatest effect first."""

    def weight(customer: CustomerEffect) -> tuple[Decimal, str]:
        return -abs(customer.effect.amount if customer.effect else Decimal(0)), customer.customer_id

    return sorted((one for one in effect.customers if one.accepted or one.conflicts), key=weight)
