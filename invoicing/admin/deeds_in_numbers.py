"""What is about to be done to several invoices, in numbers: how many, over how much, each in a list."""

from collections.abc import Sequence
from dataclasses import dataclass

from moneyed import Money

from billing_site.display.figures import money_text, period_text
from billing_site.kernel.money import total
from invoicing.customers.models import SettlementChannel
from invoicing.invoices.models import Invoice
from invoicing.payments.models import PushIntent


@dataclass(frozen=True)
class InvoiceToIssue:
    """A draft in the confirmation."""

    what: str
    money: Money
    note: str

    @classmethod
    def of(cls, draft: Invoice) -> "InvoiceToIssue":
        """Return the draft as the confirmation lists it."""
        period = period_text(start=draft.period_start, end=draft.period_end, timezone=draft.timezone)
        return cls(what=draft.customer_name, money=draft.total, note=period)


def issue_effect(drafts: Sequence[Invoice]) -> str:
    """Say in numbers what issuing will do: Issue 3 invoices, EUR 183.10, USD 12.00."""
    pushed = sum(d.settlement_channel == SettlementChannel.STRIPE and d.total.amount > 0 for d in drafts)
    told = f"Issue {in_numbers(drafts)}."
    return f"{told} Each gets its number and can never change again; {pushed} {'goes' if pushed == 1 else 'go'} to Stripe to be collected."


def in_numbers(invoices: Sequence[Invoice]) -> str:
    """Return how many invoices these are, and over how much: 3 invoices, EUR 183.10, USD 12.00."""
    currencies = sorted({invoice.currency for invoice in invoices})
    sums = [total((one.total for one in invoices if one.currency == currency), currency) for currency in currencies]
    noun = "invoice" if len(invoices) == 1 else "invoices"
    return ", ".join([f"{len(invoices)} {noun}", *map(money_text, sums)])


@dataclass(frozen=True)
class InvoiceToPush:
    """An invoice in the confirmation of sending it again, with why it failed."""

    what: str
    money: Money
    note: str

    @classmethod
    def of(cls, push: PushIntent) -> "InvoiceToPush":
        """Return the push as the confirmation lists it."""
        return cls(what=f"{push.invoice}, {push.invoice.customer_name}", money=push.invoice.total, note=push.last_error)
