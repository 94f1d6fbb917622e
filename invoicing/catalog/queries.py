"""What may be asked of the catalog."""

from datetime import UTC, datetime

from django.db.models import QuerySet

from billing_site.kernel.errors import InvalidInput, NotFound
from invoicing.catalog.effective import versions_sold
from invoicing.catalog.models import PlanVersion, Price


def published_version(*, plan_key: str, number: int | None = None, field: str = "plan") -> PlanVersion:
    """Return the newest published version of a plan, or the one with this number; raises NotFound."""
    versions = PlanVersion.objects.select_related("plan").filter(plan__key=plan_key, published_at__isnull=False)
    if number is not None:
        versions = versions.filter(number=number)
    version = versions.order_by("-number").first()
    if version is None:
        raise NotFound(
            f"there is no published version {number or ''} of a plan {plan_key!r}".replace("  ", " "), field=field
        )
    return version


def version_to_start(*, plan_key: str, number: int | None, at: datetime, field: str = "plan") -> PlanVersion:
    """Return the version of a plan that is sold at a moment, or the one with this number, whenever it is sold.

    Raises NotFound where there is no such version, InvalidInput where none is sold then.
    """
    newest = published_version(plan_key=plan_key, number=number, field=field)
    if number is not None:
        return newest
    sold = versions_sold(at=at).select_related("plan").filter(plan=newest.plan_id).first()
    if sold is None:
        message = f"{newest.plan.name} is not sold at {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC: name a version"
        raise InvalidInput(message, field=field, code="not_sold")
    return sold


def with_rates(prices: "QuerySet[Price]") -> "QuerySet[Price]":
    """Return prices with their meter, tiers and cells: what it takes to say or to rate them, in three queries."""
    return prices.select_related("meter").prefetch_related("tiers", "cells")
