"""What the customer has promised to spend, and how much of it is left, as far as it is invoiced."""

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from moneyed import Money

from billing_site.kernel.money import round_money
from billing_site.portal.queries.usage import days_of, utc_period
from invoicing.customers.models import Customer
from invoicing.subscriptions.commitment import CommitmentPayment, CommitmentTranche
from invoicing.subscriptions.committed import burndown_of


@dataclass(frozen=True)
class CommittedSpend:
    """A tranche that runs: its days, what was promised with what rolled into it, spent and left."""

    first_day: date
    last_day: date
    is_paid_in_advance: bool
    promised: Money
    spent: Money
    left: Money


def committed_spend(*, customer: Customer, at: datetime) -> tuple[CommittedSpend, ...]:
    """Return the tranches that run at a moment, oldest first."""
    running = CommitmentTranche.objects.filter(subscription__customer=customer, starts_at__lte=at, ends_at__gt=at)
    rows = running.select_related("commitment", "subscription").order_by("starts_at", "id")
    return tuple(_committed(tranche, ZoneInfo(customer.timezone)) for tranche in rows)


def _committed(tranche: CommitmentTranche, zone: ZoneInfo) -> CommittedSpend:
    burndown, currency = burndown_of(tranche=tranche), tranche.currency
    first_day, last_day = days_of(period=utc_period(start=tranche.starts_at, end=tranche.ends_at), zone=zone)
    return CommittedSpend(
        first_day=first_day,
        last_day=last_day,
        is_paid_in_advance=tranche.commitment.payment == CommitmentPayment.IN_ADVANCE,
        promised=round_money(burndown.promised + burndown.rolled_in, currency),
        spent=round_money(burndown.spent, currency),
        left=round_money(burndown.left, currency),
    )
