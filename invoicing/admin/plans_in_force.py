"""Who is on which version: every published version with the subscriptions that are, or will be, on it."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Exists, Min, OuterRef

from invoicing.catalog.effective import versions_sold
from invoicing.catalog.models import Plan, PlanVersion
from invoicing.subscriptions.models import SubscriptionPhase
from invoicing.subscriptions.queries import phases_in_force


@dataclass(frozen=True)
class VersionInForce:
    """A version with how many subscriptions run on it, and how many will that do not yet."""

    version: PlanVersion
    running: int
    planned: int
    first_planned_at: datetime | None
    is_sold: bool


@dataclass
class PlanInForce:
    """A plan with its published versions, the newest first; `current` is the newest of them that is, or was, sold."""

    plan: Plan
    versions: list[VersionInForce]
    current: PlanVersion | None = None

    @property
    def older(self) -> int:
        """How many subscriptions run on a version before the current one; nobody has one that is only planned."""
        number = self.current.number if self.current is not None else 0
        return sum(one.running for one in self.versions if one.version.number < number)


@dataclass(frozen=True)
class PlansInForce:
    """The whole page."""

    at: datetime
    plans: list[PlanInForce]

    @property
    def running(self) -> int:
        """How many subscriptions run."""
        return sum(one.running for plan in self.plans for one in plan.versions)

    @property
    def older(self) -> int:
        """How many of them run on a version before the current one of its plan."""
        return sum(plan.older for plan in self.plans)


def plans_in_force(*, at: datetime) -> PlansInForce:
    """Return all plans with their versions; four queries, however many subscriptions."""
    running = dict(phases_in_force(at=at).order_by().values_list("plan_version").annotate(number=Count("pk")))
    there_already = phases_in_force(at=at).filter(
        subscription=OuterRef("subscription"), plan_version=OuterRef("plan_version")
    )
    coming = SubscriptionPhase.objects.filter(~Exists(there_already), starts_at__gt=at)
    planned = {
        row["plan_version"]: (row["number"], row["first"])
        for row in coming.order_by()
        .values("plan_version")
        .annotate(number=Count("subscription", distinct=True), first=Min("starts_at"))
    }
    sold = set(versions_sold(at=at).values_list("pk", flat=True))
    plans: dict[int, PlanInForce] = {}
    published = PlanVersion.objects.filter(published_at__isnull=False).select_related("plan")
    for version in published.order_by("plan__name", "plan_id", "-number"):
        number, first = planned.get(version.pk, (0, None))
        plan = plans.setdefault(version.plan_id, PlanInForce(version.plan, []))
        is_sold = version.pk in sold
        plan.versions.append(VersionInForce(version, running.get(version.pk, 0), number, first, is_sold))
        if plan.current is None and _has_been_sold(version, at=at):
            plan.current = version
    return PlansInForce(at, list(plans.values()))


def _has_been_sold(version: PlanVersion, *, at: datetime) -> bool:
    return not version.is_never_sold and (version.effective_from is None or version.effective_from <= at)
