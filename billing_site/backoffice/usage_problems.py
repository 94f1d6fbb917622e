"""The page of usage that no invoice holds, with the reason: late, charged by no plan, of unknown customers, counted by no meter."""

from dataclasses import dataclass
from datetime import datetime

from invoicing.customers.models import Customer
from invoicing.workflows.unbilled_usage import LateLine, UnbilledReason, UnbilledUsage, late_lines, unbilled_usage
from metering.queries import CustomerEvents, Unmatched, events_of_unknown_customers, unmatched_events

# Late usage and unknown customers have lists of their own, with more to say about each.
CHARGED_BY_NO_PLAN = (UnbilledReason.NO_SUBSCRIPTION, UnbilledReason.NOT_PRICED)


@dataclass(frozen=True)
class UsageProblems:
    """The page's four lists."""

    late: list[LateLine]
    uncharged: list[UnbilledUsage]
    unknown: list[CustomerEvents]
    unmatched: list[Unmatched]


def usage_problems(*, at: datetime) -> UsageProblems:
    """Return all usage that was accepted and is on no invoice although its time has come, or never will be."""
    return UsageProblems(
        late=late_lines(),
        uncharged=uncharged_usage(at=at),
        unknown=events_of_unknown_customers(known_keys=list(Customer.objects.values_list("key", flat=True))),
        unmatched=unmatched_events(),
    )


def uncharged_usage(*, at: datetime) -> list[UnbilledUsage]:
    """Return the usage of known customers that no plan charges for."""
    return [row for row in unbilled_usage(at=at) if row.reason in CHARGED_BY_NO_PLAN]
