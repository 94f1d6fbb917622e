"""Money at risk: what is open by the state of the customer, and the recurring revenue of those who are chased."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import QuerySet
from moneyed import Money

from billing_site.kernel.money import total
from dunning.cases.models import DunningCase
from dunning.core.case_life import LIVE
from dunning.figures.answering import ALL, figure_of
from dunning.figures.source import Asked, Bar, Figure, Item, Measure, Panel, Unit
from dunning.figures.sources import RISK
from invoicing.core.life_cycle import State
from invoicing.customers.life_cycle import with_state
from invoicing.customers.models import Customer
from invoicing.reports.recurring_now import recurring_at

RECURRING = Measure("recurring", "Recurring, in a case", Unit.MONEY, tone=4)
_PLACES = {state.value: f"{place} {state.value}" for place, state in enumerate(State)}


@dataclass(frozen=True)
class Chased:
    """A customer who has an open case and a recurring revenue, with the bar of its state."""

    customer_id: int
    name: str
    bar: str
    amount: Money


def risk_figure(*, asked: Asked) -> Figure:
    """Return what is open by the state of the customer, with the recurring revenue of those who have a case; three queries."""
    figure = figure_of(source=RISK, asked=asked)
    recurring: dict[str, dict[str, list[Money]]] = {}
    for one in _chased(asked):
        recurring.setdefault(one.amount.currency.code, {}).setdefault(one.bar, []).append(one.amount)
    panels = [_with_recurring(panel, recurring.get(panel.currency, {})) for panel in figure.panels]
    return replace(figure, measures=(*figure.measures, RECURRING), panels=panels)


def risk_items(*, asked: Asked, bar: str, currency: str) -> list[Item]:
    """Return the customers whose recurring revenue a bar counts, largest first."""
    found = [
        Item(
            asked.at,
            one.customer_id,
            one.name,
            "customer",
            one.customer_id,
            "recurring revenue a month",
            one.amount,
            None,
        )
        for one in _chased(asked)
        if bar in (ALL, one.bar) and one.amount.currency.code == currency
    ]
    return sorted(found, key=lambda item: item.amount.amount if item.amount else 0, reverse=True)


def _chased(asked: Asked) -> Iterator[Chased]:
    """Yield who has an open case and a recurring revenue; two queries."""
    cases = DunningCase.objects.filter(state__in=LIVE).values("customer")
    customers: QuerySet[Any] = with_state(Customer.objects.filter(pk__in=cases)).order_by("pk")
    if asked.entity:
        customers = customers.filter(legal_entity__key=asked.entity)
    if asked.currency:
        customers = customers.filter(currency=asked.currency)
    rows = list(customers.values_list("pk", "name", "currency", "state"))
    amounts = recurring_at(customers={number: currency for number, _, currency, _ in rows}, moment=asked.at)
    for number, name, _, state in rows:
        if amounts.get(number):
            yield Chased(number, name, _PLACES[state], amounts[number])


def _with_recurring(panel: Panel, amounts: Mapping[str, Sequence[Money]]) -> Panel:
    sums = {bar.key: total(amounts.get(bar.key, ()), panel.currency) for bar in panel.bars}
    bars = [Bar(bar.key, bar.title, {**bar.values, RECURRING.key: sums[bar.key]}) for bar in panel.bars]
    return replace(panel, bars=bars, totals={**panel.totals, RECURRING.key: total(sums.values(), panel.currency)})
