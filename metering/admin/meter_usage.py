"""What a customer used of a meter in a month: the quantity, its days, and the working of a time-weighted sum."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billing_site.kernel.period import Period
from metering.core.aggregation import Stretch
from metering.core.windows import span_of
from metering.models import Meter
from metering.queries import Window, usage_report, usage_working

# More rungs than this nobody reads; the quantity counts them all.
STRETCHES_MAX = 500


@dataclass(frozen=True)
class MeterUsagePage:
    """A month of a customer, or the question for one; `working` is empty for all but time-weighted sums."""

    customer_id: str
    month: Period
    total: Decimal | None
    days: list[Window]
    working: list[Stretch]
    stretch_count: int

    @property
    def month_text(self) -> str:
        """The month as its field takes it."""
        return f"{self.month.start:%Y-%m}"


def meter_usage(*, meter: Meter, parameters: Mapping[str, Any], at: datetime) -> MeterUsagePage:
    """Return the page for an address; a month that is none is the present one."""
    customer_id = str(parameters.get("customer_id", "")).replace("\x00", "").strip()[:100]
    month = span_of(moment=_month(str(parameters.get("month", "")), at), granularity="month")
    if not customer_id:
        return MeterUsagePage("", month, None, [], [], 0)
    question: dict[str, Any] = {"meter_key": meter.key, "customer_id": customer_id, "period": month}
    report = usage_report(**question, granularity="day")
    working = usage_working(**question)
    return MeterUsagePage(customer_id, month, report.total, report.windows, working[:STRETCHES_MAX], len(working))


def _month(text: str, at: datetime) -> datetime:
    try:
        month = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        return at.astimezone(UTC)
    return month if 2000 <= month.year <= 9000 else at.astimezone(UTC)
