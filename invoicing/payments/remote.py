"""What the gateway hands out: Stripe's objects and refusals in our own types."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from moneyed import Money

from billing_site.kernel.errors import BillingError


class GatewayUnavailable(BillingError):
    """Stripe cannot answer now (connection, 5xx, 429, a wrong key): try again later with the same idempotency key."""

    status = 503
    code = "gateway_unavailable"

    def __init__(self, message: str, *, retry_after_seconds: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class CardDeclined(BillingError):
    """The bank said no, or wants the customer to confirm; another attempt needs another idempotency key."""

    status = 402
    code = "card_declined"

    def __init__(self, message: str, *, code: str, decline_code: str = "") -> None:
        super().__init__(message, code=code)
        self.decline_code = decline_code


class GatewayRefused(BillingError):
    """Stripe understood the request and will never accept it; `param` names the parameter at fault ("" if none)."""

    code = "gateway_refused"

    def __init__(self, message: str, *, param: str = "", code: str = "") -> None:
        super().__init__(message, field=param, code=code)
        self.param = param


class SignatureInvalid(BillingError):
    """A webhook that was not signed with our secret, or long ago."""

    status = 400
    code = "signature_invalid"


@dataclass(frozen=True)
class RemoteInvoice:
    """An invoice as Stripe holds it at this moment.

    `status` is draft, open, paid, void or uncollectible; `payment_reference` the id of the latest charge
    (or of the payment intent while there is none, "" without either).
    """

    id: str
    customer: str
    number: str
    status: str
    currency: str
    total: Money
    amount_paid: Money
    payment_reference: str
    failure_message: str
    hosted_url: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RemoteEvent:
    """One piece of Stripe's news; `object_id` names what it is about, whose present state must be fetched."""

    id: str
    type: str
    object_id: str
    created_at: datetime
    body: Mapping[str, Any]
