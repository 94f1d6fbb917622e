"""What makes a meter's definition acceptable."""

import re
from dataclasses import asdict, dataclass

from billing_site.kernel.errors import FieldError

AGGREGATIONS = ("sum", "count")
LENGTHS = {"key": 100, "name": 200, "event_type": 200, "value_property": 200, "unit": 50}
_KEY = re.compile(r"[-a-zA-Z0-9_]+")


@dataclass(frozen=True)
class MeterDefinition:
    """A meter as somebody wants it."""

    key: str
    name: str
    event_type: str
    aggregation: str
    value_property: str
    unit: str

    def fields(self) -> dict[str, str]:
        """Return the definition by field name."""
        return asdict(self)


def check_meter(*, definition: MeterDefinition) -> tuple[FieldError, ...]:
    """Return everything that is wrong with a definition, field by field."""
    errors = []
    for field, length_max in LENGTHS.items():
        value = getattr(definition, field)
        if not isinstance(value, str):
            errors.append(FieldError(field, "wrong_type", "must be a string"))
        elif field != "value_property" and not value.strip():
            errors.append(FieldError(field, "required", "is required"))
        elif len(value) > length_max:
            errors.append(FieldError(field, "too_long", f"may have at most {length_max} characters"))
        elif "\x00" in value:
            errors.append(FieldError(field, "nul", "contains the character NUL (U+0000), which cannot be stored"))
    if isinstance(definition.key, str) and definition.key and not _KEY.fullmatch(definition.key):
        errors.append(FieldError("key", "invalid", "may consist of letters, digits, hyphens and underscores"))
    if definition.aggregation not in AGGREGATIONS:
        errors.append(FieldError("aggregation", "unknown", f"must be one of {', '.join(AGGREGATIONS)}"))
    elif definition.aggregation == "count" and definition.value_property:
        errors.append(FieldError("value_property", "invalid", "must be empty: a count sums no property"))
    return tuple(errors)
