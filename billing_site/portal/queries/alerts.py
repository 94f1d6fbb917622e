"""The portal's page of alerts: what is watched for a customer, and what was told."""

from dataclasses import dataclass

from invoicing.customers.models import Customer
from invoicing.spend.models import Budget, SpendNotice
from invoicing.spend.queries import budgets_of

NOTICES_SHOWN_MAX = 20


@dataclass(frozen=True)
class AlertsPage:
    """The budgets that hold for a customer, and the newest notices."""

    budgets: tuple[Budget, ...]
    notices: tuple[SpendNotice, ...]


def alerts_page(*, customer: Customer) -> AlertsPage:
    """Return the page of one customer."""
    notices = customer.spend_notices.select_related("budget").order_by("-id")
    return AlertsPage(tuple(budgets_of(customer=customer)), tuple(notices[:NOTICES_SHOWN_MAX]))
