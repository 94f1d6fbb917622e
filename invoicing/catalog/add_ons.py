"""Which plans are sold only together with others."""

from collections.abc import Sequence

from billing_site.kernel.errors import FieldError
from billing_site.kernel.history import save_with_reason
from invoicing.catalog.document import PlanEntry
from invoicing.catalog.models import Plan


def add_on_mistakes(*, plans: Sequence[PlanEntry]) -> list[FieldError]:
    """Return why plans of a catalog document cannot be add-ons to what they name."""
    if not any(plan.add_on_to for plan in plans):
        return []
    stored = {
        plan.key: bool(plan.add_on_to.all()) for plan in Plan.objects.prefetch_related("add_on_to").order_by("key")
    }
    is_add_on = stored | {plan.key: bool(plan.add_on_to) for plan in plans}
    parents = {key for plan in plans for key in plan.add_on_to}
    parents |= set(
        Plan.objects.filter(add_ons__isnull=False)
        .exclude(add_ons__key__in=[plan.key for plan in plans])
        .values_list("key", flat=True)
    )
    errors = []
    for place, plan in enumerate(plans):
        field = f"plans[{place}].add_on_to"
        for key in plan.add_on_to:
            if key not in is_add_on:
                errors.append(FieldError(field, "unknown", f"there is no plan {key!r}"))
            elif is_add_on[key]:
                errors.append(FieldError(field, "nested", f"{key!r} is an add-on itself, or this very plan"))
        if plan.add_on_to and plan.key in parents - set(plan.add_on_to):
            errors.append(FieldError(field, "nested", "other plans are add-ons to this one"))
    return errors


def add_to_plans(*, plan_key: str, others: Sequence[str], actor: str, reason: str) -> bool:
    """Sell a plan only with these others (with none: by itself); say whether that is new. Who has it keeps it."""
    if set(Plan.objects.filter(add_ons__key=plan_key).values_list("key", flat=True)) == set(others):
        return False
    plan = Plan.objects.get(key=plan_key)
    plan.add_on_to.set(Plan.objects.filter(key__in=others))
    save_with_reason(plan, actor=actor, reason=f"{reason}; add-on to {', '.join(others) or 'nothing'}")
    return True
