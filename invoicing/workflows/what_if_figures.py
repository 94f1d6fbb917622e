"""The figures of a what-if: by currency the totals, who would pay less or more, month by month, and customer by customer."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from django.db.models import Count, F, Max, Q, QuerySet, Sum
from moneyed import Money

from billing_site.kernel.money import EXACT, round_money, total, wire
from invoicing.what_ifs.models import WhatIf, WhatIfFigure

# Bounds of the groups of customers by how much their bills change, in percent; no change stands by itself.
BOUNDS = (5, 10, 20, 50)
SAME = "the same"
FROM_NOTHING = "paid nothing before"
GROUP_NAMES = (
    "less by 50 % or more",
    "less by 20 to 50 %",
    "less by 10 to 20 %",
    "less by 5 to 10 %",
    "less by under 5 %",
    SAME,
    "more by under 5 %",
    "more by 5 to 10 %",
    "more by 10 to 20 %",
    "more by 20 to 50 %",
    "more by 50 % or more",
    FROM_NOTHING,
)
# What a list of customers may hold, and by what it may be ordered.
SIDES = {
    "": Q(),
    "less": Q(problems=0, effect__lt=0),
    "more": Q(problems=0, effect__gt=0),
    "same": Q(problems=0, effect=0),
    "problem": Q(problems__gt=0),
}
ORDERS = {
    "effect": "effect",
    "before": "before_sum",
    "after": "after_sum",
    "name": "customer__name",
}


@dataclass(frozen=True)
class CustomerChange:
    """What one customer was charged and would have been; `problems` counts the invoices for which that cannot be told, `why` is one."""

    customer_id: int
    key: str
    name: str
    invoices: int
    before: Money
    after: Money | None
    problems: int
    why: str

    @property
    def effect(self) -> Money | None:
        """How much more the customer would have paid; negative where it is less."""
        return None if self.after is None else self.after - self.before

    @property
    def percent(self) -> Decimal | None:
        """The change in percent, rounded to one decimal; None where nothing was paid before."""
        return None if self.effect is None else percent_of(effect=self.effect, before=self.before)


def percent_of(*, effect: Money, before: Money) -> Decimal | None:
    """Return a change in percent, rounded to one decimal; None where there was nothing before."""
    if not before.amount:
        return None
    return round_tenth(Fraction(effect.amount) * 100 / Fraction(before.amount))


def round_tenth(number: Fraction) -> Decimal:
    """Round to one decimal, halves away from zero."""
    tenths = (abs(number) * 10 + Fraction(1, 2)).__floor__()
    return EXACT.scaleb(Decimal(tenths if number >= 0 else -tenths), -1)


def by_customer(*, asked: WhatIf, currency: str) -> "QuerySet[Any, Any]":
    """Return one row a customer: sums of what was and would have been paid, and how many invoices cannot be told."""
    rows = WhatIfFigure.objects.filter(what_if=asked, currency=currency)
    return (
        rows.order_by()
        .values("customer_id", "customer__key", "customer__name")
        .annotate(
            invoices=Count("pk"),
            before_sum=Sum("before"),
            after_sum=Sum("after"),
            problems=Count("pk", filter=~Q(problem="")),
            why=Max("problem"),
        )
        .annotate(effect=F("after_sum") - F("before_sum"))
    )


def customer_changes(
    *, asked: WhatIf, currency: str, side: str = "", order: str = "effect", descending: bool = True
) -> "QuerySet[Any, Any]":
    """Return the customers of one side (SIDES) in an order (ORDERS); `change_of` reads a row."""
    column = F(ORDERS[order])
    first = column.desc(nulls_last=True) if descending else column.asc(nulls_last=True)
    return by_customer(asked=asked, currency=currency).filter(SIDES[side]).order_by(first, "customer_id")


def change_of(row: dict[str, Any], *, currency: str) -> CustomerChange:
    """Return a row of `customer_changes` with its money."""
    told = not row["problems"]
    return CustomerChange(
        customer_id=row["customer_id"],
        key=row["customer__key"],
        name=row["customer__name"],
        invoices=row["invoices"],
        before=round_money(row["before_sum"], currency),
        after=round_money(row["after_sum"], currency) if told else None,
        problems=row["problems"],
        why=row["why"],
    )


def figures_of(*, asked: WhatIf) -> dict[str, Any]:
    """Return totals, groups and months by currency as a document; customers of whom one invoice cannot be told stay out."""
    currencies = WhatIfFigure.objects.filter(what_if=asked).order_by("currency").values_list("currency", flat=True)
    return {"currencies": [_of_currency(asked, currency) for currency in currencies.distinct()]}


def _of_currency(asked: WhatIf, currency: str) -> dict[str, Any]:
    changes = [change_of(row, currency=currency) for row in by_customer(asked=asked, currency=currency)]
    told = [change for change in changes if change.after is not None]
    left_out = [change for change in changes if change.after is None]
    document = {
        "currency": currency,
        "customers": len(told),
        "before": wire(total((change.before for change in told), currency)),
        "after": wire(total((change.after for change in told if change.after), currency)),
        "effect": wire(_effect(told, currency)),
        "left_out": {
            "customers": len(left_out),
            "invoices": sum(change.problems for change in left_out),
            "before": wire(total((change.before for change in left_out), currency)),
        },
        "months": _months(asked, currency, left_out),
        "groups": [
            {"name": name, "customers": len(members), "effect": wire(_effect(members, currency))}
            for name, members in _groups(told).items()
        ],
    }
    for side, sign in (("less", -1), ("same", 0), ("more", 1)):
        members = [change for change in told if _sign(change) == sign]
        document[side] = {"customers": len(members), "effect": wire(_effect(members, currency))}
    return document


def _months(asked: WhatIf, currency: str, left_out: list[CustomerChange]) -> list[dict[str, Any]]:
    rows = (
        WhatIfFigure.objects.filter(what_if=asked, currency=currency)
        .exclude(customer__in=[change.customer_id for change in left_out])
        .order_by("month")
        .values("month")
        .annotate(invoices=Count("pk"), before_sum=Sum("before"), after_sum=Sum("after"))
    )
    return [
        {
            "month": row["month"].isoformat()[:7],
            "invoices": row["invoices"],
            "before": wire(round_money(row["before_sum"], currency)),
            "after": wire(round_money(row["after_sum"], currency)),
        }
        for row in rows
    ]


def _groups(changes: list[CustomerChange]) -> dict[str, list[CustomerChange]]:
    groups: dict[str, list[CustomerChange]] = {name: [] for name in GROUP_NAMES}
    for change in changes:
        groups[group_of(change)].append(change)
    return groups


def group_of(change: CustomerChange) -> str:
    """Return the name of the group of a customer; a bound belongs to the group farther from no change."""
    sign = _sign(change)
    if sign == 0:
        return SAME
    if not change.before.amount:
        return FROM_NOTHING
    assert change.effect is not None, "who is grouped has figures"
    part = abs(Fraction(change.effect.amount) * 100 / Fraction(change.before.amount))
    step = sum(part >= bound for bound in BOUNDS)
    same = GROUP_NAMES.index(SAME)
    return GROUP_NAMES[same + sign * (step + 1)]


def _sign(change: CustomerChange) -> int:
    assert change.effect is not None, "who is counted has figures"
    return (change.effect.amount > 0) - (change.effect.amount < 0)


def _effect(changes: list[CustomerChange], currency: str) -> Money:
    return total((change.effect for change in changes if change.effect is not None), currency)
