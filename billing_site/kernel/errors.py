"""Failures that are foreseen: each names the field, a stable code, and what to do about it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FieldError:
    """One thing that is wrong with one field of the input (RFC 9457 `errors` member)."""

    field: str
    code: str
    message: str


class BillingError(Exception):
    """An anticipated failure; faces turn it into a message or an HTTP status.

    `code` is stable and machine-readable, `field` names the input at fault ("" if none).
    """

    status = 422
    code = "invalid"

    def __init__(self, message: str, *, field: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        if code:
            self.code = code

    @property
    def field_errors(self) -> tuple[FieldError, ...]:
        """What is wrong, field by field; empty where no single field is at fault."""
        return (FieldError(self.field, self.code, self.message),) if self.field else ()


class InvalidInput(BillingError):
    """The request is understood but one of its fields cannot be accepted (422)."""


class InvalidFields(BillingError):
    """Several fields are wrong at once (422); all are told together."""

    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        assert errors, "an error without a field is not an InvalidFields"
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = errors

    @property
    def field_errors(self) -> tuple[FieldError, ...]:
        """Every field that is wrong, in the order in which they were checked."""
        return self.errors


class Malformed(BillingError):
    """The request cannot be parsed at all (400)."""

    status = 400
    code = "malformed"


class NotFound(BillingError):
    """What the request names does not exist, or not for this caller (404)."""

    status = 404
    code = "not_found"


class Conflict(BillingError):
    """The request contradicts the present state (409)."""

    status = 409
    code = "conflict"


class TooLarge(BillingError):
    """The request is larger than what one request may carry (413)."""

    status = 413
    code = "too_large"
