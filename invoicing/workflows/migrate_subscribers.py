"""Move the subscribers of older plan versions to another one: a dry run, and its commit as long as it still says the same.

The dry run is the move itself, made and taken back: every subscription gets the change of plan that it would get, by
the operation that changes any plan. A billing period is never split: each moves when a period of its own begins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import BillingError, Conflict, FieldError, InvalidFields, InvalidInput
from billing_site.kernel.money import wire
from billing_site.kernel.period import as_utc
from invoicing.catalog.models import PlanVersion
from invoicing.invoices.models import Invoice, LineKind
from invoicing.invoices.queries import OWED
from invoicing.plan_migrations.models import PlanMigration
from invoicing.subscriptions.amend import change_plan
from invoicing.subscriptions.models import Subscription, SubscriptionPhase
from invoicing.subscriptions.queries import phases_in_force
from invoicing.subscriptions.snapshot import InPlace, period_at, with_phases
from invoicing.workflows.what_if import card_of_version, compare_totals, in_place_of

# So many are looked at while one waits (13 s of CPU), in one transaction; those beyond are said, and moved by the next.
SUBSCRIPTIONS_MAX = 500


@dataclass(frozen=True)
class _Row:
    """What becomes of one subscription: when it moves, or why it stays."""

    subscription: Subscription
    source: PlanVersion
    at: datetime | None
    refusal: str


def propose_migration(
    *, target: PlanVersion, sources: Sequence[PlanVersion], from_date: date, at: datetime, actor: str
) -> PlanMigration:
    """Keep a move with its dry run, so that somebody may look at it and commit it; nobody is moved.

    Raises InvalidFields naming `target`, `source` or `from_date`.
    """
    errors = []
    if target.published_at is None:
        errors.append(FieldError("target", "not_published", "is a draft: publish it first"))
    if any(source.plan_id != target.plan_id for source in sources):
        errors.append(FieldError("source", "other_plan", f"must be versions of {target.plan.name}"))
    if any(source.pk == target.pk for source in sources):
        errors.append(FieldError("source", "same", "is the version that they would move to"))
    if from_date < as_utc(at).date():
        errors.append(FieldError("from_date", "in_the_past", "lies in the past: what began is not moved"))
    if errors:
        raise InvalidFields(tuple(errors))
    migration = PlanMigration(
        target=target,
        sources=[source.pk for source in sources],
        from_date=from_date,
        proposed_by=actor,
        proposed_at=at,
    )
    if not _phases(migration, at=at).exists():
        raise InvalidInput("nobody is on these versions without being moved already", field="source", code="nobody")
    return _show(migration, at=at)


def show_migration_again(*, migration_id: int, at: datetime) -> PlanMigration:
    """Make the dry run of a move again; raises Conflict where it is committed."""
    return _show(_open_migration(migration_id), at=at)


def commit_migration(*, migration_id: int, digest: str, at: datetime, actor: str, reason: str) -> PlanMigration:
    """Move the subscribers if the move still has the digest that was shown; a second time changes nothing.

    All of it is one transaction. Raises Conflict (code `outdated`) where one subscription would get something else
    now, or one more or fewer would move: then nobody is moved.
    """
    done = PlanMigration.objects.filter(pk=migration_id, committed_at__isnull=False, figures_digest=digest).first()
    if done is not None:
        return done
    with transaction.atomic():
        PlanMigration.objects.select_for_update().get(pk=migration_id)
        migration = _open_migration(migration_id)
        figures = _moved(migration, at=at, actor=actor, reason=reason)
        if digest_of(figures) != digest or migration.figures_digest != digest:
            raise Conflict("it would do something else by now: look at the new dry run", code="outdated")
        migration.committed_at, migration.committed_by, migration.reason = at, actor, reason
        migration.save(update_fields=["committed_at", "committed_by", "reason"])
    return migration


def _open_migration(migration_id: int) -> PlanMigration:
    migration = PlanMigration.objects.select_related("target__plan__product").get(pk=migration_id)
    if migration.committed_at is not None:
        raise Conflict(f"the migration {migration} is committed already")
    return migration


def _show(migration: PlanMigration, *, at: datetime) -> PlanMigration:
    with transaction.atomic():
        figures = _moved(migration, at=at, actor="dry run", reason="dry run")
        transaction.set_rollback(True)
    migration.figures, migration.figures_digest, migration.shown_at = figures, digest_of(figures), at
    migration.save()
    return migration


def _phases(migration: PlanMigration, *, at: datetime) -> "QuerySet[SubscriptionPhase]":
    """Return the phases that move: in force on one of the versions, and not planned to be on the target already."""
    planned = SubscriptionPhase.objects.filter(
        subscription=OuterRef("subscription"), plan_version=migration.target, starts_at__gt=at
    )
    in_force = phases_in_force(at=at).filter(~Exists(planned), plan_version__in=migration.sources)
    return in_force.order_by("subscription_id")


def _moved(migration: PlanMigration, *, at: datetime, actor: str, reason: str) -> dict[str, Any]:
    """Move everybody, in the order of customers, and return what became of each as a document."""
    found = _phases(migration, at=at).select_related("plan_version__plan")
    phases = {phase.subscription_id: phase for phase in found[:SUBSCRIPTIONS_MAX]}
    left_for_later = found.count() - len(phases)
    subscriptions = with_phases(Subscription.objects.filter(pk__in=phases)).order_by("customer_id", "pk")
    rows = [
        _move(subscription, phases[subscription.pk].plan_version, migration, actor=actor, reason=reason)
        for subscription in subscriptions
    ]
    in_place = in_place_of(cards=[card_of_version(version=migration.target)])
    return {
        "target": migration.target.digest,
        "left_for_later": left_for_later,
        "moves": [_document(row) for row in rows if row.at is not None],
        "stays": [_document(row) for row in rows if row.at is None],
        "last_invoices": _last_invoices([row for row in rows if row.at is not None], migration, in_place),
    }


def _move(
    subscription: Subscription, source: PlanVersion, migration: PlanMigration, *, actor: str, reason: str
) -> _Row:
    try:
        with transaction.atomic():
            moment = _first_period_from(subscription, migration.from_date)
            _refuse_other_plans(subscription, migration, moment)
            change_plan(subscription=subscription, plan_version=migration.target, at=moment, actor=actor, reason=reason)
    except BillingError as problem:
        return _Row(subscription, source, None, problem.message)
    return _Row(subscription, source, moment, "")


def _first_period_from(subscription: Subscription, day: date) -> datetime:
    """Return when the first billing period begins on a day, in the customer's zone, or later."""
    midnight = as_utc(datetime.combine(day, time(), ZoneInfo(subscription.customer.timezone)))
    period = period_at(subscription=subscription, moment=midnight)
    if period is None:
        raise InvalidInput("ends before another billing period begins", field="from_date")
    return period.start if period.start == midnight else period.end


