"""What may happen to the catalog: loaded from a file, a version published, never edited after that."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import Conflict, FieldError, InvalidFields
from billing_site.kernel.history import save_with_reason
from invoicing.catalog.add_ons import add_on_mistakes, add_to_plans
from invoicing.catalog.coupons import create_coupon
from invoicing.catalog.document import Catalog, PlanEntry, PriceEntry, read_catalog, terms_on_change
from invoicing.catalog.effective import sell_until, take_over, versions_sold
from invoicing.catalog.mapping import cell_rows, core_price, price_columns, tier_rows
from invoicing.catalog.meter_fit import MeterTerms, meter_mistakes
from invoicing.catalog.models import Plan, PlanSpend, PlanVersion, Price, PriceCell, PriceTier, Product
from invoicing.catalog.queries import with_rates
from invoicing.catalog.spend import spend_documents
from invoicing.core.contract import Cadence
from invoicing.core.phases import Proration, TiersOnChange
from metering.core.aggregation import ADDS_UP
from metering.models import Meter
from metering.operations import create_meter

CATALOG_LOCK = 7_302


@dataclass
class LoadSummary:
    """What loading a catalog did, in words: `plan pro v2`."""

    created: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)


@transaction.atomic
def load_catalog(
    *,
    document: Mapping[str, Any],
    at: datetime,
    actor: str,
    reason: str,
    publish: "Callable[..., PlanVersion] | None" = None,
) -> LoadSummary:
    """Bring meters, products, plans and coupons to what the document says; the same document again changes nothing.

    A plan whose prices differ from its newest published version gets a new version, published at
    `at` and sold from then on, or from when its `effective_from` says; running subscriptions keep theirs. Raises InvalidFields with the path of each mistake,
    Conflict where a meter would change its meaning. New prices are published by `publish_version`, or by `publish` where it is given.
    """
    catalog = read_catalog(document=document)
    _load_alone()
    _check_references(catalog)
    summary = LoadSummary()
    for entry in catalog.meters:
        existed = Meter.objects.filter(key=entry.key).exists()
        create_meter(
            key=entry.key,
            name=entry.name,
            event_type=entry.event_type,
            aggregation=entry.aggregation,
            value_property=entry.value_property,
            unit=entry.unit,
            filters=entry.filters,
            dimensions=entry.dimensions,
            effective_from=entry.effective_from,
            actor=actor,
            reason=reason,
        )
        (summary.unchanged if existed else summary.created).append(f"meter {entry.key}")
    for product in catalog.products:
        _load_named(Product, product.key, {"name": product.name}, summary, actor=actor, reason=reason)
    for place, plan in enumerate(catalog.plans):
        _load_plan(
            plan,
            place=place,
            at=at,
            summary=summary,
            actor=actor,
            reason=reason,
            publish=publish or publish_version,
        )
    for place, coupon in enumerate(catalog.coupons):
        _, is_new = create_coupon(entry=coupon, path=f"coupons[{place}]", actor=actor, reason=reason)
        (summary.created if is_new else summary.unchanged).append(f"coupon {coupon.code}")
    # Once all plans are there: one may be an add-on to a plan that stands below it.
    for plan in catalog.plans:
        if add_to_plans(plan_key=plan.key, others=plan.add_on_to, actor=actor, reason=reason):
            summary.changed.append(f"plan {plan.key}: add-on to {', '.join(plan.add_on_to) or 'nothing'}")
    return summary


@transaction.atomic
def publish_version(*, version_id: int, at: datetime, actor: str, reason: str) -> PlanVersion:
    """Publish a draft version: from now on it and its prices are immutable, and sold from `effective_from` on (default: `at`).

    Raises Conflict if it or a later version is published already, InvalidFields if its rate card cannot be
    rated or the moments between which it is sold cannot be.
    """
    version = checked_draft(version_id=version_id)
    take_over(version=version, at=at, actor=actor, reason=reason)
    version.published_at = at
    save_with_reason(version, actor=actor, reason=reason)
    return version


def checked_draft(*, version_id: int) -> PlanVersion:
    """Return a draft, locked with its plan, that may be published, with the digest that it would have; raises what `publish_version` raises."""
    Plan.objects.select_for_update(no_key=True).get(versions=version_id)
    version = PlanVersion.objects.select_for_update(of=("self",)).select_related("plan__product").get(pk=version_id)
    if version.published_at is not None:
        raise Conflict(f"{version} is published already")
    later = version.plan.versions.filter(number__gt=version.number, published_at__isnull=False)
    if (newest := later.order_by("-number").first()) is not None:
        raise Conflict(f"{newest} was published meanwhile and would stay in force: draft the next version anew")
    version.digest = check_draft(version=version)
    if mistake := _carry_mistake(
        TiersOnChange(version.tiers_on_change), Meter.objects.filter(pk__in=version.prices.values("meter"))
    ):
        raise InvalidFields((FieldError("tiers_on_change", "not_additive", mistake),))
    return version


def check_draft(*, version: PlanVersion) -> str:
    """Return the digest of a draft's rate card. Raises InvalidFields with all that keeps it from being rated, as for a catalog file with this one plan."""
    card = _rate_card(version)
    _check_references(read_catalog(document={"plans": [_plan_with(version, card)]}))
    return digest_of(card)


