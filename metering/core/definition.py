"""What makes a meter's definition acceptable."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from billing_site.kernel.errors import FieldError

AGGREGATIONS = {
    "sum": "Sum",
    "count": "Count",
    "max": "Maximum",
    "min": "Minimum",
    "latest": "Latest",
    "unique_count": "Unique count",
    "average": "Average",
    "time_weighted_sum": "Time-weighted sum",
}
# The values of a grouping are part of an index, whose rows are bounded.
DIMENSIONS_MAX = 3
FILTERS_MAX = 10
FILTER_VALUES_MAX = 100
NAME_LENGTH_MAX = 200
LENGTHS = {"key": 100, "name": 200, "event_type": 200, "value_property": 200, "unit": 50}
_KEY = re.compile(r"[-a-zA-Z0-9_]+")


@dataclass(frozen=True)
class MeterDefinition:
    """A meter as somebody wants it; `effective_from` None leaves the date to the creation."""

    key: str
    name: str
    event_type: str
    aggregation: str = "sum"
    value_property: str = ""
    unit: str = "unit"
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    dimensions: Sequence[str] = ()
    effective_from: datetime | None = None

    def meaning(self) -> dict[str, Any]:
        """Return what the meter counts, by field name: what can never change."""
        return {
            "event_type": self.event_type,
            "aggregation": self.aggregation,
            "value_property": self.value_property,
            "filters": {name: list(values) for name, values in self.filters.items()},
            "dimensions": list(self.dimensions),
        }


def check_meter(*, definition: MeterDefinition) -> tuple[FieldError, ...]:
    """Return everything that is wrong with a definition, field by field."""
    errors = []
    for name, length_max in LENGTHS.items():
        value = getattr(definition, name)
        if not isinstance(value, str):
            errors.append(FieldError(name, "wrong_type", "must be a string"))
        elif name != "value_property" and not value.strip():
            errors.append(FieldError(name, "required", "is required"))
        elif len(value) > length_max:
            errors.append(FieldError(name, "too_long", f"may have at most {length_max} characters"))
        elif "\x00" in value:
            errors.append(FieldError(name, "nul", "contains the character NUL (U+0000), which cannot be stored"))
    if isinstance(definition.key, str) and definition.key and not _KEY.fullmatch(definition.key):
        errors.append(FieldError("key", "invalid", "may consist of letters, digits, hyphens and underscores"))
    if definition.aggregation not in AGGREGATIONS:
        errors.append(FieldError("aggregation", "unknown", f"must be one of {', '.join(AGGREGATIONS)}"))
    elif definition.aggregation == "count" and definition.value_property:
        errors.append(FieldError("value_property", "invalid", "must be empty: a count reads no property"))
    elif definition.aggregation == "unique_count" and not definition.value_property:
        errors.append(FieldError("value_property", "required", "is required: say which property's values are counted"))
    errors += _check_filters(definition.filters)
    errors += _check_dimensions(definition.dimensions)
    errors += _check_effective_from(definition.effective_from)
    return tuple(errors)


def _check_filters(filters: Any) -> list[FieldError]:
    if not isinstance(filters, Mapping):
        return [FieldError("filters", "wrong_type", 'must be an object such as {"region": ["us-east-1"]}')]
    if len(filters) > FILTERS_MAX:
        return [FieldError("filters", "too_many", f"may name at most {FILTERS_MAX} properties")]
    errors = []
    for name, values in filters.items():
        if not _is_name(name):
            errors.append(FieldError("filters", "invalid", f"{str(name)[:60]!r} is not the name of a property"))
        elif (
            not isinstance(values, list | tuple)
            or not 1 <= len(values) <= FILTER_VALUES_MAX
            or not all(isinstance(value, str) and "\x00" not in value for value in values)
        ):
            errors.append(
                FieldError(
                    f"filters.{name[:60]}",
                    "wrong_type",
                    f"must be a list of 1 to {FILTER_VALUES_MAX} strings; numbers and true are written as text",
                )
            )
    return errors


def _check_dimensions(dimensions: Any) -> list[FieldError]:
    if not isinstance(dimensions, list | tuple) or not all(_is_name(name) for name in dimensions):
        return [FieldError("dimensions", "wrong_type", 'must be a list of names such as ["namespace_id", "region"]')]
    if len(dimensions) > DIMENSIONS_MAX:
        return [FieldError("dimensions", "too_many", f"may name at most {DIMENSIONS_MAX} properties")]
    if len(set(dimensions)) < len(dimensions):
        return [FieldError("dimensions", "invalid", "names a property twice")]
    return []


def _check_effective_from(moment: Any) -> list[FieldError]:
    if moment is None:
        return []
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        return [FieldError("effective_from", "not_a_time", "must be a time with an offset: 2026-07-01T00:00:00Z")]
    if not 2000 <= moment.year <= 9000:
        return [FieldError("effective_from", "out_of_range", "is beyond the years 2000 to 9000")]
    assert moment.utcoffset() is not None and abs(moment.utcoffset() or timedelta()) < timedelta(days=1)
    return []


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and 0 < len(name) <= NAME_LENGTH_MAX and "\x00" not in name
