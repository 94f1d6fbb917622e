"""The page of a customer's card: which one is charged, and whether the customer may leave another."""

from dataclasses import dataclass

from billing_site.portal.phrases import phrase
from invoicing.customers.models import Customer, SettlementChannel
from invoicing.payments.models import StripeCustomer
from invoicing.payments.queries import card_known


@dataclass(frozen=True)
class CardPage:
    """What the page says: `words` names the card, "" where it is not known or there is none; `is_refused` by its bank."""

    is_there: bool
    words: str
    is_refused: bool
    can_leave: bool


def card_page(*, customer: Customer) -> CardPage:
    """Return what is known of the customer's card; three queries at most."""
    method = customer.payment_method
    known = StripeCustomer.objects.filter(customer=customer).first()
    return CardPage(
        is_there=bool(method),
        words=_words(method),
        is_refused=bool(method) and known is not None and known.payment_method != method and bool(known.told_digest),
        can_leave=customer.settlement_channel == SettlementChannel.STRIPE and customer.billed_to_id is None,
    )


def _words(method: str) -> str:
    card = card_known(payment_method=method) if method else None
    if card is None:
        return ""
    told = {"brand": card.brand, "digits": card.last_digits, "until": card.valid_until}
    return phrase("{brand} ending in {digits}, valid until {until}", **told)