def plan_document(*, version: PlanVersion) -> dict[str, Any]:
    """Return a plan version as it would stand in a catalog file."""
    return _plan_with(version, _rate_card(version))


def price_document(*, price: Price) -> dict[str, Any]:
    """Return a price as it stands in the rate card of its version; its meter, tiers and cells should be loaded."""
    return PriceEntry(
        key=price.key,
        name=price.name,
        meter=price.meter.key if price.meter else "",
        currency=price.currency,
        price=core_price(price=price),
        in_advance=price.in_advance,
    ).document()


def _load_alone() -> None:
    """Let one transaction at a time load a catalog: the next one finds what this one made."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CATALOG_LOCK])


def _plan_with(version: PlanVersion, card: dict[str, Any]) -> dict[str, Any]:
    plan = version.plan
    return {"key": plan.key, "name": plan.name, "product": plan.product.key, **card}


def _rate_card(version: PlanVersion) -> dict[str, Any]:
    prices = with_rates(version.prices.all()).order_by("position", "id")
    card: dict[str, Any] = {
        "cadence": Cadence(version.cadence).value,
        "prices": [price_document(price=price) for price in prices],
    }
    if spend := spend_documents(rows=version.spend.all()):
        card["spend"] = spend
    return card | terms_on_change(
        proration=Proration(version.proration), tiers_on_change=TiersOnChange(version.tiers_on_change)
    )


def _check_references(catalog: Catalog) -> None:
    meters: dict[str, MeterTerms] = {meter.key: meter for meter in catalog.meters}
    named = {price.meter for plan in catalog.plans for price in plan.prices if price.meter}
    meters |= {meter.key: meter for meter in Meter.objects.filter(key__in=named - meters.keys())}
    errors = add_on_mistakes(plans=catalog.plans)
    products = {product.key for product in catalog.products}
    elsewhere = {plan.product for plan in catalog.plans} - products
    products |= set(Product.objects.filter(key__in=elsewhere).values_list("key", flat=True))
    for index, plan in enumerate(catalog.plans):
        if plan.product not in products:
            errors.append(FieldError(f"plans[{index}].product", "unknown", f"there is no product {plan.product!r}"))
        for place, price in enumerate(plan.prices):
            errors += meter_mistakes(price=price, meters=meters, path=f"plans[{index}].prices[{place}]")
    if errors:
        raise InvalidFields(tuple(errors))


def _carry_mistake(tiers_on_change: TiersOnChange, meters: Iterable[Meter]) -> str:
    """Say why places in tiers cannot be carried for these meters; "" where they can: parts of sums and counts add up."""
    if tiers_on_change is TiersOnChange.RESET:
        return ""
    others = sorted({meter.key for meter in meters if meter.aggregation not in ADDS_UP})
    return f"carry takes meters that add up (sum, count): not {', '.join(others)}" if others else ""


def _load_named(
    model: type[Product] | type[Plan],
    key: str,
    columns: dict[str, Any],
    summary: LoadSummary,
    *,
    actor: str,
    reason: str,
) -> Product | Plan:
    noun = f"{model._meta.verbose_name} {key}"
    # Locked, so that nobody drafts the next version of a plan (draft.py) at the same moment.
    row = model._default_manager.select_for_update(no_key=True).filter(key=key).first()
    if row is None:
        row = model(key=key, **columns)
        summary.created.append(noun)
    elif any(getattr(row, name) != value for name, value in columns.items()):
        for name, value in columns.items():
            setattr(row, name, value)
        summary.changed.append(noun)
    else:
        summary.unchanged.append(noun)
        return row
    save_with_reason(row, actor=actor, reason=reason)
    return row


def _load_plan(
    entry: PlanEntry,
    *,
    place: int,
    at: datetime,
    summary: LoadSummary,
    actor: str,
    reason: str,
    publish: Callable[..., PlanVersion],
) -> None:
    columns = {"name": entry.name, "product": Product.objects.get(key=entry.product)}
    quiet = LoadSummary()
    plan = _load_named(Plan, entry.key, columns, quiet, actor=actor, reason=reason)
    assert isinstance(plan, Plan)
    digest = digest_of(entry.rate_card())
    is_new = bool(quiet.created)
    same = None if is_new else _with_same_card(plan, entry, digest=digest, place=place, at=at)
    if same is not None:
        if _end_sale(same, entry, place=place, at=at, actor=actor, reason=reason):
            quiet.changed.append(f"plan {entry.key} v{same.number}")
        summary.unchanged += quiet.unchanged if not quiet.changed else []
        summary.changed += quiet.changed
        return

    last = None if is_new else plan.versions.order_by("-number").first()
    version = PlanVersion(
        plan=plan,
        number=last.number + 1 if last else 1,
        cadence=entry.cadence.value,
        proration=entry.proration.value,
        tiers_on_change=entry.tiers_on_change.value,
        effective_from=entry.effective_from,
        effective_to=entry.effective_to,
    )
    save_with_reason(version, actor=actor, reason=reason)
    meters = {meter.key: meter for meter in Meter.objects.filter(key__in={price.meter for price in entry.prices})}
    for position, price in enumerate(entry.prices):
        row = Price.objects.create(
            plan_version=version,
            position=position,
            key=price.key,
            name=price.name,
            meter=meters.get(price.meter),
            currency=price.currency,
            in_advance=price.in_advance,
            **price_columns(price=price.price),
        )
        PriceTier.objects.bulk_create(tier_rows(row=row, price=price.price))
        PriceCell.objects.bulk_create(cell_rows(row=row, price=price.price))
    PlanSpend.objects.bulk_create(
        PlanSpend(
            plan_version=version,
            currency=spend.currency,
            minimum_spend=spend.minimum,  # type: ignore[misc]  # the stubs do not see null=True through exact_field
            maximum_spend=spend.maximum,  # type: ignore[misc]
        )
        for spend in entry.spend
    )
    if mistake := _carry_mistake(entry.tiers_on_change, meters.values()):
        raise InvalidFields((FieldError(f"plans[{place}].tiers_on_change", "not_additive", mistake),))
    with _mistakes_at(place):
        published = publish(version_id=version.pk, at=at, actor=actor, reason=reason)
    assert published.digest == digest, "what was stored must be what the file says"
    (summary.changed if last else summary.created).append(f"plan {entry.key} v{version.number}")


def _with_same_card(plan: Plan, entry: PlanEntry, *, digest: str, place: int, at: datetime) -> PlanVersion | None:
    """Return the published version that is what an entry says, or None where it says something new.

    An entry that does not say from when it is sold means what is sold now, or the newest. Raises InvalidFields where
    it dates prices that are sold already to another moment.
    """
    published = plan.versions.filter(published_at__isnull=False)
    newest = published.order_by("-number").first()
    if entry.effective_from is None:
        sold = versions_sold(at=at).filter(plan=plan).first()
        return next((version for version in (newest, sold) if version is not None and version.digest == digest), None)
    if newest is None or newest.digest != digest:
        return None
    if newest.effective_from == entry.effective_from:
        return newest
    if newest.effective_from is not None and newest.effective_from > at:
        return None
    message = f"{newest} has these prices and is sold already: leave the moment out, or change a price"
    raise InvalidFields((FieldError(f"plans[{place}].effective_from", "sold_already", message),))


def _end_sale(version: PlanVersion, entry: PlanEntry, *, place: int, at: datetime, actor: str, reason: str) -> bool:
    """Sell a version until the moment that an entry states, if it states one; say whether that is new."""
    if entry.effective_to is None or entry.effective_to == version.effective_to:
        return False
    with _mistakes_at(place):
        sell_until(version_id=version.pk, until=entry.effective_to, at=at, actor=actor, reason=reason)
    return True


@contextmanager
def _mistakes_at(place: int) -> Iterator[None]:
    """Tell the mistakes of a plan with its place in the file."""
    try:
        yield
    except InvalidFields as problem:
        errors = tuple(FieldError(f"plans[{place}].{one.field}", one.code, one.message) for one in problem.errors)
        raise InvalidFields(errors) from None
