"""The portal's page of alerts: what is watched for a customer, what was told, and what was unusual."""

from dataclasses import dataclass

from invoicing.customers.models import Customer
from invoicing.spend.models import Budget, SpendNotice, UsageAnomaly
from invoicing.spend.queries import budgets_of

NOTICES_SHOWN_MAX = 20


@dataclass(frozen=True)
class AlertsPage:
    """The budgets that hold for a customer, the newest notices, and the newest unusual days."""

    budgets: tuple[Budget, ...]
    notices: tuple[SpendNotice, ...]
    anomalies: tuple[UsageAnomaly, ...]


def alerts_page(*, customer: Customer) -> AlertsPage:
    """Return the page of one customer."""
    notices = customer.spend_notices.select_related("budget").order_by("-id")
    return AlertsPage(
        budgets=tuple(budgets_of(customer=customer)),
        notices=tuple(notices[:NOTICES_SHOWN_MAX]),
        anomalies=tuple(customer.anomalies.order_by("-id")[:NOTICES_SHOWN_MAX]),
    )
