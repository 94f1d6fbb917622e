"""Read the question of GET /usage: every parameter that is missing or wrong is told by name, all at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, cast

from billing_site.kernel.errors import FieldError, InvalidFields
from billing_site.kernel.period import Period
from metering.core.parsing import TEXT_LENGTHS, read_moment

GRANULARITIES = ("hour", "day", "month")
LONGEST = {"hour": timedelta(days=366), "day": timedelta(days=3660), "month": timedelta(days=36600)}
PARAMETERS = ("customer_id", "meter", "start", "end", "granularity", "group_by")
METER_LENGTH_MAX = 100
GROUP_LENGTH_MAX = 200


@dataclass(frozen=True)
class UsageQuestion:
    """Whose usage of which meter is wanted, for when, and in which windows."""

    customer_id: str
    meter: str
    period: Period
    granularity: Literal["hour", "day", "month"]
    group_by: str | None


def read_question(*, parameters: Mapping[str, str]) -> UsageQuestion:
    """Read the query parameters; raises InvalidFields with every mistake."""
    errors = [
        FieldError(name[:60], "unknown_field", f"is not a parameter; known are {', '.join(PARAMETERS)}")
        for name in parameters
        if name not in PARAMETERS
    ]
    customer_id = _text(parameters, "customer_id", TEXT_LENGTHS["customer_id"], errors)
    meter = _text(parameters, "meter", METER_LENGTH_MAX, errors)
    granularity = parameters.get("granularity") or "day"
    if granularity not in GRANULARITIES:
        errors.append(FieldError("granularity", "unknown", f"must be one of {', '.join(GRANULARITIES)}"))
    start = _moment(parameters, "start", errors)
    end = _moment(parameters, "end", errors)
    if start and end and not start < end:
        errors.append(FieldError("end", "out_of_range", "must be later than start"))
    longest = LONGEST.get(granularity)
    if start and end and longest and end - start > longest:
        errors.append(
            FieldError("end", "out_of_range", f"may be at most {longest.days} days after start by {granularity}")
        )
    group_by = parameters.get("group_by")
    if group_by is not None:
        _text(parameters, "group_by", GROUP_LENGTH_MAX, errors)
    if errors:
        raise InvalidFields(tuple(errors))
    assert start and end, "a missing bound is an error"
    return UsageQuestion(
        customer_id=customer_id,
        meter=meter,
        period=Period(start, end),
        granularity=cast(Literal["hour", "day", "month"], granularity),
        group_by=group_by,
    )


def _text(parameters: Mapping[str, str], name: str, length_max: int, errors: list[FieldError]) -> str:
    value = parameters.get(name, "")
    if not value:
        errors.append(FieldError(name, "required", "is required"))
    elif len(value) > length_max:
        errors.append(FieldError(name, "too_long", f"may have at most {length_max} characters"))
    elif "\x00" in value or not _is_encodable(value):
        errors.append(FieldError(name, "invalid", "contains characters that cannot be stored"))
    return value


def _is_encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _moment(parameters: Mapping[str, str], name: str, errors: list[FieldError]) -> datetime | None:
    text = parameters.get(name, "")
    if not text:
        errors.append(FieldError(name, "required", "is required: RFC 3339 with an offset, 2026-07-01T00:00:00Z"))
        return None
    try:
        moment = read_moment(text=text)
    except ValueError:
        hint = "; write + as %2B in an address" if " " in text[10:] else ""
        errors.append(FieldError(name, "not_a_time", f"is not a time: write 2026-07-01T00:00:00Z{hint}"))
        return None
    if moment.tzinfo is None:
        errors.append(FieldError(name, "naive", f"has no offset: write {text}Z for UTC"))
        return None
    if not 1900 <= moment.year <= 9000:
        errors.append(FieldError(name, "out_of_range", "is beyond the years 1900 to 9000"))
        return None
    return moment.astimezone(UTC)
