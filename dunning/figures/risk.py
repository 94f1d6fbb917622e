"""Money at risk: what is open by the state of the customer, and the recurring revenue of those who are chased."""

from collections.abc import Iterator
from dataclasses import replace

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
from invoicing.reports.recurring import recurring_at

RECURRING = Measure("recurring", "Recurring, in a case", Unit.MONEY, tone=4)
_PLACES = {state.value: f"{place} {state.value}" for place, state in enumerate(State)}


def risk_figure(*, asked: Asked) -> Figure:
    """Return what is open by the state of the customer, with the recurring revenue of those who have a case."""
    figure = figure_of(source=RISK, asked=asked)
    recurring: dict[str, dict[str, Money]] = {}
    for customer, bar, amount in _chased(asked):
        mine = recurring.setdefault(customer.currency, {})
        mine[bar] = mine.get(bar, total((), customer.currency)) + amount
    panels = [_with_recurring(panel, recurring.get(panel.currency, {})) for panel in figure.panels]
    return replace(figure, measures=(*figure.measures, RECURRING), panels=panels)


def risk_items(*, asked: Asked, bar: str, currency: str) -> list[Item]:
    """Return the customers whose recurring revenue a bar counts, largest first."""
    found = [
        Item(asked.at, customer.pk, customer.name, "customer", customer.pk, "recurring revenue a month", amount, None)
        for customer, of, amount in _chased(asked)
        if bar in (ALL, of) and customer.currency == currency
    ]
    return sorted(found, key=lambda item: item.amount.amount if item.amount else 0, reverse=True)


def _chased(asked: Asked) -> Iterator[tuple[Customer, str, Money]]:
    """Yield who has an open case and a recurring revenue, with the bar of its state."""
    cases = DunningCase.objects.filter(state__in=LIVE).values("customer")
    customers = with_state(Customer.objects.filter(pk__in=cases)).order_by("pk")
    if asked.entity:
        customers = customers.filter(legal_entity__key=asked.entity)
    if asked.currency:
        customers = customers.filter(currency=asked.currency)
    rows = list(customers)
    amounts = recurring_at(customers=rows, moment=asked.at)
    for customer in rows:
        if amounts.get(customer.pk):
            yield customer, _PLACES[customer.state], amounts[customer.pk]  # type: ignore[attr-defined]


def _with_recurring(panel: Panel, amounts: dict[str, Money]) -> Panel:
    nothing = total((), panel.currency)
    bars = [Bar(bar.key, bar.title, {**bar.values, RECURRING.key: amounts.get(bar.key, nothing)}) for bar in panel.bars]
    return replace(panel, bars=bars, totals={**panel.totals, RECURRING.key: total(amounts.values(), panel.currency)})
