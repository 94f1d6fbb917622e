"""Draft the next version of a plan, to be edited and published by people, and keep who edited what."""

from typing import Any

from django.db import transaction

from billing_site.kernel.errors import Conflict
from billing_site.kernel.history import save_with_reason
from invoicing.catalog.models import Plan, PlanSpend, PlanVersion, Price, PriceCell, PriceTier


@transaction.atomic
def draft_next_version(*, plan_id: int, actor: str, reason: str) -> PlanVersion:
    """Copy the newest version of a plan, with prices, tiers, cells, minimum and maximum spend, into a draft with the next number.

    Raises Conflict where the plan has a draft already: two drafts would race to become the offer.
    """
    plan = Plan.objects.select_for_update().get(pk=plan_id)
    newest = plan.versions.order_by("-number").first()
    if newest is not None and newest.published_at is None:
        raise Conflict(f"{newest} is a draft already: edit or publish that one")
    version = PlanVersion(plan=plan, number=newest.number + 1 if newest else 1)
    if newest is not None:
        version.cadence = newest.cadence
        version.proration = newest.proration
        version.tiers_on_change = newest.tiers_on_change
    save_with_reason(version, actor=actor, reason=reason)
    if newest is not None:
        _copy_prices(newest, version)
        PlanSpend.objects.bulk_create(
            PlanSpend(
                plan_version=version,
                **{field.attname: getattr(spend, field.attname) for field in _own_fields(PlanSpend, "plan_version")},
            )
            for spend in newest.spend.order_by("currency")
        )
    return version


def note_price(*, price: Price, before: str, after: str, actor: str, reason: str) -> None:
    """Say in the history of a price's draft who added or changed it, and why: its words before and after, tiers and cells included ("" before: it is new)."""
    version = PlanVersion.objects.select_for_update().get(pk=price.plan_version_id)
    if not before:
        told = f"added, {after}"
    elif before != after:
        told = f"{before} → {after}"
    else:
        told = "edited, it costs what it did"
    save_with_reason(version, actor=actor, reason=f"{reason} ({price}: {told})", fields=["number"])


def _copy_prices(source: PlanVersion, target: PlanVersion) -> None:
    for price in source.prices.order_by("position", "id").prefetch_related("tiers", "cells"):
        copy = Price(
            plan_version=target,
            **{field.attname: getattr(price, field.attname) for field in _own_fields(Price, "plan_version")},
        )
        copy.save()
        tiers = [PriceTier(price=copy, **_own_values(tier)) for tier in price.tiers.all()]
        PriceTier.objects.bulk_create(tiers)
        cells = [PriceCell(price=copy, **_own_values(cell)) for cell in price.cells.all()]
        PriceCell.objects.bulk_create(cells)


def _own_values(row: PriceTier | PriceCell) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in _own_fields(type(row), "price")}


def _own_fields(model: type[Price | PriceTier | PriceCell | PlanSpend], parent: str) -> list:  # type: ignore[type-arg]
    return [field for field in model._meta.concrete_fields if not field.primary_key and field.name != parent]
