"""The form for money that arrived by bank transfer."""

from datetime import UTC, date, datetime, time
from typing import Any

from django import forms
from moneyed import Money
from unfold.widgets import UnfoldAdminSingleDateWidget, UnfoldAdminTextInputWidget

from billing_site.display.admin import ReasonForm
from billing_site.display.amount_field import AmountField
from billing_site.display.figures import money_text
from billing_site.kernel.money import exponent, is_rounded, minor_unit
from invoicing.customers.models import SettlementChannel
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.ledger.models import JournalEntry
from invoicing.payments.models import Payment
from invoicing.payments.queries import is_withdrawn


def transfer_effect(invoice: Invoice) -> str:
    """Say what recording a transfer does."""
    told = f"{money_text(invoice.amount_unpaid)} is unpaid. The payment is booked at once; a mistake is taken back on its page."
    if invoice.status == InvoiceStatus.WRITTEN_OFF:
        return f"{told} What was written off of it is taken back by as much: it is a loss no more."
    return told


def recorded_words(payment: Payment, invoice: Invoice) -> str:
    """Say what was recorded, and on which day it is booked where that is another than the day on which it came."""
    told = f"{money_text(payment.amount)} is recorded for {invoice.number}."
    entry = JournalEntry.objects.get(kind=JournalEntry.Kind.PAYMENT, reference=f"{payment.channel}:{payment.reference}")
    if not entry.is_booked_later:
        return told
    return f"{told} {entry.occurred_at:%B %Y} is closed: it is booked on {entry.booked_at.astimezone(UTC):%-d %B %Y}."


class TransferForm(ReasonForm):
    """What the bank statement says, and why it belongs to this invoice."""

    reference = forms.CharField(
        max_length=200,
        widget=UnfoldAdminTextInputWidget(),
        help_text="As on the bank statement; one reference is recorded once.",
    )
    amount = AmountField(min_value=0)
    received_date = forms.DateField(label="Received on (UTC)", widget=UnfoldAdminSingleDateWidget())
    field_order = ("reference", "amount", "received_date", "reason")

    def __init__(self, *args: Any, invoice: Invoice, at: datetime, **options: Any) -> None:
        due = invoice.amount_unpaid
        options.setdefault(
            "initial", {"amount": due.amount.quantize(minor_unit(invoice.currency)), "received_date": at.date()}
        )
        super().__init__(*args, **options)
        self.at, self.due = at, due
        self.issued_on = None if invoice.issued_at is None else invoice.issued_at.astimezone(UTC).date()
        self.stripe_collects = (
            invoice.settlement_channel == SettlementChannel.STRIPE
            and invoice.status != InvoiceStatus.WRITTEN_OFF
            and not is_withdrawn(invoice=invoice)
        )
        self.fields["amount"] = AmountField(
            min_value=0, label=f"Amount in {invoice.currency}", currency=invoice.currency
        )

    def clean_amount(self) -> Any:
        """Refuse what is no amount of the currency or more than is open."""
        amount = Money(self.cleaned_data["amount"], self.due.currency)
        if not amount.amount or not is_rounded(amount):
            digits = exponent(self.due.currency.code)
            raise forms.ValidationError(f"must be above zero, with at most {digits} decimals")
        if amount > self.due:
            raise forms.ValidationError(f"is more than the {money_text(self.due)} that is open")
        if amount < self.due and self.stripe_collects:
            raise forms.ValidationError(
                f"must be the whole {money_text(self.due)}: Stripe would still collect all of it"
            )
        return amount.amount

    def clean_received_date(self) -> Any:
        """Refuse money from the future, and from before there was an invoice: the books would have owed it to the customer since."""
        day: date = self.cleaned_data["received_date"]
        if day > self.at.date():
            raise forms.ValidationError("lies in the future")
        if self.issued_on is not None and day < self.issued_on:
            raise forms.ValidationError(
                f"is before {self.issued_on:%-d %B %Y}, when the invoice was issued: enter that day, and the day on the statement as the reason; or import the statement, and settle the invoice from its line"
            )
        return day

    @property
    def money(self) -> Money:
        """Return the validated amount."""
        return Money(self.cleaned_data["amount"], self.due.currency)

    @property
    def received_at(self) -> datetime:
        """Return the day's noon in UTC, or now where that has not come yet."""
        return min(datetime.combine(self.cleaned_data["received_date"], time(12), UTC), self.at)
