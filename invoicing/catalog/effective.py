"""When a plan version is sold: which one a new subscription takes on a date, and how the next one takes over."""

from datetime import UTC, datetime

from django.db import transaction
from django.db.models import Max, Q, QuerySet

from billing_site.kernel.errors import Conflict, FieldError, InvalidFields
from billing_site.kernel.history import save_with_reason
from invoicing.catalog.models import Plan, PlanVersion, Price
from invoicing.core.invoice_life import STANDING

YEAR_FIRST, YEAR_LAST = 2000, 2099


def versions_sold(*, at: datetime) -> "QuerySet[PlanVersion]":
    """Return the versions that new subscriptions take at a moment: one for each plan that is sold then."""
    return PlanVersion.objects.filter(
        Q(effective_from__isnull=True) | Q(effective_from__lte=at),
        Q(effective_to__isnull=True) | Q(effective_to__gt=at),
        published_at__isnull=False,
    )


def moment_mistake(*, moment: datetime, field: str) -> FieldError | None:
    """Return why a moment cannot begin or end anything in the catalog, or None."""
    if moment.utcoffset() is None:
        return FieldError(field, "naive", "has no offset: write 2026-08-01T00:00:00Z")
    if not YEAR_FIRST <= moment.year <= YEAR_LAST:
        return FieldError(field, "out_of_range", f"must lie in the years {YEAR_FIRST} to {YEAR_LAST}")
    return None


def effective_mistakes(*, version: PlanVersion, at: datetime) -> list[FieldError]:
    """Return why a draft cannot be sold from and until when it says, were it published at `at`.

    A version begins after the one that is sold, and not inside a period that was invoiced under its plan: who
    began in it was promised other prices.
    """
    for field in ("effective_from", "effective_to"):
        moment = getattr(version, field)
        if moment is not None and (mistake := moment_mistake(moment=moment, field=field)):
            return [mistake]
    begins, earlier = (
        version.effective_from or at,
        [other for other in _published(version.plan) if not other.is_never_sold],
    )
    sold = [other for other in earlier if other.effective_from is not None and begins <= other.effective_from <= at]
    planned = [other for other in earlier if other.effective_from is not None and other.effective_from > at]
    errors = []
    if version.effective_from is None and planned:
        message = (
            f"is missing: {planned[0]} is sold from {_text(planned[0].effective_from)} on, say from when this one is"
        )
        errors.append(FieldError("effective_from", "required", message))
    elif version.effective_from is not None and sold:
        message = f"must be after {_text(sold[-1].effective_from)}, from when on {sold[-1]} is sold"
        errors.append(FieldError("effective_from", "not_after", message))
    elif version.effective_from is not None and (until := _invoiced_until(version.plan, after=begins)):
        message = (
            f"lies in a period invoiced under {version.plan.name}, which ends at {_text(until)}: begin then or later"
        )
        errors.append(FieldError("effective_from", "invoiced_already", message))
    if version.effective_to is not None and version.effective_to <= begins:
        errors.append(
            FieldError("effective_to", "not_after", f"must be after {_text(begins)}, from when on it is sold")
        )
    return errors


def take_over(*, version: PlanVersion, at: datetime, actor: str, reason: str) -> None:
    """Set from when on a draft is sold that is published at `at`, and end the sale of what is sold or planned then.

    The plan's row is locked. What was planned for that moment or later is never sold. Raises InvalidFields.
    """
    if mistakes := effective_mistakes(version=version, at=at):
        raise InvalidFields(tuple(mistakes))
    earlier = list(_published(version.plan))
    begins = version.effective_from or at
    if earlier:
        version.effective_from = begins
    for other in earlier:
        end = begins if other.effective_from is None else max(begins, other.effective_from)
        if other.effective_to is None or other.effective_to > end:
            other.effective_to = end
            save_with_reason(other, actor=actor, reason=f"{version} is sold from {_text(begins)} on: {reason}")


@transaction.atomic
def sell_until(*, version_id: int, until: datetime | None, at: datetime, actor: str, reason: str) -> PlanVersion:
    """Sell a published version until a moment, or (None) until another one is sold; who has it keeps it.

    The same a second time changes nothing. Raises Conflict for a draft, InvalidFields naming `effective_to`.
    """
    version = PlanVersion.objects.select_related("plan").get(pk=version_id)
    Plan.objects.select_for_update(no_key=True).get(pk=version.plan_id)
    version.refresh_from_db()
    if version.published_at is None:
        raise Conflict(f"{version} is a draft: nobody is sold it")
    if version.effective_to == until:
        return version
    if mistake := _end_mistake(version, until, at=at):
        raise InvalidFields((mistake,))
    version.effective_to = until
    save_with_reason(version, actor=actor, reason=reason)
    return version


def _end_mistake(version: PlanVersion, until: datetime | None, *, at: datetime) -> FieldError | None:
    field = "effective_to"
    if until is not None and (mistake := moment_mistake(moment=until, field=field)):
        return mistake
    if version.effective_to is not None and version.effective_to <= at:
        return FieldError(
            field, "ended", f"{version} is no longer sold since {_text(version.effective_to)}: publish another"
        )
    if until is not None and until < at:
        return FieldError(field, "in_the_past", f"must not be before now, {_text(at)}: what was sold stays sold")
    begins = version.effective_from
    if until is not None and begins is not None and until <= begins:
        return FieldError(field, "not_after", f"must be after {_text(begins)}, from when on it is sold")
    later = _published(version.plan).filter(number__gt=version.number)
    following = next((other for other in later if not other.is_never_sold), None)
    if following is not None and (until is None or until > (following.effective_from or until)):
        message = f"must not be after {_text(following.effective_from)}, from when on {following} is sold"
        return FieldError(field, "sold_by_another", message)
    return None


def _published(plan: Plan) -> "QuerySet[PlanVersion]":
    return plan.versions.filter(published_at__isnull=False).select_related("plan").order_by("number")


def _invoiced_until(plan: Plan, *, after: datetime) -> datetime | None:
    """Return the end of the last issued period that holds a moment and charges this plan, or None."""
    issued = {
        "invoice_lines__invoice__status__in": STANDING,
        "invoice_lines__invoice__period_start__lte": after,
        "invoice_lines__invoice__period_end__gt": after,
    }
    prices = Price.objects.filter(plan_version__plan=plan, **issued)
    until: datetime | None = prices.aggregate(until=Max("invoice_lines__invoice__period_end"))["until"]
    return until


def _text(moment: datetime | None) -> str:
    return "its beginning" if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
