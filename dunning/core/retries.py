"""When a card is charged again, by why the bank refused it (docs.stripe.com/declines/codes): never, soon, after payday, or after some days."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo


class DeclineKind(StrEnum):
    """What a refusal means for another attempt."""

    NEVER = "never"
    CUSTOMER = "customer"
    PAYDAY = "payday"
    SOON = "soon"
    LATER = "later"


DECLINE_WORDS = {
    DeclineKind.NEVER: "this card is not charged again: another one is needed",
    DeclineKind.CUSTOMER: "the customer has to do something first: confirm the payment, or give another card",
    DeclineKind.PAYDAY: "the account was short of money: tried again after the next payday",
    DeclineKind.SOON: "the bank could not answer: tried again within hours",
    DeclineKind.LATER: "the bank gave no reason: tried again after some days",
}
_KINDS = {
    DeclineKind.NEVER: (
        "stolen_card", "lost_card", "pickup_card", "fraudulent", "merchant_blacklist", "restricted_card", "security_violation",
        "stop_payment_order", "revocation_of_authorization", "revocation_of_all_authorizations", "invalid_account",
        "new_account_information_available", "transaction_not_allowed", "card_not_supported", "currency_not_supported",
    ),
    DeclineKind.CUSTOMER: (
        "authentication_required", "expired_card", "incorrect_cvc", "invalid_cvc", "incorrect_number", "invalid_number",
        "invalid_expiry_month", "invalid_expiry_year", "incorrect_pin", "invalid_pin", "pin_try_exceeded",
        "offline_pin_required", "online_or_offline_pin_required", "incorrect_zip", "incorrect_address", "testmode_decline",
    ),
    DeclineKind.PAYDAY: ("insufficient_funds", "card_velocity_exceeded", "withdrawal_count_limit_exceeded"),
    DeclineKind.SOON: (
        "processing_error", "issuer_not_available", "try_again_later", "reenter_transaction", "approve_with_id", "lock_timeout",
    ),
}  # fmt: skip
# What staff read of a code (docs.stripe.com/declines/codes); what is not here is written as it is, without its underscores.
_WORDS = {
    "authentication_required": "the bank wants the customer to confirm the payment (3-D Secure)",
    "insufficient_funds": "not enough money in the account",
    "expired_card": "the card has expired",
    "stolen_card": "the card was reported as stolen",
    "lost_card": "the card was reported as lost",
    "pickup_card": "the card is to be kept by whoever gets it",
    "fraudulent": "Stripe takes the payment for fraud",
    "generic_decline": "declined without a reason",
    "card_declined": "declined without a reason",
    "do_not_honor": "declined without a reason",
    "card_not_supported": "the card does not allow this kind of payment",
    "currency_not_supported": "the card does not allow this currency",
    "transaction_not_allowed": "the card does not allow this payment",
    "restricted_card": "the card may not be used for this",
    "card_velocity_exceeded": "the limit of the card is reached",
    "withdrawal_count_limit_exceeded": "the limit of the card is reached",
    "processing_error": "the bank had a technical problem",
    "issuer_not_available": "the bank could not be reached",
    "try_again_later": "the bank asks to try again later",
    "reenter_transaction": "the bank asks to try again",
    "incorrect_cvc": "the security code is not correct",
    "invalid_cvc": "the security code is not correct",
    "incorrect_number": "the card number is not correct",
    "invalid_number": "the card number is not correct",
}
_KIND_OF = {code: kind for kind, codes in _KINDS.items() for code in codes}
_SOON = (timedelta(hours=1), timedelta(hours=6), timedelta(hours=24), timedelta(hours=72))
_LATER = (3, 4, 5, 7)
# Wages come on the first and the fifteenth, or before.
PAYDAYS = (1, 15)
MORNING = time(10)


@dataclass(frozen=True)
class Refusal:
    """A refused attempt: why, when, and which one it was (from 1)."""

    code: str
    refused_at: datetime
    number: int


def decline_kind(code: str) -> DeclineKind:
    """Return what a decline code means for another attempt; one that nobody knows is tried again after days."""
    return _KIND_OF.get(code, DeclineKind.LATER)


def refusal_words(code: str) -> str:
    """Return why a charge was refused, as staff read it."""
    return _WORDS.get(code, code.replace("_", " "))


def next_try(*, refusal: Refusal, zone: ZoneInfo) -> datetime | None:
    """Return when the same card is charged again after a refusal, in UTC; None: never."""
    assert refusal.number >= 1, "only what was tried can be tried again"
    place = refusal.number - 1
    match decline_kind(refusal.code):
        case DeclineKind.SOON:
            return refusal.refused_at + _SOON[min(place, len(_SOON) - 1)]
        case DeclineKind.PAYDAY:
            return _morning(_payday_after(refusal.refused_at.astimezone(zone).date()), zone)
        case DeclineKind.LATER:
            days = timedelta(days=_LATER[min(place, len(_LATER) - 1)])
            return _morning(refusal.refused_at.astimezone(zone).date() + days, zone)
    return None


def _payday_after(day: date) -> date:
    """Return the first payday after a day."""
    ahead = day
    while True:
        ahead += timedelta(days=1)
        if ahead.day in PAYDAYS:
            return ahead


def _morning(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, MORNING, zone).astimezone(UTC)
