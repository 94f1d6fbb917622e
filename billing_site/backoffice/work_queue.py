"""What a kind of work that waits for people looks like, and the words that queues share."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.urls import reverse
from moneyed import Money

from billing_site.kernel.money import round_money


@dataclass(frozen=True)
class WorkQueue:
    """One kind of work that waits for a person."""

    name: str
    link: str
    empty: str
    count: int = 0
    oldest: datetime | None = None
    money: tuple[Money, ...] = ()
    why: str = ""


def admin_list(model: str, query: str = "", *, app: str = "invoicing") -> str:
    """Return the address of a list of the admin, narrowed by a query."""
    return reverse(f"admin:{app}_{model}_changelist") + (f"?{query}" if query else "")


def amounts_by_currency(rows: Iterable[Mapping[str, Any]]) -> tuple[Money, ...]:
    """Add rows of a currency and an amount up; currencies are never added up."""
    sums: dict[str, Decimal] = {}
    for row in rows:
        sums[row["currency"]] = sums.get(row["currency"], Decimal(0)) + row["amount"]
    return tuple(round_money(amount, currency) for currency, amount in sorted(sums.items()))


def first_named(names: list[str]) -> str:
    """Name the first three, and say how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
