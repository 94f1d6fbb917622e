"""What is left to do for a customer that has churned: its final invoice, and what it still owes (S0-129, S0-130)."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from moneyed import Money

from billing_site.kernel.money import round_money
from billing_site.kernel.period import Period
from invoicing.bank.queries import money_on_account, on_account_of
from invoicing.core.life_cycle import State
from invoicing.core.phases import PhaseKind
from invoicing.customers.life_cycle import with_state
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceLine, InvoiceStatus
from invoicing.subscriptions.agreements import Agreements, agreements_of
from invoicing.subscriptions.models import Subscription, SubscriptionPhase
from invoicing.subscriptions.snapshot import periods_agreed
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

    That is what their off-boarding says: an invoice that is a draft or unpaid, a period that no invoice has reached yet, something
    that is left of a progressive invoice, or money on account that is to be paid back.
    """
    left = Invoice.objects.filter(customer=OuterRef("pk"), status__in=(InvoiceStatus.DRAFT, InvoiceStatus.ISSUED))
    customers: QuerySet[Any] = with_state(Customer.objects.all())
    churned = customers.filter(state=State.CHURNED.value)
    held = left_of_progressive().order_by().filter(customer=OuterRef("pk"))
    owed_back = money_on_account().order_by().filter(customer=OuterRef("pk"))
    return churned.filter(Exists(left) | Exists(held) | Exists(owed_back) | Q(pk__in=_not_invoiced(churned)))


def _not_invoiced(churned: QuerySet[Any]) -> list[int]:
    """Return who of those that have churned is to be invoiced for a period still.

    Whose charged phases all have a line on an invoice that reaches their end is left out at once; of the few others the periods are
    worked out. Whoever has a subscription without an end has come back since.
    """
    billed = InvoiceLine.objects.filter(
        subscription=OuterRef("subscription"),
        invoice__kind=InvoiceKind.PERIOD,
        invoice__period_start__lt=OuterRef("ends_at"),
        invoice__period_end__gte=OuterRef("ends_at"),
    ).exclude(invoice__status=InvoiceStatus.VOID)
    open_ends = SubscriptionPhase.objects.filter(kind=PhaseKind.ACTIVE.value).exclude(Exists(billed))
    running = Subscription.objects.filter(ended_at=None)
    # Its own, and those of the accounts that are billed to it.
    doubtful, back = Q(), Q()
    for whose in ("customer", "customer__billed_to"):
        doubtful |= Q(Exists(open_ends.filter(**{f"subscription__{whose}": OuterRef("pk")})))
        back |= Q(Exists(running.filter(**{whose: OuterRef("pk")})))
    customers = list(churned.filter(doubtful).exclude(back).select_related("billed_to"))
    if not customers:
        return []
    agreements = agreements_of(customers=customers)
    known = _invoiced(payers={customer.payer_id for customer in customers})
    return [
        customer.pk
        for customer in customers
        if not known.get(customer.payer_id, set()).issuperset(_periods(agreements, customer))
    ]


def _periods(agreements: Agreements, customer: Customer) -> list[Period]:
    """Return the billing periods of subscriptions all of which have an end, in order."""
    ends = [row.ended_at for row in agreements.of_customer(customer=customer) if row.ended_at is not None]
    return periods_agreed(agreements=agreements, customer=customer, until=max(ends) + LONGEST) if ends else []


def _invoiced(*, payers: Collection[int]) -> dict[int, set[Period]]:
    """Return the periods for which whoever pays has an invoice or a draft."""
    rows = Invoice.objects.filter(customer__in=payers, kind=InvoiceKind.PERIOD).exclude(status=InvoiceStatus.VOID)
    found: dict[int, set[Period]] = {}
    for payer_id, start, end in rows.values_list("customer", "period_start", "period_end"):
        found.setdefault(payer_id, set()).add(Period(start, end))
    return found


def offboarding_of(*, customer: Customer) -> Offboarding:
    """Return what is left to do once all subscriptions of a customer, and of its accounts, have ended; raises AssertionError where one has no end.

    An account owes nothing itself: left is only that who pays for it is invoiced for its last periods.
    """
    agreements = agreements_of(customers=[customer])
    subscriptions = agreements.of_customer(customer=customer)
    assert all(row.ended_at for row in subscriptions), "a customer is off-boarded once its subscriptions have an end"
    periods = _periods(agreements, customer)
    known = _invoiced(payers=[customer.payer_id]).get(customer.payer_id, set())
    invoices = customer.payer.invoices.exclude(status=InvoiceStatus.VOID)
    final = (
        invoices.filter(kind=InvoiceKind.PERIOD, period_start=periods[-1].start, period_end=periods[-1].end)
        if periods
        else None
    )
    own = list(customer.invoices.order_by("period_end", "id"))
    return Offboarding(
        to_invoice=tuple(period for period in periods if period not in known),
        drafts=tuple(invoice for invoice in own if invoice.status == InvoiceStatus.DRAFT),
        unpaid=tuple(invoice for invoice in own if invoice.status == InvoiceStatus.ISSUED),
        held=tuple(
            (one.invoice, round_money(one.left, one.currency))
            for one in left_of_progressive().filter(customer=customer)
        ),
        final=final.first() if final is not None else None,
        on_account=tuple(on_account_of(customer_id=customer.pk).values()),
    )
