"""What may be asked about spend: which budgets hold for whom, what was seen, and whether a limit stops a customer."""

from collections.abc import Collection
from datetime import datetime

from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery

from billing_site.kernel.errors import NotFound
from invoicing.customers.models import Customer
from invoicing.spend.models import AtLimit, Budget, SetBy, SpendWatch


def budget_by_key(*, key: str) -> Budget:
    """Return the budget; raises NotFound on the field `key`."""
    found = Budget.objects.select_related("customer").filter(key=key).first() if "\x00" not in key else None
    if found is None:
        raise NotFound(f"there is no budget {key!r}", field="key")
    return found


def own_budget(*, customer: Customer, key: str) -> Budget:
    """Return a budget that a customer has set itself; raises NotFound on the field `key`."""
    budget = budget_by_key(key=key)
    if budget.customer_id != customer.pk or budget.set_by != SetBy.CUSTOMER:
        raise NotFound(f"there is no budget {key!r}", field="key")
    return budget


def budgets_in_force() -> "QuerySet[Budget]":
    """Return the budgets that are watched."""
    return Budget.objects.filter(retired_at__isnull=True)


def budgets_of(*, customer: Customer) -> list[Budget]:
    """Return what a customer's spend is compared with: its own budgets, and the defaults where the company set it none."""
    own = list(budgets_in_force().filter(customer=customer).order_by("amount", "id"))
    if any(budget.set_by == SetBy.COMPANY for budget in own):
        return own
    return [*own, *budgets_in_force().filter(customer=None, currency=customer.currency).order_by("amount", "id")]


def stopped_until(*, customer: str, at: datetime) -> Subquery:
    """Return, for a query of customers, until when a limit stops each; null where none does.

    `customer` is the outer query's name for the customer's row. Nothing has to be lifted: a limit that is raised or
    retired, spend that is cancelled and a period that ends are heard at the next question.
    """
    at_its_limit = budgets_in_force().filter(at_limit=AtLimit.STOP.value, amount__lte=OuterRef("spend"))
    set_by_company = budgets_in_force().filter(customer=OuterRef("customer"), set_by=SetBy.COMPANY.value)
    return Subquery(
        SpendWatch.objects.filter(customer=OuterRef(customer), period_start__lte=at, period_end__gt=at)
        .filter(
            Exists(at_its_limit.filter(customer=OuterRef("customer")))
            | Q(
                Exists(at_its_limit.filter(customer=None, currency=OuterRef("currency"))),
                ~Exists(set_by_company),
            )
        )
        .order_by("-period_end")
        .values("period_end")[:1]
    )


def watched_spend(*, at: datetime) -> "QuerySet[SpendWatch]":
    """Return what was seen of the periods that run at a moment."""
    return SpendWatch.objects.filter(period_start__lte=at, period_end__gt=at)


def customers_with_budgets(*, keys: Collection[str] | None = None) -> "QuerySet[Customer]":
    """Return the customers whose spend is compared with something; of these keys where they are given."""
    currencies = budgets_in_force().filter(customer=None).values("currency")
    own = budgets_in_force().filter(customer=OuterRef("pk"))
    found = Customer.objects.filter(Q(Exists(own)) | Q(currency__in=currencies))
    return found if keys is None else found.filter(key__in=keys)


def stopped_watches(*, at: datetime) -> "QuerySet[SpendWatch]":
    """Return the running periods whose customers a limit stops."""
    return (
        watched_spend(at=at)
        .annotate(stopped=stopped_until(customer="customer_id", at=at))
        .filter(stopped=F("period_end"))
    )
