"""Watch what customers spend: compare the running period with budgets, once for each threshold, and say what is pending.

The sweep is cheap where nothing happens: it looks at customers whose usage moved since it looked last, and at
everybody once a day, because contracts and the calendar move spend too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from moneyed import Money

from billing_site.kernel.period import Period
from invoicing.core.projecting import SpendForecast
from invoicing.core.spend import Basis, reached, spend_of
from invoicing.customers.models import Customer
from invoicing.customers.queries import names_of_accounts, with_payers
from invoicing.spend.models import AtLimit, Budget, NoticeKind, SpendNotice, SpendProgress, SpendWatch
from invoicing.spend.operations import change_budget, set_budget
from invoicing.spend.queries import budgets_of, customers_with_budgets, watched_spend
from invoicing.subscriptions.queries import phases_in_force
from invoicing.subscriptions.snapshot import periods_running
from invoicing.workflows.compute_invoice import ComputedInvoice, compute_invoice
from invoicing.workflows.forecast_spend import forecast_spend
from invoicing.workflows.run_report import OF_ONE_CUSTOMER
from metering.queries.touched import Touched, customers_touched
from metering.rollup import roll_up

# Contracts, prices and the calendar move spend without an event.
LOOK_AGAIN_AFTER = timedelta(days=1)
# So long before the end of a period its charges are told (S3-019).
PENDING_BEFORE = timedelta(days=3)
# A job ends well within the time that the queue gives it; the next one goes on.
SWEEP_CUSTOMERS = 1_000
LIMIT = 100
# Clocks of senders may be so much ahead of ours: what has just come is not left for tomorrow's look.
AHEAD = timedelta(minutes=5)


@dataclass
class SpendReport:
    """What a sweep did: how many customers it looked at, what is noticed now, and for whom nothing could be computed."""

    looked_at: int = 0
    notices: list[SpendNotice] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)


def sweep_spend(*, at: datetime, customers_max: int = SWEEP_CUSTOMERS) -> SpendReport:
    """Look at the customers whose usage moved since the last sweep and who have budgets, and at whoever was not seen for a day.

    It may run twice or at once: each customer is a transaction under the lock of what is watched, each notice is unique.
    """
    mark = roll_up().rolled_up_to
    progress, is_new = SpendProgress.objects.get_or_create(pk=1, defaults={"looked_through": mark})
    touched = customers_touched(after=mark if is_new else progress.looked_through, through=mark)
    report = SpendReport()
    chosen = [*_moved(touched, at=at), *_unseen(at=at)]
    unique = list({customer.pk: customer for customer in chosen}.values())
    for customer in unique[:customers_max]:
        report.looked_at += 1
        look = look_at_spend(customer=customer, at=at, known_through=mark)
        report.notices += look.notices
        report.failures += [(customer.key, problem) for problem in look.problems]
    if len(unique) <= customers_max:
        SpendProgress.objects.filter(pk=1, looked_through__lt=mark).update(looked_through=mark)
    return report


@dataclass(frozen=True)
class Look:
    """What looking at one customer brought: new notices, and why a period could not be computed."""

    notices: list[SpendNotice]
    problems: list[str]


@transaction.atomic
def look_at_spend(*, customer: Customer, at: datetime, known_through: int) -> Look:
    """Compute the running periods of a customer, keep what they come to, and notice what is reached (S0-140, S3-020).

    Roll up first. What cannot be computed keeps the spend of before, with the reason.
    """
    periods = periods_running(customer=customer, moment=at)
    budgets = budgets_of(customer=customer)
    _forget_others(customer, periods, at=at)
    look = Look([], [])
    for period in periods:
        watch = _locked_watch(customer, period, at=at)
        seen, watch.looked_at, watch.known_through, watch.problem = watch.spend, at, known_through, ""
        try:
            with transaction.atomic():
                computed = compute_invoice(customer=customer, period=period, until=at + AHEAD)
                watch.spend = spend_of(assembled=computed.assembled, at=at)
                watch.save()
                look.notices.extend(_keep_new(list(_notices(customer, computed, budgets, at=at))))
        except OF_ONE_CUSTOMER as problem:
            watch.spend, watch.problem = seen, (str(problem).partition("\n")[0] or type(problem).__name__)[:500]
            watch.save()
            look.problems.append(watch.problem)
    return look


def set_watched_budget(*, at: datetime, **fields: Any) -> Budget:
    """Set a budget and look at its customer at once: what is reached already is noticed now. Raises as `set_budget`."""
    budget = set_budget(**fields)
    _look_now(budget, at=at)
    return budget


def change_watched_budget(*, budget: Budget, at: datetime, **fields: Any) -> Budget:
    """Change a budget and look at its customer at once. Raises as `change_budget`."""
    changed = change_budget(budget=budget, **fields)
    _look_now(changed, at=at)
    return changed


def _look_now(budget: Budget, *, at: datetime) -> None:
    """Look at the customer of a budget; whom a default concerns the sweep sees, and access hears it at once."""
    if budget.customer is not None:
        look_at_spend(customer=budget.customer, at=at, known_through=roll_up().rolled_up_to)


def _moved(touched: Touched, *, at: datetime) -> Iterator[Customer]:
    keys = None if touched.everybody else with_payers(keys=touched.customers)
    known: dict[int, int] = {}
    for number, through in watched_spend(at=at).values_list("customer_id", "known_through"):
        known[number] = min(known.get(number, through), through)
    customers = list(customers_with_budgets(keys=keys).order_by("pk"))
    accounts = names_of_accounts(customers=customers)
    for customer in customers:
        used = (customer.key, *accounts.get(customer.pk, ()))
        if known.get(customer.pk, -1) < max(touched.number_of(customer_id=key) for key in used):
            yield customer


def _unseen(*, at: datetime) -> Iterator[Customer]:
    """Yield the customers with a subscription in force of whom nothing was seen for a day, or nothing of this period."""
    seen = watched_spend(at=at).filter(looked_at__gt=at - LOOK_AGAIN_AFTER).values("customer")
    in_force = phases_in_force(at=at)
    own, of_accounts = (in_force.values(f"subscription__{one}") for one in ("customer", "customer__billed_to"))
    found = Customer.objects.filter(Q(pk__in=own) | Q(pk__in=of_accounts))
    yield from found.exclude(pk__in=seen).order_by("pk")


def _forget_others(customer: Customer, periods: Sequence[Period], *, at: datetime) -> None:
    """Remove what is watched of periods that hold this moment and do not run: the contract has changed."""
    running = Q(pk__in=[])
    for period in periods:
        running |= Q(period_start=period.start, period_end=period.end)
    watched_spend(at=at).filter(customer=customer).exclude(running).delete()


def _locked_watch(customer: Customer, period: Period, *, at: datetime) -> SpendWatch:
    """Return the row of a period, locked: who computes later writes later."""
    SpendWatch.objects.bulk_create(
        [
            SpendWatch(
                customer=customer,
                period_start=period.start,
                period_end=period.end,
                currency=customer.currency,
                spend=Money(0, customer.currency),
                looked_at=at,
            )
        ],
        ignore_conflicts=True,
    )
    return SpendWatch.objects.select_for_update().get(
        customer=customer, period_start=period.start, period_end=period.end
    )


def _notices(
    customer: Customer, computed: ComputedInvoice, budgets: Sequence[Budget], *, at: datetime
) -> Iterator[SpendNotice]:
    period, spend = computed.assembled.period, spend_of(assembled=computed.assembled, at=at)
    for budget in budgets:
        thresholds = {*budget.thresholds, LIMIT} if budget.at_limit == AtLimit.STOP else budget.thresholds
        for threshold in reached(spend=spend.amount, amount=budget.amount.amount, thresholds=thresholds):
            yield _threshold_notice(customer, period, budget, Basis.ACTUAL, threshold, spend, at=at)
    yield from _projected_notices(customer, computed, budgets, at=at)
    if period.end - at <= PENDING_BEFORE and spend.amount > 0:
        yield SpendNotice(
            customer=customer,
            kind=NoticeKind.PENDING,
            period_start=period.start,
            period_end=period.end,
            currency=customer.currency,
            spend=spend,
            basis=Basis.ACTUAL.value,
            noticed_at=at,
        )


def _projected_notices(
    customer: Customer, computed: ComputedInvoice, budgets: Sequence[Budget], *, at: datetime
) -> Iterator[SpendNotice]:
    """Yield what the forecast reaches; it is made only where a budget asks for it."""
    asking = [budget for budget in budgets if budget.projected_thresholds]
    forecast = forecast_spend(customer=customer, computed=computed, at=at) if asking else ""
    if not isinstance(forecast, SpendForecast):
        return
    for budget in asking:
        expected, amount = forecast.expected, budget.amount.amount
        for threshold in reached(spend=expected.amount, amount=amount, thresholds=budget.projected_thresholds):
            yield _threshold_notice(
                customer, computed.assembled.period, budget, Basis.PROJECTED, threshold, expected, at=at
            )


def _threshold_notice(
    customer: Customer, period: Period, budget: Budget, basis: Basis, threshold: int, spend: Money, *, at: datetime
) -> SpendNotice:
    return SpendNotice(
        customer=customer,
        kind=NoticeKind.THRESHOLD,
        period_start=period.start,
        period_end=period.end,
        currency=customer.currency,
        spend=spend,
        budget=budget,
        basis=basis.value,
        threshold=threshold,
        amount=budget.amount,
        at_limit=budget.at_limit,
        noticed_at=at,
    )


def _keep_new(wanted: Sequence[SpendNotice]) -> list[SpendNotice]:
    """Store the notices that are not there yet, and return them; the constraints refuse what came in between."""
    new = [notice for notice in wanted if not _is_there(notice)]
    return SpendNotice.objects.bulk_create(new, ignore_conflicts=True)


def _is_there(notice: SpendNotice) -> bool:
    same = SpendNotice.objects.filter(
        customer=notice.customer,
        kind=notice.kind,
        period_start=notice.period_start,
        period_end=notice.period_end,
    )
    if notice.kind == NoticeKind.THRESHOLD:
        same = same.filter(budget=notice.budget, basis=notice.basis, threshold=notice.threshold, amount=notice.amount)
    return same.exists()
