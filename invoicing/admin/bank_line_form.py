"""The form that splits a bank line: up to four parts, each an invoice, a customer's account, or no customer's payment."""

from decimal import Decimal, InvalidOperation
from typing import Any

from django import forms
from moneyed import Money
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from billing_site.display.admin import ReasonForm
from billing_site.display.amount_field import AmountField
from billing_site.display.figures import money_text
from billing_site.kernel.model import AMOUNT_DIGITS
from invoicing.bank.models import AllocationKind
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.payments.payout import Payout
from invoicing.workflows.allocate_bank_line import Share

PARTS = 4
# So many invoices are offered while somebody types; any other is named by its number all the same.
OFFERED_MAX = 300
IN = (
    AllocationKind.PAYMENT,
    AllocationKind.ON_ACCOUNT,
    AllocationKind.KNOWN,
    AllocationKind.PAYOUT,
    AllocationKind.SET_ASIDE,
    AllocationKind.FEE,
)
OUT = (AllocationKind.FEE, AllocationKind.KNOWN, AllocationKind.SET_ASIDE, AllocationKind.PAYOUT)


class SplitForm(ReasonForm):
    """What the parts of a line are; amounts are written without sign."""

    def __init__(self, *args: Any, left: Money, **options: Any) -> None:
        super().__init__(*args, **options)
        self.left = left
        kinds = IN if left.amount > 0 else OUT
        for number in range(1, PARTS + 1):
            self.fields[f"kind_{number}"] = forms.ChoiceField(
                required=False,
                label=f"Part {number}",
                widget=UnfoldAdminSelectWidget(attrs={"aria-label": f"Part {number} is"}),
                choices=[("", "–"), *((kind.value, kind.label) for kind in kinds)],
            )
            self.fields[f"of_{number}"] = forms.CharField(
                required=False,
                label="Number of the invoice, key of the customer, or number of the journal entry",
                widget=UnfoldAdminTextInputWidget(
                    attrs={"aria-label": f"Part {number} is of", "list": "bo-names", "autocomplete": "off"}
                ),
                max_length=100,
            )
            self.fields[f"amount_{number}"] = AmountField(
                required=False,
                label=f"Amount in {left.currency.code}",
                currency=left.currency.code,
                min_value=Decimal(0),
                widget=UnfoldAdminDecimalFieldWidget(attrs={"aria-label": f"Amount of part {number}"}),
            )

    @property
    def parts(self) -> list[tuple[forms.BoundField, ...]]:
        """The fields of each part, for the page."""
        return [tuple(self[f"{name}_{number}"] for name in ("kind", "of", "amount")) for number in range(1, PARTS + 1)]

    def clean(self) -> dict[str, Any]:
        """Find what each part names."""
        cleaned = super().clean() or {}
        cleaned["shares"] = [share for number in range(1, PARTS + 1) if (share := self._share(cleaned, number))]
        if not cleaned["shares"] and not self.errors:
            self.add_error("kind_1", "Say what at least one part is.")
        return cleaned

    def _share(self, cleaned: dict[str, Any], number: int) -> Share | None:
        kind, of, amount = (cleaned.get(f"{name}_{number}") for name in ("kind", "of", "amount"))
        if not kind:
            if of or amount:
                self.add_error(f"kind_{number}", "Say what this part is.")
            return None
        sign = 1 if self.left.amount > 0 else -1
        money = Money(amount, self.left.currency) * sign if amount else None
        if kind == AllocationKind.PAYMENT:
            invoice = Invoice.objects.filter(number=(of or "").strip()).first()
            if invoice is None:
                self.add_error(f"of_{number}", "There is no invoice with this number.")
                return None
            if invoice.currency != self.left.currency.code:
                self.add_error(f"of_{number}", f"This invoice is in {invoice.currency}.")
                return None
            return Share(kind, money or min(self.left, invoice.amount_unpaid), invoice_id=invoice.pk)
        if money is None:
            self.add_error(f"amount_{number}", "Say how much.")
            return None
        if kind == AllocationKind.ON_ACCOUNT:
            customer = Customer.objects.filter(key=(of or "").strip()).first()
            if customer is None:
                self.add_error(f"of_{number}", "There is no customer with this key.")
                return None
            return Share(kind, money, customer_id=customer.pk)
        if kind == AllocationKind.PAYOUT:
            payout = Payout.objects.filter(stripe_id=(of or "").strip()).first()
            if payout is None:
                self.add_error(f"of_{number}", "There is no payout with this number of Stripe's (po_…).")
                return None
            return Share(kind, money, payout_id=payout.pk)
        if kind == AllocationKind.KNOWN:
            entry = (of or "").strip()
            if not (entry.isascii() and entry.isdigit() and len(entry) < 18):
                self.add_error(f"of_{number}", "Say which journal entry it is, by its number.")
                return None
            return Share(kind, money, entry_id=int(entry))
        return Share(kind, money)


def names_offered(*, currency: str) -> list[tuple[str, str]]:
    """Return what a part may be of, as it is typed and in words: open invoices in a currency, newest first, and their customers."""
    owed = Invoice.objects.filter(status=InvoiceStatus.ISSUED, currency=currency).select_related("customer")
    invoices = list(owed.order_by("-issued_at", "-id")[:OFFERED_MAX])
    customers = {invoice.customer.key: invoice.customer.name for invoice in invoices}
    return [
        *((str(one.number), f"{one.customer.name}, {money_text(one.amount_unpaid)} open") for one in invoices),
        *((key, f"{name}, on account") for key, name in sorted(customers.items(), key=lambda pair: pair[1])),
    ]


def money_said(text: str, currency: str) -> Money:
    """Return the amount that a hidden field of a page says, nothing where what was sent is no amount."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal(0)
    return Money(number if number.is_finite() and abs(number) < 10**AMOUNT_DIGITS else 0, currency)
