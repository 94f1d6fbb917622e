"""What may be asked about usage: what was used, what is billed, how it is proved, what did not arrive."""

from metering.queries.billing import MeterUsage, billing_usage
from metering.queries.control import (
    Backlog,
    Conservation,
    CustomerEvents,
    Unmatched,
    backlog,
    conservation,
    customers_with_usage,
    events_of_unknown_customers,
    unmatched_events,
)
from metering.queries.proof import (
    KnownEvent,
    KnownWindow,
    LateUsage,
    events_as_known,
    late_usage,
    usage_as_known,
    windows_as_known,
    working_as_known,
)
from metering.queries.search import events_with_key
from metering.queries.sizes import Sizes, sizes_as_known
from metering.queries.usage import (
    DatedUsage,
    Granularity,
    UsageReport,
    Window,
    meter_by_key,
    usage_between,
    usage_by_date,
    usage_report,
    usage_windows,
    usage_working,
)

__all__ = [
    "Backlog",
    "Conservation",
    "CustomerEvents",
    "DatedUsage",
    "Granularity",
    "KnownEvent",
    "KnownWindow",
    "LateUsage",
    "MeterUsage",
    "Sizes",
    "Unmatched",
    "UsageReport",
    "Window",
    "backlog",
    "billing_usage",
    "conservation",
    "customers_with_usage",
    "events_as_known",
    "events_of_unknown_customers",
    "events_with_key",
    "late_usage",
    "meter_by_key",
    "sizes_as_known",
    "unmatched_events",
    "usage_as_known",
    "usage_between",
    "usage_by_date",
    "usage_report",
    "usage_windows",
    "usage_working",
    "windows_as_known",
    "working_as_known",
]
