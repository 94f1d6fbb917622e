"""What a customer spends in the periods that run, and how its budgets stand: one computation for admin, portal and API."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from moneyed import Money

from billing_site.kernel.period import Period
from invoicing.core.contract import RatedLine
from invoicing.core.projecting import SpendForecast
from invoicing.core.spend import Standing, spend_of, standing
from invoicing.customers.models import Customer
from invoicing.spend.models import Budget
from invoicing.spend.queries import budgets_of
from invoicing.subscriptions.snapshot import periods_running
from invoicing.workflows.compute_invoice import ComputedInvoice, compute_invoice
from invoicing.workflows.forecast_spend import forecast_spend
from metering.rollup import roll_up


@dataclass(frozen=True)
class BudgetStanding:
    """A budget and what a period's spend makes of it."""

    budget: Budget
    standing: Standing

    @property
    def width(self) -> int:
        """How much of a bar of a hundred is full."""
        return min(self.standing.percent, 100)


@dataclass(frozen=True)
class PeriodSpend:
    """A running period: its charges so far, which are pending until it is invoiced, and its budgets."""

    period: Period
    spend: Money
    lines: tuple[RatedLine, ...]
    budgets: tuple[BudgetStanding, ...]
    forecast: SpendForecast | None
    forecast_problem: str

    @property
    def forecast_reason(self) -> str:
        """Why the forecast says what it says, or why there is none."""
        return self.forecast.reason if self.forecast else self.forecast_problem


def read_spend(*, customer: Customer, at: datetime) -> list[PeriodSpend]:
    """Return what each running period of a customer has cost by a moment; every event accepted before counts."""
    roll_up()
    return [
        spend_of_period(
            customer=customer,
            computed=compute_invoice(customer=customer, period=period, until=at),
            budgets=budgets_of(customer=customer),
            at=at,
        )
        for period in periods_running(customer=customer, moment=at)
    ]


def spend_of_period(
    *, customer: Customer, computed: ComputedInvoice, budgets: Sequence[Budget], at: datetime
) -> PeriodSpend:
    """Return the same of a period that is computed already."""
    spend = spend_of(assembled=computed.assembled, at=at)
    forecast = forecast_spend(customer=customer, computed=computed, at=at)
    return PeriodSpend(
        period=computed.assembled.period,
        spend=spend,
        lines=computed.assembled.lines,
        budgets=tuple(
            BudgetStanding(budget, standing(spend=spend, amount=budget.amount, thresholds=budget.thresholds))
            for budget in budgets
        ),
        forecast=forecast if isinstance(forecast, SpendForecast) else None,
        forecast_problem="" if isinstance(forecast, SpendForecast) else forecast,
    )
