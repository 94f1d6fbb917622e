"""Refusals in Stripe's shape; raised anywhere below a route, turned into an answer in one place."""

from typing import Any


class Refusal(Exception):
    """An answer other than success.

    `keeps_effects` is true where Stripe has done something before it says no (a declined charge exists).
    """

    keeps_effects = False

    def __init__(self, status: int, *, type: str, message: str, **members: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "error": {
                **{name: member for name, member in members.items() if member is not None},
                "message": message,
                "type": type,
            }
        }


class Declined(Refusal):
    """A card error (402): the attempt is on record, so what it wrote stays."""

    keeps_effects = True

    def __init__(self, message: str, **members: Any) -> None:
        super().__init__(402, type="card_error", message=message, **members)


def invalid(message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> Refusal:
    """Return the refusal of a request that can never succeed as it is."""
    return Refusal(status, type="invalid_request_error", message=message, param=param, code=code)


def missing_parameter(param: str) -> Refusal:
    """Return the refusal of a request that lacks a parameter."""
    return invalid(f"Missing required param: {param}.", param=param, code="parameter_missing")


def no_such(kind: str, object_id: str, *, param: str = "id") -> Refusal:
    """Return the refusal of a request that names an object which does not exist: 404 in the path, 400 in the body."""
    noun = {"payment_method": "PaymentMethod"}.get(kind, kind)
    status = 404 if param == "id" else 400
    return invalid(f"No such {noun}: '{object_id}'", param=param, code="resource_missing", status=status)
