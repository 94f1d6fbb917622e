"""What may be asked of credit: what is left of which grants."""

from django.db.models import OuterRef, QuerySet, Subquery
from moneyed import Money

from billing_site.kernel.money import round_money
from invoicing.credits.models import CreditEntry, CreditGrant
from invoicing.customers.models import Customer


def with_balance(grants: "QuerySet[CreditGrant]") -> "QuerySet[CreditGrant]":
    """Add `left` to grants: the amount that is left of each, as a number of its currency."""
    entries = CreditEntry.objects.filter(grant=OuterRef("pk")).order_by("-sequence")
    return grants.annotate(left=Subquery(entries.values("balance")[:1]))


def left_of(*, grant: CreditGrant) -> Money:
    """Return what is left of a grant that was read by `with_balance`."""
    left = grant.left  # type: ignore[attr-defined]
    return round_money(getattr(left, "amount", left), grant.currency)


def open_grants(*, customer: Customer) -> list[CreditGrant]:
    """Return the grants of a customer of which something is left, oldest first."""
    return list(with_balance(customer.credit_grants.all()).filter(left__gt=0).order_by("id"))  # type: ignore[misc]


def last_entry(*, grant: CreditGrant) -> CreditEntry:
    """Return the newest entry of a grant: its balance is what is left."""
    last = grant.entries.order_by("-sequence").first()
    assert last is not None, "a grant begins its entries"
    return last
