"""What may be asked about top-ups."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.db.models import QuerySet

from billing_site.kernel.errors import NotFound
from invoicing.customers.models import Customer
from invoicing.top_ups.models import TopUp
from invoicing.top_ups.rules import NEEDS_SOMEBODY, TopUpRule


def top_up_by_key(*, key: str, of_customer: str = "") -> TopUp:
    """Return a top-up by the key of its invoice, of one customer only where its key is given; raises NotFound."""
    found = TopUp.objects.select_related("customer", "invoice", "grant").filter(invoice__key=key).first()
    if found is None or of_customer not in ("", found.customer.key):
        raise NotFound(f"there is no top-up {key!r}", field="key")
    return found


def rule_by_key(*, key: str, of_customer: str = "") -> TopUpRule:
    """Return a rule by its key, of one customer only where its key is given; raises NotFound."""
    found = TopUpRule.objects.select_related("customer").filter(key=key).first()
    if found is None or of_customer not in ("", found.customer.key):
        raise NotFound(f"there is no top-up rule {key!r}", field="key")
    return found


def rules_that_need_somebody() -> "QuerySet[TopUpRule]":
    """Return the rules in force that cannot top up, or wait for money that did not come."""
    return TopUpRule.objects.filter(retired_at=None, state__in=NEEDS_SOMEBODY)


def automatic_in_month(*, customer: Customer, at: datetime) -> int:
    """Return how many top-ups rules have made for a customer in the calendar month of a moment, where the customer is."""
    zone = ZoneInfo(customer.timezone)
    first = at.astimezone(zone).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (first + timedelta(days=32)).replace(day=1)
    made = customer.top_ups.filter(currency=customer.currency, rule__isnull=False)
    return made.filter(made_at__gte=first, made_at__lt=following).count()
