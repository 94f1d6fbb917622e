"""What the portal says about an invoice, in words that need no glossary and blame nobody."""

from datetime import datetime
from zoneinfo import ZoneInfo

from billing_site.portal.queries.invoices import InvoiceRow
from invoicing.core.spans import date_text
from invoicing.customers.models import SettlementChannel
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.printed_text import money_text

# Stripe's decline codes (docs.stripe.com/declines/codes) by what a cardholder can do about them.
REFUSALS = {
    "insufficient_funds": "there was not enough money available",
    "expired_card": "the card has expired",
    "authentication_required": "your bank asks you to confirm the payment",
    "authentication_failure": "your bank asks you to confirm the payment",
    "card_not_supported": "the card does not allow this kind of payment",
    "currency_not_supported": "the card does not allow payments in this currency",
    "card_velocity_exceeded": "the limit of the card was reached",
    "withdrawal_count_limit_exceeded": "the limit of the card was reached",
    "amount_too_large": "the amount is above the limit of the card",
    "incorrect_number": "the card number is not correct",
    "invalid_number": "the card number is not correct",
    "incorrect_cvc": "the security code of the card is not correct",
    "invalid_cvc": "the security code of the card is not correct",
    "invalid_expiry_month": "the expiry date of the card is not correct",
    "invalid_expiry_year": "the expiry date of the card is not correct",
    "processing_error": "the bank had a technical problem",
    "issuer_not_available": "the bank could not be reached",
    "try_again_later": "the bank had a technical problem",
    "reenter_transaction": "the bank had a technical problem",
}
REFUSED_WITHOUT_REASON = "the bank declined it"
PAY_HERE = "Please pay it here, with this card or another one, or ask your bank."
ASK_THE_BANK = "Please ask your bank, or write to us to pay another way."
LEAVE_ANOTHER = (
    "We could not charge it to your payment method. Please leave a card, to which we charge it then,"
    " or transfer it and name the invoice number."
)
CHANNELS = {
    SettlementChannel.STRIPE: "charged to your payment method",
    SettlementChannel.MANUAL: "bank transfer",
}


def refusal_text(*, code: str) -> str:
    """Say why a charge was refused; a code that is not meant for cardholders (fraud, theft) is never repeated."""
    return REFUSALS.get(code, REFUSED_WITHOUT_REASON)


def channel_text(*, channel: str) -> str:
    """Say how a payment came."""
    return CHANNELS.get(channel, "another way")  # type: ignore[call-overload, no-any-return]


def situation_text(
    *,
    row: InvoiceRow,
    charged_automatically: bool,
    refused_because: str,
    payable_online: bool = False,
    not_taken: bool = False,
) -> str:
    """Say whether an invoice is all right and what the customer has to do about it; `payable_online` where Stripe has a page for it, `not_taken` where it did not take it."""
    invoice = row.invoice
    if invoice.status == InvoiceStatus.VOID:
        return "This invoice is cancelled. Nothing is owed for it."
    if invoice.status == InvoiceStatus.PAID:
        return _paid_text(row, at=invoice.paid_at)
    if invoice.status == InvoiceStatus.WRITTEN_OFF:
        return _written_off_text(invoice)
    assert invoice.due_date is not None, "an issued invoice has a due date"
    amount, due = money_text(money=row.open), date_text(day=invoice.due_date)
    was_due = f"{amount} was due on {due}." if row.is_overdue else f"{amount} is due on {due}."
    if refused_because:
        what_to_do = PAY_HERE if payable_online else ASK_THE_BANK
        return f"{was_due} The last charge did not go through: {refused_because}. {what_to_do}"
    if not_taken:
        return f"{was_due} {LEAVE_ANOTHER}"
    if charged_automatically:
        return f"{was_due} We charge your payment method. There is nothing you need to do."
    if payable_online:
        return f"{was_due} Please pay it here, or transfer it and name the invoice number."
    return f"{was_due} Please transfer it and name the invoice number."


def _written_off_text(invoice: Invoice) -> str:
    """Say that nobody asks for it any more, that it was not paid all the same, and what whoever wants to pay it does."""
    amount = money_text(money=invoice.amount_unpaid)
    return f"{amount} of this invoice was not paid. We have written it off and no longer ask for it. To pay it all the same, transfer it and name the invoice number."


def _paid_text(row: InvoiceRow, *, at: datetime | None) -> str:
    if not row.invoice.total.amount or at is None:
        return "Nothing was owed. There is nothing you need to do."
    if row.invoice.amount_credited.amount:
        day = date_text(day=at.astimezone(ZoneInfo(row.invoice.timezone)).date())
        return (
            f"Nothing is left to pay since {day}: {money_text(money=row.invoice.amount_credited)} of it were credited."
        )
    return f"Paid in full on {date_text(day=at.astimezone(ZoneInfo(row.invoice.timezone)).date())}. Thank you."
