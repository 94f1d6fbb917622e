"""What may happen to dunning policies: a version is published and stays, and customers are assigned to a policy."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from billing_site.kernel.errors import Conflict, InvalidInput, NotFound
from billing_site.kernel.reasons import checked_reason
from dunning.core.policy import SHORT, STANDARD, PolicyTerms, TermsMistake, read_terms, terms_stored
from dunning.policies.models import PolicyAssignment, PolicyVersion
from invoicing.customers.models import Customer

STANDARD_KEY, SHORT_KEY = "standard", "short"
# As S0-125 to S0-129 and S1-021 to S1-024 have them.
PRESETS: tuple[tuple[str, str, PolicyTerms], ...] = (
    (STANDARD_KEY, "Standard: 14 and 28 days", STANDARD),
    (SHORT_KEY, "Short: 7 and 8 days", SHORT),
)
# Before anything that can be overdue.
ALWAYS = datetime(2000, 1, 1, tzinfo=UTC)


@transaction.atomic
def ensure_presets() -> None:
    """Make sure that both policies of the product's requirements are there; the standard one chases whoever has no other."""
    for key, name, terms in PRESETS:
        PolicyVersion.objects.get_or_create(
            key=key,
            number=1,
            defaults={
                "name": name,
                "terms": terms_stored(terms),
                "in_force_from": ALWAYS,
                "actor": "installation",
                "reason": "came with the product",
            },
        )


@transaction.atomic
def publish_policy(
    *, key: str, name: str, terms: Mapping[str, Any], in_force_from: datetime, at: datetime, actor: str, reason: str
) -> PolicyVersion:
    """Add a version of a policy, or a new policy; cases that are open keep theirs.

    Raises InvalidInput naming the field: terms that make no sense, a moment of the past.
    """
    said = checked_reason(reason=reason)
    if not key or not key.replace("-", "").replace("_", "").isalnum() or len(key) > 50:
        raise InvalidInput("use 1 to 50 letters, digits, - and _", field="key")
    if not name.strip():
        raise InvalidInput("say what it is called", field="name")
    if in_force_from < at:
        raise InvalidInput("a version is in force from now on, or later", field="in_force_from")
    try:
        stored = terms_stored(read_terms(terms))
    except TermsMistake as mistake:
        raise InvalidInput(str(mistake), field="terms") from mistake
    last = PolicyVersion.objects.select_for_update().filter(key=key).order_by("-number").first()
    if last is not None and in_force_from < last.in_force_from:
        raise InvalidInput(f"version {last.number} is in force after that", field="in_force_from")
    return PolicyVersion.objects.create(
        key=key,
        number=last.number + 1 if last else 1,
        name=name.strip()[:200],
        terms=stored,
        in_force_from=in_force_from,
        actor=actor,
        reason=said,
    )


@transaction.atomic
def assign_policy(
    *, policy: str, customer: Customer | None, country: str, at: datetime, actor: str, reason: str
) -> PolicyAssignment:
    """Let a customer, a country or everybody else be chased by a policy; what was in force for the same ends. Raises NotFound, Conflict."""
    said = checked_reason(reason=reason)
    if not PolicyVersion.objects.filter(key=policy).exists():
        raise NotFound(f"there is no dunning policy {policy!r}", field="policy")
    if customer is not None and customer.billed_to_id is not None:
        raise Conflict(f"{customer} is billed to another customer, who is chased for it", field="customer")
    before = PolicyAssignment.objects.select_for_update().filter(customer=customer, country=country, ended_at=None)
    if (present := before.first()) is not None:
        if present.policy == policy:
            return present
        _end(present, at=at, actor=actor, reason=said)
    return PolicyAssignment.objects.create(
        policy=policy, customer=customer, country=country, set_at=at, actor=actor, reason=said
    )


@transaction.atomic
def end_assignment(*, assignment_id: int, at: datetime, actor: str, reason: str) -> PolicyAssignment:
    """End an assignment; the same a second time is the one that ended. Raises NotFound."""
    said = checked_reason(reason=reason)
    assignment = PolicyAssignment.objects.select_for_update().filter(pk=assignment_id).first()
    if assignment is None:
        raise NotFound("there is no such assignment", field="assignment")
    if assignment.ended_at is None:
        _end(assignment, at=at, actor=actor, reason=said)
    return assignment


def _end(assignment: PolicyAssignment, *, at: datetime, actor: str, reason: str) -> None:
    assignment.ended_at, assignment.ended_by, assignment.ended_because = max(at, assignment.set_at), actor, reason
    assignment.save(update_fields=["ended_at", "ended_by", "ended_because"])
