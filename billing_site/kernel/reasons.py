"""Why somebody does something: it is asked for and kept in one way, wherever it stands."""

from billing_site.kernel.errors import FieldError, InvalidInput
from billing_site.kernel.text import is_storable

# A column of reasons holds as much.
REASON_MAX = 300


def reason_mistake(*, reason: str, asked: str = "say why") -> FieldError | None:
    """Return what is wrong with a reason, at `reason`: it says nothing, too much, or cannot be stored. None where nothing is."""
    if reason.strip() and len(reason.strip()) <= REASON_MAX and is_storable(reason):
        return None
    code = "invalid" if reason.strip() else "required"
    return FieldError("reason", code, f"{asked}, in at most {REASON_MAX} characters")


def checked_reason(*, reason: str, asked: str = "say why") -> str:
    """Return a reason without blanks around it; raises InvalidInput at `reason` where it cannot be kept."""
    if (mistake := reason_mistake(reason=reason, asked=asked)) is not None:
        raise InvalidInput(mistake.message, field=mistake.field, code=mistake.code)
    return reason.strip()
