"""A price of a customer's own, in forms and in words."""

import json
from collections.abc import Mapping
from copy import copy
from datetime import datetime
from typing import Any

import yaml

from billing_site.display.figures import moment_text
from invoicing.catalog.file import read_catalog_text
from invoicing.catalog.mapping import cell_rows, core_price, price_columns, tier_rows
from invoicing.catalog.models import Price
from invoicing.catalog.price_words import price_in_words
from invoicing.core import contract
from invoicing.core.definition import definition_of, price_from_definition
from invoicing.subscriptions.models import PriceOverride, Subscription
from invoicing.subscriptions.override import OwnPrice, Scope
from invoicing.subscriptions.queries import phase_shown


def own_price_of(*, fields: Mapping[str, Any]) -> OwnPrice:
    """Return the price that a form's fields agree; raises BillingError where it cannot be read."""
    text = fields["definition"].strip()
    definition = read_catalog_text(text=text, name="the price") if text else None
    return OwnPrice(
        price_key=fields["price"],
        price=None if definition is None else price_from_definition(definition, field="definition"),
        until=fields["until"],
        scope=Scope(fields["scope"] or Scope.SUBSCRIPTION),
    )


def definition_text(*, price: Price) -> str:
    """Write a catalog price as the form takes it, one member a line."""
    text: str = yaml.safe_dump(definition_of(core_price(price=price)), sort_keys=False)
    return text


def fields_of(*, own: OwnPrice | None) -> dict[str, object]:
    """Return what a form keeps of a price that was shown."""
    if own is None:
        return {}
    return {
        "price": own.price_key,
        "definition": "" if own.price is None else json.dumps(definition_of(own.price)),
        "until": own.until.isoformat() if own.until else "",
        "scope": own.scope.value,
    }


def words_of(*, own: OwnPrice, at: datetime, subscription: Subscription) -> str:
    """Say what is agreed, what it costs, and for how long."""
    timezone = subscription.customer.timezone
    until = f" until {moment_text(own.until, timezone)}" if own.until else ""
    whose = " for all subscriptions of the customer" if own.scope is Scope.CUSTOMER else ""
    when = f"From {moment_text(at, timezone)} on{until}"
    plan = phase_shown(subscription=subscription, at=at).plan_version.plan_id
    known = _plans_price(plan_id=plan, price_key=own.price_key, currency=subscription.customer.currency)
    name = known.name if known is not None else own.price_key
    if own.price is None:
        return f"{when} {name} costs what the plan says again{whose}."
    return f"{when} {name} has a price of its own{whose}: {_costs(own.price, known)}"


def overrides_shown(*, subscription: Subscription) -> list[tuple[PriceOverride, str, str]]:
    """Return the prices of its own that hold for a subscription, its customer's among them, each with its name and what it costs."""
    rows = PriceOverride.objects.filter(customer=subscription.customer_id).select_related("plan")
    shown = []
    for row in rows.order_by("plan__name", "price_key", "starts_at"):
        if row.subscription_id not in (None, subscription.pk):
            continue
        known = _plans_price(plan_id=row.plan_id, price_key=row.price_key, currency=subscription.customer.currency)
        costs = _costs(price_from_definition(row.definition), known)
        shown.append((row, known.name if known is not None else row.price_key, costs))
    return shown


def _plans_price(*, plan_id: int, price_key: str, currency: str) -> Price | None:
    """Return the newest price of a plan by its key: it lends its name, meter and cadence."""
    found = Price.objects.filter(plan_version__plan=plan_id, key=price_key, currency=currency)
    return found.select_related("meter", "plan_version").order_by("-plan_version__number").first()


def _costs(price: contract.Price, known: Price | None) -> str:
    """Say what a price costs in the words of the catalog, where the plan still knows it."""
    if known is None:
        return str(definition_of(price)["model"]).replace("_", " ")
    # The plan's row with the figures of the other price; it is never saved.
    row = copy(known)
    for name, value in price_columns(price=price).items():
        setattr(row, name, value)
    row._prefetched_objects_cache = {  # type: ignore[attr-defined]
        "tiers": tier_rows(row=row, price=price),
        "cells": cell_rows(row=row, price=price),
    }
    return " ".join(price_in_words(price=row, cadence=known.plan_version.cadence))
