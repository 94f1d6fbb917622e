"""The page of usage that no invoice holds, with the reason: late, charged by no plan, of unknown customers, in no window."""

from dataclasses import dataclass
from datetime import datetime

from invoicing.customers.models import Customer
from invoicing.workflows import unbilled_usage as workflow
from invoicing.workflows.unbilled_usage import UnbilledReason, UnbilledUsage, unbilled_usage
from metering.queries import CustomerEvents, events_of_unknown_customers
from metering.queries.unapplied import UnappliedKind, unapplied_kinds

# Late usage and unknown customers have lists of their own, with more to say about each.
CHARGED_BY_NO_PLAN = (UnbilledReason.NO_SUBSCRIPTION, UnbilledReason.NOT_PRICED)
# Nobody has to do anything about these.
BY_AGREEMENT = (UnbilledReason.TRIAL, UnbilledReason.PAUSED)


@dataclass(frozen=True)
class UsageProblems:
    """The page's lists; late usage has a desk of its own."""

    late: list[UnbilledUsage]
    uncharged: list[UnbilledUsage]
    agreed: list[UnbilledUsage]
    unknown: list[CustomerEvents]
    unapplied: list[UnappliedKind]


def usage_problems(*, at: datetime) -> UsageProblems:
    """Return all usage that was accepted and is on no invoice although its time has come, or never will be."""
    unbilled = unbilled_usage(at=at)
    return UsageProblems(
        late=[row for row in unbilled if row.reason == UnbilledReason.LATE],
        uncharged=[row for row in unbilled if row.reason in CHARGED_BY_NO_PLAN],
        agreed=[row for row in unbilled if row.reason in BY_AGREEMENT],
        unknown=events_of_unknown_customers(known_keys=list(Customer.objects.values_list("key", flat=True))),
        unapplied=unapplied_kinds(),
    )


def uncharged_usage(*, at: datetime) -> list[UnbilledUsage]:
    """Return the usage of known customers that no plan charges for."""
    return [row for row in workflow.uncharged_usage(at=at) if row.reason in CHARGED_BY_NO_PLAN]
