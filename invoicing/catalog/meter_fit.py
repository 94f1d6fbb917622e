"""Which meter a price can stand on: a matrix needs the meter's dimensions, a price of each event a sum of their amounts."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from billing_site.kernel.errors import FieldError
from invoicing.catalog.document import PriceEntry
from invoicing.core.definition import PER_EVENT
from metering.core.aggregation import ADDS_UP


class MeterTerms(Protocol):
    """What matters of a meter, whether it stands in a file or in a row."""

    @property
    def aggregation(self) -> str:
        """How events become a quantity."""

    @property
    def dimensions(self) -> Sequence[str]:
        """What its usage is kept apart by."""


def meter_mistakes(*, price: PriceEntry, meters: Mapping[str, MeterTerms], path: str) -> list[FieldError]:
    """Return what keeps a price from standing on its meter, each at its field below `path` ("plans[0].prices[1]")."""
    if not price.meter:
        return []
    meter = meters.get(price.meter)
    if meter is None:
        return [FieldError(f"{path}.meter", "unknown", f"there is no meter {price.meter!r}")]
    per_event = [name for name in PER_EVENT if getattr(price.price, name) is not None]
    mistakes = [
        *dimension_mistakes(dimensions=price.price.dimensions, key=price.meter, meter=meter),
        *event_mistakes(members=per_event, key=price.meter, meter=meter),
    ]
    return [FieldError(f"{path}.{mistake.field}", mistake.code, mistake.message) for mistake in mistakes]


def dimension_mistakes(*, dimensions: Sequence[str], key: str, meter: MeterTerms) -> list[FieldError]:
    """Return why a matrix cannot have these dimensions on a meter."""
    if dimensions and meter.aggregation not in ADDS_UP:
        message = f"needs a meter whose parts add up (sum, count): {key} is one of {meter.aggregation}"
        return [FieldError("dimensions", "not_additive", message)]
    known = ", ".join(meter.dimensions) or "none"
    return [
        FieldError(f"dimensions[{place}]", "unknown", f"{name!r} is no dimension of meter {key}, which has {known}")
        for place, name in enumerate(dimensions)
        if name not in meter.dimensions
    ]


def event_mistakes(*, members: Sequence[str], key: str, meter: MeterTerms) -> list[FieldError]:
    """Return why events cannot be charged one by one on a meter; told at the first of these members."""
    if not members or meter.aggregation == "sum":
        return []
    message = f"needs a meter that sums the amounts of events: {key} is one of {meter.aggregation}"
    return [FieldError(members[0], "not_a_sum", message)]
