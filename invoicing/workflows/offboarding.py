"""What is left to do for a customer that has churned: its final invoice, and what it still owes (S0-129, S0-130)."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Coalesce
from moneyed import Money

from billing_site.kernel.money import round_money
from billing_site.kernel.period import Period
from invoicing.bank.queries import money_on_account, on_account_of
from invoicing.core.life_cycle import State
from invoicing.core.phases import PhaseKind
from invoicing.customers.life_cycle import with_state
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.subscriptions.agreements import billed_to
from invoicing.subscriptions.models import SubscriptionPhase
from invoicing.subscriptions.snapshot import periods_due
from invoicing.workflows.progressive_rest import left_of_progressive

# The longest billing period is a year: whatever has ended is due by then.
LONGEST = timedelta(days=400)


@dataclass(frozen=True)
class Offboarding:
    """What closes a customer: periods that are still to be invoiced, drafts that wait for their issue, invoices that are unpaid.

    `held` are progressive invoices with what of them, before tax, nothing takes off any more. `on_account` is the customer's money that came by bank and
    is neither applied nor paid back, by currency. `final` is the invoice of the last period, None until it is drafted or where nothing was ever charged.
    """

    to_invoice: tuple[Period, ...]
    drafts: tuple[Invoice, ...]
    unpaid: tuple[Invoice, ...]
    held: tuple[tuple[Invoice, Money], ...]
    final: Invoice | None
    on_account: tuple[Money, ...]

    @property
    def is_complete(self) -> bool:
        """Say whether nothing is left to do."""
        return not (self.to_invoice or self.drafts or self.unpaid or self.held or self.on_account)


def customers_to_close() -> QuerySet[Any]:
    """Return the customers recorded as churned for whom something is left to do, with `state` and `state_since`.

    That is: an invoice that is a draft or unpaid, a subscription whose last charged time no invoice has reached yet, something that is
    left of a progressive invoice, or money on account that is to be paid back.
    """
    left = Invoice.objects.filter(customer=OuterRef("pk"), status__in=(InvoiceStatus.DRAFT, InvoiceStatus.ISSUED))
    payer = Coalesce(OuterRef("subscription__customer__billed_to"), OuterRef("subscription__customer"))
    reached = Invoice.objects.filter(customer=payer, period_end__gte=OuterRef("ends_at"))
    charged = SubscriptionPhase.objects.filter(kind=PhaseKind.ACTIVE.value, subscription__customer=OuterRef("pk"))
    customers: QuerySet[Any] = with_state(Customer.objects.all())
    churned = customers.filter(state=State.CHURNED.value)
    to_come = charged.exclude(Exists(reached.exclude(status=InvoiceStatus.VOID)))
    held = left_of_progressive().order_by().filter(customer=OuterRef("pk"))
    owed_back = money_on_account().order_by().filter(customer=OuterRef("pk"))
    return churned.filter(Exists(left) | Exists(to_come) | Exists(held) | Exists(owed_back))


def offboarding_of(*, customer: Customer) -> Offboarding:
    """Return what is left to do once all subscriptions of a customer, and of its accounts, have ended; raises AssertionError where one has no end.

    An account owes nothing itself: left is only that who pays for it is invoiced for its last periods.
    """
    all_ends = list(billed_to(customers=[customer.pk]).values_list("ended_at", flat=True))
    ends = [ended_at for ended_at in all_ends if ended_at is not None]
    assert len(ends) == len(all_ends), "a customer is off-boarded once its subscriptions have an end"
    periods = periods_due(customer=customer, until=max(ends) + LONGEST) if ends else []
    invoices = list(customer.payer.invoices.exclude(status=InvoiceStatus.VOID).order_by("period_end", "id"))
    known = {(invoice.period_start, invoice.period_end): invoice for invoice in invoices}
    own = [invoice for invoice in invoices if invoice.customer_id == customer.pk]
    return Offboarding(
        to_invoice=tuple(period for period in periods if (period.start, period.end) not in known),
        drafts=tuple(invoice for invoice in own if invoice.status == InvoiceStatus.DRAFT),
        unpaid=tuple(invoice for invoice in own if invoice.status == InvoiceStatus.ISSUED),
        held=tuple(
            (one.invoice, round_money(one.left, one.currency))
            for one in left_of_progressive().filter(customer=customer)
        ),
        final=known.get((periods[-1].start, periods[-1].end)) if periods else None,
        on_account=tuple(on_account_of(customer_id=customer.pk).values()),
    )
