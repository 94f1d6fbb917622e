"""What the portal says about an invoice, in words that need no glossary and blame nobody."""

from datetime import datetime
from zoneinfo import ZoneInfo

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from billing_site.portal.phrases import DOCUMENT, counted_words, day_words, money_words, phrase, quantity_words
from billing_site.portal.queries.invoices import InvoiceRow
from invoicing.core.projecting import MeterOutlook
from invoicing.customers.models import SettlementChannel
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.workflows.read_spend import PeriodSpend

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
LEAVE_ANOTHER = "We could not charge it to your payment method. Please leave a card, to which we charge it then, or transfer it and name the invoice number."
CHANNELS = {
    SettlementChannel.STRIPE: "charged to your payment method",
    SettlementChannel.MANUAL: "bank transfer",
}
OTHER_CHANNEL = "another way"


def refusal_text(*, code: str) -> str:
    """Say why a charge was refused; a code that is not meant for cardholders (fraud, theft) is never repeated."""
    return phrase(REFUSALS.get(code, REFUSED_WITHOUT_REASON))


def channel_text(*, channel: str) -> str:
    """Say how a payment came."""
    return phrase(CHANNELS.get(channel, OTHER_CHANNEL))  # type: ignore[call-overload]


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
        return phrase("This invoice is cancelled. Nothing is owed for it.")
    if invoice.status == InvoiceStatus.PAID:
        return _paid_text(row, at=invoice.paid_at)
    if invoice.status == InvoiceStatus.WRITTEN_OFF:
        return _written_off_text(invoice)
    assert invoice.due_date is not None, "an issued invoice has a due date"
    when = {"amount": money_words(row.open), "day": day_words(invoice.due_date)}
    was_due = (
        phrase("{amount} was due on {day}.", **when) if row.is_overdue else phrase("{amount} is due on {day}.", **when)
    )
    if refused_because:
        why = phrase("The last charge did not go through: {why}.", why=refused_because)
        return _together(was_due, why, phrase(PAY_HERE if payable_online else ASK_THE_BANK))
    if not_taken:
        return _together(was_due, phrase(LEAVE_ANOTHER))
    if charged_automatically:
        return _together(was_due, phrase("We charge your payment method. There is nothing you need to do."))
    if payable_online:
        return _together(was_due, phrase("Please pay it here, or transfer it and name the invoice number."))
    return _together(was_due, phrase("Please transfer it and name the invoice number."))


def _together(*sentences: SafeString) -> SafeString:
    return format_html_join(" ", "{}", ((sentence,) for sentence in sentences))


def _written_off_text(invoice: Invoice) -> str:
    """Say that nobody asks for it any more, that it was not paid all the same, and what whoever wants to pay it does."""
    return phrase(
        "{amount} of this invoice was not paid. We have written it off and no longer ask for it. To pay it all the same, transfer it and name the invoice number.",
        amount=money_words(invoice.amount_unpaid),
    )


def _paid_text(row: InvoiceRow, *, at: datetime | None) -> str:
    if not row.invoice.total.amount or at is None:
        return phrase("Nothing was owed. There is nothing you need to do.")
    day = day_words(at.astimezone(ZoneInfo(row.invoice.timezone)).date())
    if row.invoice.amount_credited.amount:
        return phrase(
            "Nothing is left to pay since {day}: {amount} of it were credited.",
            day=day,
            amount=money_words(row.invoice.amount_credited),
        )
    return phrase("Paid in full on {day}. Thank you.", day=day)


def outlook_text(*, spend: PeriodSpend) -> SafeString:
    """Say why a period is expected to come to what it is, meter by meter, or why nothing is expected."""
    if not spend.forecast or not spend.forecast.meters:
        return phrase(spend.forecast_reason)
    return _together(*(_meter_text(meter) for meter in spend.forecast.meters))


def _meter_text(meter: MeterOutlook) -> SafeString:
    if not meter.day_count:
        return phrase("{name}: nothing more is counted in this period.", name=meter.name)
    if not meter.adds_up:
        return phrase("{name}: as it is now; what it counts does not add up by day.", name=meter.name)
    more = f"{quantity_words(meter.more)} {counted_words(meter.unit, 2)}" if meter.more else str(phrase("nothing"))
    told = {"name": meter.name, "more": more, "weeks": meter.week_count}
    if meter.day_count == 1:
        said = phrase("{name}: {more} expected in today, like the last {weeks} weeks", **told)
    elif meter.day_count == 2:
        said = phrase("{name}: {more} expected in today and 1 day more, like the last {weeks} weeks", **told)
    else:
        words = "{name}: {more} expected in today and {days} days more, like the last {weeks} weeks"
        said = phrase(words, days=meter.day_count - 1, **told)
    if meter.growth is None:
        return format_html("{}.", said)
    percent = int(abs(meter.growth) * 100)
    if not percent:
        grown = phrase("the last week was like the one before")
    elif meter.growth > 0:
        grown = phrase("the last week was {percent} % above the one before", percent=f"{percent:,}")
    else:
        grown = phrase("the last week was {percent} % below the one before", percent=f"{percent:,}")
    return format_html("{}; {}.", said, grown)


def document_text(*, document: str) -> SafeString:
    """Say what a line of a statement is, as its report has written it."""
    found = DOCUMENT.fullmatch(document)
    assert found is not None, "a document has a name"
    if found["invoice"]:
        said = phrase("Invoice {number}", number=found["invoice"])
    elif found["of"]:
        said = phrase("{what}, invoice {number}", what=phrase(found["what"]), number=found["of"])
    else:
        said = phrase(found["what"])
    if not found["day"]:
        return said
    return phrase("{document} (of {day}, whose month was closed)", document=said, day=found["day"])
