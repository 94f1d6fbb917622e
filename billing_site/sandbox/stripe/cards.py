"""Stripe's test cards (docs.stripe.com/testing) and what becomes of a charge to each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TestCard:
    """A card number, the token that stands for it, and the bank's answer.

    `code` is the error of a charge ("" if it succeeds); `attaches` says whether a customer may keep the card; `disputed` what its bank
    makes of a charge that succeeded: a chargeback, an inquiry, or "" for nothing.
    """

    __test__ = False  # pytest: this is no test class

    number: str
    token: str
    brand: str = "visa"
    code: str = ""
    decline_code: str = ""
    message: str = ""
    attaches: bool = True
    disputed: str = ""


GENERIC = ("card_declined", "generic_decline", "Your card was declined.")
SHORT_OF_FUNDS = ("card_declined", "insufficient_funds", "Your card has insufficient funds.")
EXPIRED = ("expired_card", "", "Your card has expired.")
WRONG_CVC = ("incorrect_cvc", "", "Your card's security code is incorrect.")
PROCESSING = ("processing_error", "", "An error occurred while processing your card. Try again in a little bit.")
CONFIRM = (
    "invoice_payment_intent_requires_action",
    "authentication_required",
    "This payment requires additional user action before it can be completed successfully. Payment can be completed "
    "using the PaymentIntent associated with the invoice.",
)

CARDS = (
    TestCard("4242424242424242", "pm_card_visa"),
    TestCard("4000056655665556", "pm_card_visa_debit"),
    TestCard("5555555555554444", "pm_card_mastercard", "mastercard"),
    TestCard("378282246310005", "pm_card_amex", "amex"),
    TestCard("4000000000000002", "pm_card_chargeDeclined", "visa", *GENERIC, attaches=False),
    TestCard("4000000000009995", "pm_card_chargeDeclinedInsufficientFunds", "visa", *SHORT_OF_FUNDS, attaches=False),
    TestCard("4000000000000069", "pm_card_chargeDeclinedExpiredCard", "visa", *EXPIRED, attaches=False),
    TestCard("4000000000000127", "pm_card_chargeDeclinedIncorrectCvc", "visa", *WRONG_CVC, attaches=False),
    TestCard("4000000000000119", "pm_card_chargeDeclinedProcessingError", "visa", *PROCESSING, attaches=False),
    TestCard("4000000000000341", "pm_card_chargeCustomerFail", "visa", *GENERIC),
    TestCard("4000000000000259", "pm_card_createDispute", disputed="chargeback"),
    TestCard("4000000000001976", "pm_card_createDisputeInquiry", disputed="inquiry"),
    TestCard("4000000000003220", "pm_card_threeDSecure2Required", "visa", *CONFIRM),
    TestCard("4000002760003184", "pm_card_authenticationRequired", "visa", *CONFIRM),
)
BY_NUMBER = {card.number: card for card in CARDS}
BY_TOKEN = {card.token: card for card in CARDS} | {"pm_card_threeDSecure": CARDS[-2]}
