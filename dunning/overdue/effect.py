"""What terms of late payment would put on customers by a moment, before anybody sets them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import F, Q
from moneyed import Money

from billing_site.kernel.digest import digest_of
from billing_site.kernel.money import total, wire
from dunning.overdue.models import OverdueKind, OverdueTerms
from dunning.overdue.operations import set_terms
from dunning.overdue.queries import LATE, Accrued, accrued_of
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, InvoiceStatus

# So many customers are worked out while somebody waits for the page; it says how many more there are.
CUSTOMERS_MAX = 300


@dataclass(frozen=True)
class Effect:
    """What terms would put on customers by today: how many of them, on how many invoices, and how much of which kind in which currency.

    `unread` is the number of customers with late invoices that were too many to look at.
    """

    customers: int
    invoices: int
    amounts: Sequence[tuple[OverdueKind, Money]]
    unread: int

    @property
    def digest(self) -> str:
        """A digest of what was shown: terms are set by it as somebody saw them."""
        return digest_of([self.customers, self.invoices, [[kind.value, wire(amount)] for kind, amount in self.amounts]])


def effect_of(*, terms: OverdueTerms, at: datetime) -> Effect:
    """Return what terms would put on customers beside what those in force do: set, counted and taken back. Raises InvalidFields."""
    late = Invoice.objects.filter(status__in=LATE, due_date__lt=at.date())
    late = late.filter(Q(status=InvoiceStatus.ISSUED) | Q(paid_at__date__gt=F("due_date")))
    found = Customer.objects.filter(pk__in=late.values("customer")).order_by("pk")
    count, customers = found.count(), list(found[:CUSTOMERS_MAX])
    before = {_key(one) for customer in customers for one in accrued_of(customer=customer, at=at)}
    with transaction.atomic():
        set_terms(terms=terms, at=at, actor="form", reason="what they would put on customers")
        put_on = [
            one for customer in customers for one in accrued_of(customer=customer, at=at) if _key(one) not in before
        ]
        transaction.set_rollback(True)
    return Effect(
        customers=len({one.about.customer_id for one in put_on}),
        invoices=len({one.about.pk for one in put_on}),
        amounts=list(_amounts(put_on)),
        unread=max(0, count - CUSTOMERS_MAX),
    )


def _key(one: Accrued) -> tuple[str, int, str]:
    return one.words, one.about.pk, str(one.amount)


def _amounts(put_on: Sequence[Accrued]) -> Iterable[tuple[OverdueKind, Money]]:
    for kind in OverdueKind:
        for currency in sorted({one.amount.currency.code for one in put_on if one.kind is kind}):
            own = (one.amount for one in put_on if one.kind is kind and one.amount.currency.code == currency)
            yield kind, total(own, currency)
