"""A customer's credit: what there is, what it may pay for, what it has paid, and what was bought."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import Sum
from moneyed import Money

from billing_site.kernel.money import round_money
from billing_site.portal.phrases import phrase
from invoicing.catalog.models import Plan
from invoicing.credits.models import CreditEntry, CreditGrant, EntryKind
from invoicing.customers.models import Customer
from invoicing.top_ups.models import TopUp, TopUpStatus
from invoicing.top_ups.rules import TopUpRule
from invoicing.workflows.credit_balance import credit_balance
from metering.models import Meter

ENTRIES_SHOWN = 50
TOP_UPS_SHOWN = 24
WORDS = {
    EntryKind.GRANT: "Added",
    EntryKind.DRAW: "Paid for an invoice",
    EntryKind.RESTORE: "Given back: its invoice is void",
    EntryKind.EXPIRE: "Expired",
    EntryKind.VOID: "Taken back",
}
STATES = {TopUpStatus.OPEN: "issued", TopUpStatus.PAID: "paid", TopUpStatus.CLOSED: "void"}


@dataclass(frozen=True)
class LotView:
    """What is left of a grant, until when, and what it may pay for (nothing named: everything)."""

    grant: CreditGrant
    left: Money
    pays_for: str


@dataclass(frozen=True)
class EntryView:
    """One change of what is left, in words."""

    entry: CreditEntry
    text: str


@dataclass(frozen=True)
class CreditPage:
    """Everything on the page; `live` is None where the running period cannot be computed."""

    granted: Money
    drawn: Money
    left: Money
    live: Money | None
    lots: tuple[LotView, ...]
    history: tuple[EntryView, ...]
    top_ups: tuple[tuple[TopUp, str], ...]
    rule: TopUpRule | None

    @property
    def is_empty(self) -> bool:
        """Say whether there never was any credit, and none is being bought."""
        return not (self.history or self.top_ups or self.rule)


def credit_page(*, customer: Customer, at: datetime) -> CreditPage:
    """Return the page of one customer at a moment."""
    balance = credit_balance(customer=customer, at=at)
    entries = CreditEntry.objects.filter(grant__customer=customer)
    sums = dict(entries.order_by().values_list("kind").annotate(amount=Sum("amount")))
    drawn = -(sums.get(EntryKind.DRAW, Decimal(0)) + sums.get(EntryKind.RESTORE, Decimal(0)))
    newest = entries.select_related("grant").order_by("-occurred_at", "-id")[:ENTRIES_SHOWN]
    top_ups = customer.top_ups.select_related("invoice").order_by("-made_at", "-id")[:TOP_UPS_SHOWN]
    return CreditPage(
        granted=round_money(sums.get(EntryKind.GRANT, Decimal(0)), customer.currency),
        drawn=round_money(drawn, customer.currency),
        left=balance.booked,
        live=balance.live,
        lots=tuple(LotView(grant=grant, left=left, pays_for=_pays_for(grant)) for grant, left in balance.lots),
        history=tuple(EntryView(entry, phrase(WORDS[EntryKind(entry.kind)])) for entry in newest),
        top_ups=tuple((top_up, STATES[TopUpStatus(top_up.status)]) for top_up in top_ups),
        rule=customer.top_up_rules.filter(retired_at=None).first(),
    )


def _pays_for(grant: CreditGrant) -> str:
    """Say what a lot may pay for by the names that the customer knows."""
    meters = list(Meter.objects.filter(key__in=grant.meters).order_by("name").values_list("name", flat=True))
    plans = list(Plan.objects.filter(key__in=grant.plans).order_by("name").values_list("name", flat=True))
    words = ", ".join(meters) if meters else str(phrase("everything"))
    return phrase("{meters} of {plans}", meters=words, plans=", ".join(plans)) if plans else words
