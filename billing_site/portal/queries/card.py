"""The page of a customer's card: which one is charged, and whether the customer may leave another."""

from dataclasses import dataclass

from invoicing.customers.models import Customer, SettlementChannel
from invoicing.payments.models import StripeCustomer
from invoicing.payments.queries import card_words


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
        words=card_words(payment_method=method) if method else "",
        is_refused=bool(method) and known is not None and known.payment_method != method and bool(known.told_digest),
        can_leave=customer.settlement_channel == SettlementChannel.STRIPE and customer.billed_to_id is None,
    )