def _refuse_other_plans(subscription: Subscription, migration: PlanMigration, moment: datetime) -> None:
    """Keep what was agreed for later: a change of plan that is planned already is not undone by moving everybody."""
    others = {migration.target.pk, *migration.sources}
    for phase in subscription.phases.all():
        if phase.plan_version_id not in others and (phase.ends_at is None or phase.ends_at > moment):
            planned = f"{phase.plan_version} is planned from {phase.starts_at:%Y-%m-%d} on"
            raise InvalidInput(planned, field="source", code="planned_already")


def _document(row: _Row) -> dict[str, Any]:
    return {
        "subscription": row.subscription.key,
        "customer": row.subscription.customer.key,
        "name": row.subscription.customer.name,
        "source": str(row.source),
        "at": None if row.at is None else row.at.isoformat(),
        "timezone": row.subscription.customer.timezone,
        "refusal": row.refusal,
    }


def _last_invoices(rows: list[_Row], migration: PlanMigration, in_place: InPlace) -> list[dict[str, Any]]:
    """Return each mover's last invoice with a charge of the plan, as it was and as it would have been."""
    charged = Q(lines__kind=LineKind.CHARGE, lines__price__plan_version__plan=migration.target.plan)
    customers = sorted({row.subscription.customer.payer_id for row in rows})
    newest = (
        Invoice.objects.filter(charged, customer__in=customers, status__in=OWED)
        .order_by("customer_id", "-period_end")
        .distinct("customer_id")
        .values("pk")
    )
    invoices = list(
        Invoice.objects.filter(pk__in=newest)
        .select_related("customer")
        .prefetch_related("lines__subscription__customer")
        .order_by("pk")
    )
    return [
        {
            "invoice": invoice.number,
            "customer": invoice.customer.key,
            "before": wire(compared.before),
            "after": None if compared.after is None else wire(compared.after),
            "problem": compared.problem,
        }
        for invoice, compared in zip(invoices, compare_totals(invoices=invoices, in_place=in_place), strict=True)
    ]
