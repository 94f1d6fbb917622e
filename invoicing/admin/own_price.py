"""A price of a customer's own, in forms and in words."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import yaml

from billing_site.display.figures import moment_text
from invoicing.admin.price_words import CELLS_SAID_MAX
from invoicing.catalog.file import read_catalog_text
from invoicing.catalog.mapping import core_price
from invoicing.catalog.models import Price
from invoicing.core.definition import definition_of, price_from_definition
from invoicing.core.detail import values_text
from invoicing.subscriptions.models import PriceOverride, Subscription
from invoicing.subscriptions.override import OwnPrice, Scope


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


def words_of(*, own: OwnPrice, at: datetime, timezone: str) -> str:
    """Say what is agreed, and for how long."""
    instead = "costs what the plan says again" if own.price is None else "has a price of its own"
    until = f" until {moment_text(own.until, timezone)}" if own.until else ""
    whose = " for all subscriptions of the customer" if own.scope is Scope.CUSTOMER else ""
    return f"From {moment_text(at, timezone)} on{until} {own.price_key} {instead}{whose}."


def overrides_shown(*, subscription: Subscription) -> list[tuple[PriceOverride, str]]:
    """Return the prices of its own that hold for a subscription, its customer's among them, with what they are."""
    rows = PriceOverride.objects.filter(customer=subscription.customer_id).select_related("plan")
    return [
        (row, _members(row.definition))
        for row in rows.order_by("plan__name", "price_key", "starts_at")
        if row.subscription_id in (None, subscription.pk)
    ]


def _members(definition: Mapping[str, Any]) -> str:
    """Write a price definition as one line: per unit, unit amount 0.008."""
    words = [str(definition["model"]).replace("_", " ")]
    for name, value in definition.items():
        if name == "tiers":
            words.append("; ".join(_tier(tier) for tier in value))
        elif name == "cells":
            words.append(
                "; ".join(
                    f"{values_text(dimensions=definition['dimensions'], values=cell['values'])} {cell['unit_amount']}"
                    for cell in value[:CELLS_SAID_MAX]
                )
                + (f"; {len(value) - CELLS_SAID_MAX} more" if len(value) > CELLS_SAID_MAX else "")
            )
        elif name not in ("model", "dimensions"):
            words.append(f"{name.replace('_', ' ')} {value}")
    return ", ".join(words)


def _tier(tier: Mapping[str, Any]) -> str:
    """Write a tier: up to 1000 unit amount 0.001."""
    rates = [f"{name.replace('_', ' ')} {value}" for name, value in tier.items() if name != "up_to" and value != "0"]
    bound = f"up to {tier['up_to']}" if tier["up_to"] is not None else "above"
    return f"{bound} {', '.join(rates) or 'free'}"
