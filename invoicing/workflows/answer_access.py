"""May a customer be served now, and why: one read of what is true, asked before every call of somebody's product."""

from dataclasses import dataclass
from datetime import date, datetime

from django.db.models import OuterRef, Subquery

from billing_site.kernel.errors import NotFound
from invoicing.core.access import Stretch, Verdict, access_at
from invoicing.core.phases import PhaseKind
from invoicing.customers.models import Customer, SettlementChannel
from invoicing.invoices.queries import overdue
from invoicing.spend.queries import stopped_until

_PHASE = "subscriptions__phases__"
_COLUMNS = ("kind", "starts_at", "ends_at", "subscription__key", "plan_version__plan__key")


@dataclass(frozen=True)
class Access:
    """The verdict, and since when an invoice is overdue (which by itself takes nothing from the customer)."""

    verdict: Verdict
    overdue_since: date | None


def answer_access(*, customer_key: str, at: datetime) -> Access:
    """Return whether a customer is served at a moment; one query. Raises NotFound (key).

    Read from the phases, invoices and limits themselves: a planned end or an end of a trial needs no job to be heard of.
    """
    oldest = overdue(at=at).filter(customer=OuterRef("pk")).values("due_date")[:1]
    rows = list(
        Customer.objects.filter(key=customer_key)
        .annotate(overdue_since=Subquery(oldest), stopped_until=stopped_until(customer="pk", at=at))
        .values_list(
            "overdue_since",
            "stopped_until",
            "settlement_channel",
            "payment_method",
            *(_PHASE + column for column in _COLUMNS),
        )
    )
    if not rows:
        raise NotFound(f"there is no customer {customer_key!r}", field="key")
    stretches = [
        Stretch(kind=PhaseKind(kind), starts_at=starts_at, ends_at=ends_at, subscription=subscription, plan=plan)
        for *_, kind, starts_at, ends_at, subscription, plan in rows
        # A customer without a subscription is one row without a phase.
        if kind is not None
    ]
    overdue_since, stopped, channel, payment_method = rows[0][:4]
    can_pay = channel != SettlementChannel.STRIPE or bool(payment_method)
    verdict = access_at(stretches=stretches, can_pay=can_pay, at=at, stopped_until=stopped)
    return Access(verdict=verdict, overdue_since=overdue_since)
