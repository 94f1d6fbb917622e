"""Publish prices, alone or, where the house has switched that on, with a second person who approves them as they are."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from django.db import transaction

from billing_site.kernel.errors import Conflict
from invoicing.approvals.models import Approval, ApprovedDeed
from invoicing.approvals.operations import NeedsApproval, request_approval
from invoicing.approvals.queries import takes_two
from invoicing.catalog.models import Plan, PlanVersion
from invoicing.catalog.operations import (
    LoadSummary,
    checked_draft,
    load_catalog,
    price_document,
    publish_version,
)
from invoicing.catalog.price_words import price_in_full
from invoicing.catalog.queries import with_rates


@transaction.atomic
def publish_or_ask(*, version_id: int, at: datetime, actor: str, reason: str) -> PlanVersion | Approval:
    """Publish a draft version, or, where prices take two people, ask for the second; raises what `publish_version` raises."""
    if not takes_two(deed=ApprovedDeed.PRICE_VERSION):
        return publish_version(version_id=version_id, at=at, actor=actor, reason=reason)
    version = checked_draft(version_id=version_id)
    return request_approval(
        deed=ApprovedDeed.PRICE_VERSION,
        subject=f"version {version.pk}",
        digest=version.digest,
        summary=f"Publish {version} with {version.prices.count()} prices, sold from {_from(version)} on",
        at=at,
        actor=actor,
        reason=reason,
        asked={"sold": _sold(version), "figures": _figures(version)},
    )


def load_prices(*, document: Mapping[str, Any], at: datetime, actor: str, reason: str) -> LoadSummary:
    """Load a catalog as `load_catalog` does; where prices take two people, one with new prices is refused (NeedsApproval): nothing of it is loaded."""
    publish = _refuse if takes_two(deed=ApprovedDeed.PRICE_VERSION) else publish_version
    return load_catalog(document=document, at=at, actor=actor, reason=reason, publish=publish)


def lock_version_of(approval: Approval) -> None:
    """Lock the plan of the draft that an approval is about; nothing where the draft is gone."""
    list(Plan.objects.select_for_update(no_key=True).filter(versions=_version_of(approval)))


def publish_as_approved(approval: Approval) -> None:
    """Publish the version that was approved, for whoever asked for it; raises Conflict where it says something else by now."""
    assert approval.decided_at is not None, "it is approved"
    if not PlanVersion.objects.filter(pk=_version_of(approval)).exists():
        raise Conflict("the draft is gone: nothing is to be published", code="outdated")
    version = checked_draft(version_id=_version_of(approval))
    if (version.digest, _sold(version)) != (approval.digest, approval.asked["sold"]):
        raise Conflict("its prices are others by now: ask again", code="outdated")
    publish_version(version_id=version.pk, at=approval.decided_at, actor=approval.requested_by, reason=approval.reason)


def _refuse(**draft: Any) -> PlanVersion:
    message = (
        "prices are published by two people here: draft the next version in the admin, and ask for the second there"
    )
    raise NeedsApproval(message, field="prices")


def _version_of(approval: Approval) -> int:
    return int(approval.subject.removeprefix("version "))


def _sold(version: PlanVersion) -> list[str | None]:
    return [None if one is None else one.isoformat() for one in (version.effective_from, version.effective_to)]


def _from(version: PlanVersion) -> str:
    return "its approval" if version.effective_from is None else f"{version.effective_from:%Y-%m-%d %H:%M} UTC"


def _figures(version: PlanVersion) -> list[list[str]]:
    """Return each price in words, beside the one of the version before."""
    before = version.plan.versions.filter(number__lt=version.number, published_at__isnull=False).order_by("-number")
    known = {} if (last := before.first()) is None else _prices(last)
    now = _prices(version)
    gone = [[price.label, f"Gone. Before: {price.words}"] for key, price in known.items() if key not in now]
    return [*([price.label, _beside(price, known.get(key))] for key, price in now.items()), *gone]


class _Said(NamedTuple):
    """A price in words, and as it stands in the rate card: words may leave something out."""

    label: str
    words: str
    document: dict[str, Any]


def _beside(price: _Said, was: _Said | None) -> str:
    if was is None:
        return f"{price.words} Before: not there."
    if was == price:
        return price.words
    renamed = "" if was.label == price.label else f"{was.label}: "
    told = f"{renamed}{was.words}"
    return f"{price.words} Before: {'other values.' if told == price.words else told}"


def _prices(version: PlanVersion) -> dict[tuple[str, str], _Said]:
    prices = with_rates(version.prices.all()).order_by("currency", "position", "id")
    return {
        (price.key, price.currency): _Said(
            f"{price.name} ({price.currency})",
            " ".join(price_in_full(price=price, cadence=version.cadence)),
            price_document(price=price),
        )
        for price in prices
    }
