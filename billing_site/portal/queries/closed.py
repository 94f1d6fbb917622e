"""What a customer whose account is closed is told: since when, which invoice is the last, and what it can take along."""

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from django.db.models import Q

from billing_site.portal.queries.usage import days_of
from invoicing.core.life_cycle import State
from invoicing.customers.life_cycle import last_move
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.subscriptions.agreements import billed_to
from invoicing.workflows.offboarding import offboarding_of


@dataclass(frozen=True)
class ClosedAccount:
    """The day on which it was closed, where the customer is; `final` is its last invoice once that is issued, `comes_after` the day after which it comes."""

    closed_on: date
    final: Invoice | None
    comes_after: date | None


def closed_account(*, customer: Customer, at: datetime) -> ClosedAccount | None:
    """Return what there is to say; None as long as an account is open, and once its customer has come back."""
    move = last_move(customer=customer)
    if move is None or move.to_state != State.CHURNED:
        return None
    runs = Q(ended_at=None) | Q(ended_at__gt=at)
    if billed_to(customers=[customer.pk]).filter(runs).exists():
        return None
    zone = ZoneInfo(customer.timezone)
    closed_on = move.moved_at.astimezone(zone).date()
    left = offboarding_of(customer=customer)
    # Who pays for an account has its last invoice.
    if customer.billed_to_id is not None:
        return ClosedAccount(closed_on, None, None)
    final = left.final if left.final is not None and left.final.status != InvoiceStatus.DRAFT else None
    comes_after = days_of(period=left.to_invoice[-1], zone=zone)[1] if left.to_invoice else None
    return ClosedAccount(closed_on, final, comes_after)
