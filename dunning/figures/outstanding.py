"""Days sales outstanding by month, in each currency and legal entity, from the documents that the receivable account is made of."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal

from billing_site.kernel.money import round_money
from dunning.core.figures import days_sales_outstanding, month_before
from dunning.figures.answering import fetched
from dunning.figures.source import Asked, Bar, Drawing, Figure, Measure, Panel, Unit
from dunning.figures.sources import BILLING_KINDS
from invoicing.reports.asking import midnight_after
from invoicing.reports.receivables import RECEIVABLE_MOVEMENTS

MONTHS_SHOWN, MONTHS_BILLED = 12, 3
MEASURES = (
    Measure("receivable", "Receivable at its end", Unit.MONEY),
    Measure("billed", "Billed in three months", Unit.MONEY),
    Measure("days", "Days of these", Unit.COUNT),
    Measure("outstanding", "Days outstanding", Unit.DAYS, tone=1),
)
DEFINITION = (
    "Days sales outstanding = what is receivable at the end of the month ÷ what was billed in the three months up to then × the days of these "
    "(the balance method, as the Corporate Finance Institute and the Credit Research Foundation state it). Billed is what was issued less what became "
    "void or was credited off it, tax included, as in the receivable account; the last month is counted until the last day of the span, or today, and "
    "days before the first billing are none of these. "
    "Twelve months up to the end of the span; without billing in three months there is no figure."
)
# A month, what is receivable more by it, what was billed in it, and the first day of that.
Change = tuple[date, Decimal, Decimal, date | None]


def outstanding_figure(*, asked: Asked) -> Figure:
    """Return the days sales outstanding of twelve months; one query."""
    rows = fetched(
        f"""
        WITH movement AS ({RECEIVABLE_MOVEMENTS})
        SELECT movement.currency, entity.key, entity.name, date_trunc('month', movement.booked_at AT TIME ZONE 'UTC')::date,
               sum(movement.amount), coalesce(sum(movement.amount) FILTER (WHERE movement.kind = ANY(%(billed)s)), 0),
               min((movement.booked_at AT TIME ZONE 'UTC')::date) FILTER (WHERE movement.kind = ANY(%(billed)s))
          FROM movement
          JOIN invoicing_customer customer ON customer.id = movement.customer_id
          JOIN invoicing_legalentity entity ON entity.key = customer.legal_entity_id
         WHERE movement.booked_at < %(as_of_before)s
           AND (%(entity)s = '' OR entity.key = %(entity)s) AND (%(currency)s = '' OR movement.currency = %(currency)s)
         GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 4
        """,
        {**asked.values, "billed": [kind.value for kind in BILLING_KINDS]},
    )
    changes: dict[tuple[str, str, str], list[Change]] = {}
    for currency, entity, name, month, change, billed, first in rows:
        changes.setdefault((currency, entity, name), []).append((month, change, billed, first))
    panels = [
        Panel(currency, list(_months(asked.as_of, currency, those)), {}, entity=entity, entity_name=name)
        for (currency, entity, name), those in changes.items()
    ]
    return Figure(
        name="outstanding",
        title="How many days of billing stand open?",
        definition=DEFINITION,
        empty="Nothing was billed by then. With the first issued invoice it begins.",
        bar="Month",
        measures=MEASURES,
        panels=panels,
        drawn_as=Drawing.TIME,
    )


def month_end(*, month: date, as_of: date) -> date:
    """Return the last day of a month that counts."""
    return min(month_before(month=month, by=-1) - timedelta(days=1), as_of)


def billed_from(*, month: date) -> date:
    """Return the first day of the months whose billing a month is measured by."""
    return month_before(month=month, by=MONTHS_BILLED - 1)


def _months(as_of: date, currency: str, changes: Sequence[Change]) -> Iterator[Bar]:
    last = as_of.replace(day=1)
    billed_first = min((first for *_, first in changes if first), default=as_of)
    for month in (month_before(month=last, by=back) for back in range(MONTHS_SHOWN - 1, -1, -1)):
        if month < changes[0][0]:
            continue
        since, end = billed_from(month=month), month_end(month=month, as_of=as_of)
        receivable = sum((change for of, change, *_ in changes if of <= month), Decimal(0))
        billed = sum((amount for of, _, amount, _ in changes if since <= of <= month), Decimal(0))
        # A house that began later has billed on fewer days; where it has not billed yet there is no figure.
        days = (midnight_after(day=end).date() - (max(since, billed_first) if billed_first <= end else since)).days
        yield Bar(
            f"{month:%Y-%m}",
            f"{month:%Y-%m}",
            {
                "receivable": round_money(receivable, currency),
                "billed": round_money(billed, currency),
                "days": days,
                "outstanding": days_sales_outstanding(receivable=receivable, billed=billed, days=days),
            },
        )
