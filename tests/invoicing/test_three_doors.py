"""What is wrong with a price is refused by the same field in the same words over the API, in the admin and in a catalog file."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from billing_site.display.changes import readable
from invoicing.catalog.draft import draft_next_version
from invoicing.catalog.models import Plan, PlanVersion, Price, PriceTier, Product
from invoicing.catalog.queries import published_version
from invoicing.workflows.run_billing import issue_billing
from metering.models import Meter
from tests.billing_site.api.caller import Caller
from tests.factories import AUGUST, SEPTEMBER, a_customer, a_plan, a_subscription, usd_fee, usd_per_action

pytestmark = pytest.mark.django_db

GRADUATED = {"model": "graduated", "unit_amount": None}


def tiers(*bounds: str | None, **first: str) -> dict[str, Any]:
    """A graduated price with these bounds, each tier a cent an action, the first one as said."""
    each = [{"up_to": bound, "unit_amount": "0.01"} for bound in bounds]
    return GRADUATED | {"tiers": [{**each[0], **first}, *each[1:]]}


# what the price says instead of a cent an action, the field that is told, words of the sentence
CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a bound that comes again": (tiers("10", "10", None), "tiers[1].up_to", "must be greater than 10"),
    "tiers that overlap": (tiers("10", "5", None), "tiers[1].up_to", "must be greater than 10"),
    "a first tier of nothing": (tiers("0", None), "tiers[0].up_to", "must be greater than 0"),
    "no open end": (tiers("10", "20"), "tiers[1].up_to", "must be null: the last tier is open"),
    "an open tier in the middle": (tiers(None, None), "tiers[0].up_to", "only the last tier is open"),
    "no tiers": (GRADUATED, "tiers", "is missing: a graduated price needs tiers"),
    "tiers of a price without": (
        {"tiers": [{"up_to": None, "unit_amount": "1"}]},
        "tiers",
        "does not belong to a per_unit price",
    ),
    "a negative price": ({"unit_amount": "-0.01"}, "unit_amount", "must not be negative"),
    "a negative price in a tier": (tiers("10", None, unit_amount="-1"), "tiers[0].unit_amount", "must not be negative"),
    "a negative fee in a tier": (tiers("10", None, flat_amount="-1"), "tiers[0].flat_amount", "must not be negative"),
    "a negative minimum": ({"minimum_amount": "-1"}, "minimum_amount", "must not be negative"),
    "thirteen decimals": ({"unit_amount": "0.0000000000001"}, "unit_amount", "at most 12 digits after the point"),
    "thirteen decimals in a tier": (
        tiers("10", None, unit_amount="0.0000000000001"),
        "tiers[0].unit_amount",
        "at most 12 digits after the point",
    ),
    "not a number": ({"unit_amount": "a cent"}, "unit_amount", "must be a plain decimal"),
    "a number with an exponent": ({"unit_amount": "1e-2"}, "unit_amount", "must be a plain decimal"),
    "not finite": ({"unit_amount": "NaN"}, "unit_amount", "must be a finite number"),
    "too large": ({"unit_amount": "1" + "0" * 26}, "unit_amount", "at most 26 digits before the point"),
    "no price at all": ({"unit_amount": None}, "unit_amount", "is missing: a per_unit price needs unit_amount"),
    "what belongs to another model": ({"package_size": "10"}, "package_size", "does not belong to a per_unit price"),
    "an empty package": (
        {"model": "package", "unit_amount": None, "package_size": "0", "package_amount": "1"},
        "package_size",
        "must be greater than 0",
    ),
    "a rate above one": ({"model": "percentage", "unit_amount": None, "rate": "2.9"}, "rate", "write 0.029 for 2.9 %"),
    "a minimum above the maximum": (
        {"minimum_amount": "10", "maximum_amount": "5"},
        "minimum_amount",
        "must not be greater than maximum_amount",
    ),
    "an unknown currency": ({"currency": "EUQ"}, "currency", "must be an ISO 4217 code"),
    "usage without a meter": ({"meter": None}, "meter", "a price of usage names its meter"),
    "usage in advance": ({"in_advance": True}, "in_advance", "only a flat fee is known in advance"),
    "a fee with a meter": ({"model": "flat"}, "meter", "does not belong to a flat price"),
}


def stored() -> tuple[int, ...]:
    """What the catalog holds, counted."""
    return tuple(model._default_manager.count() for model in (Meter, Product, Plan, PlanVersion, Price, PriceTier))


def plan_with(price: dict[str, Any]) -> dict[str, Any]:
    """A new plan, with a new product, of which only this price is wrong."""
    return {"key": "wrong", "product": {"key": "newcomer", "name": "Newcomer"}, "prices": [price]}


@pytest.fixture(autouse=True)
def catalog() -> None:
    """A plan with a cent an action."""
    a_plan("pro", usd_per_action())


@pytest.mark.parametrize("case", CASES)
def test_the_api_refuses_it(case: str) -> None:
    changes, field, words = CASES[case]
    before = stored()

    answer = Caller().post("/api/v1/plans", plan_with(usd_per_action() | changes))

    assert answer.status_code == 422
    told = {error["field"]: error["message"] for error in answer.json()["errors"]}
    assert list(told) == [f"prices[0].{field}"]
    assert words in told[f"prices[0].{field}"]
    assert stored() == before


@pytest.mark.parametrize("case", CASES)
def test_a_catalog_file_with_it_is_not_loaded(case: str, tmp_path: Path) -> None:
    changes, field, words = CASES[case]
    plan = plan_with(usd_per_action() | changes)
    file, said, before = tmp_path / "catalog.json", StringIO(), stored()
    meter = {"key": "more", "event_type": "more.used"}
    file.write_text(
        json.dumps({"meters": [meter], "products": [plan["product"]], "plans": [plan | {"product": "newcomer"}]})
    )

    with pytest.raises(CommandError, match="was not loaded"):
        call_command("load_catalog", str(file), stderr=said)

    [line] = said.getvalue().splitlines()
    assert line.startswith(f"plans[0].prices[0].{field}: ")
    assert words in line
    assert stored() == before


@pytest.mark.parametrize("case", CASES)
def test_the_admin_tells_it_beside_the_field(case: str, admin_client: Client) -> None:
    changes, field, words = CASES[case]
    plan = Plan.objects.get()
    draft = draft_next_version(plan_id=plan.pk, actor="test", reason="set up")
    price = draft.prices.get()
    before = stored()

    page = admin_client.post(
        reverse("admin:invoicing_price_change", args=[price.pk]), posted(price, usd_per_action() | changes)
    )

    assert page.status_code == 200
    form, formset = page.context["adminform"].form, page.context["inline_admin_formsets"][0].formset
    told = {name: list(messages) for name, messages in form.errors.items()}
    if formset.non_form_errors():
        told["tiers"] = list(formset.non_form_errors())
    for place, errors in enumerate(formset.errors):
        told |= {f"tiers[{place}].{name}": list(messages) for name, messages in errors.items()}
    assert list(told) == [field]
    assert words in " ".join(told[field])
    price.refresh_from_db()
    assert (stored(), price.model, price.tiers.count()) == (before, "per_unit", 0)


def posted(price: Price, document: dict[str, Any]) -> dict[str, Any]:
    """What the form sends for a price as a catalog file would say it."""
    written = document.get("tiers", [])
    fields: dict[str, Any] = {
        "plan_version": price.plan_version_id,
        "meter": price.meter_id if document["meter"] else "",
        "position": "0",
        "free_units": "0",
        "reason": "set up",
        "tiers-TOTAL_FORMS": len(written),
        "tiers-INITIAL_FORMS": "0",
        "cells-TOTAL_FORMS": "0",
        "cells-INITIAL_FORMS": "0",
    }
    fields |= {name: value or "" for name, value in document.items() if name not in ("meter", "tiers")}
    for place, tier in enumerate(written):
        tier = {"position": place, "unit_amount": "0", "flat_amount": "0", "rate": "0", **tier}
        fields |= {f"tiers-{place}-{name}": str(value) if value is not None else "" for name, value in tier.items()}
    return fields


def test_a_meter_that_nobody_made_is_told_at_the_price(tmp_path: Path, admin_client: Client) -> None:
    plan = plan_with(usd_per_action() | {"meter": "nothing"})
    file, said, before = tmp_path / "catalog.json", StringIO(), stored()
    file.write_text(json.dumps({"products": [plan["product"]], "plans": [plan | {"product": "newcomer"}]}))

    answer = Caller().post("/api/v1/plans", plan)
    with pytest.raises(CommandError, match="was not loaded"):
        call_command("load_catalog", str(file), stderr=said)

    assert {error["field"]: error["message"] for error in answer.json()["errors"]} == {
        "prices[0].meter": "there is no meter 'nothing'"
    }
    assert said.getvalue().strip() == "plans[0].prices[0].meter: there is no meter 'nothing'"
    assert stored() == before


def test_a_price_that_is_right_is_saved_from_the_form_as_it_was_written(admin_client: Client) -> None:
    draft = draft_next_version(plan_id=Plan.objects.get().pk, actor="test", reason="set up")
    price = draft.prices.get()
    right = usd_per_action() | tiers("10.5", None, unit_amount="0.000000000001")

    answer = admin_client.post(reverse("admin:invoicing_price_change", args=[price.pk]), posted(price, right))
    again = admin_client.get(reverse("admin:invoicing_price_change", args=[price.pk])).content.decode()

    assert answer.status_code == 302
    assert [str(tier.up_to and tier.up_to.normalize()) for tier in price.tiers.order_by("position")] == ["10.5", "None"]
    assert 'value="10.5"' in again
    assert 'value="0.000000000001"' in again


ISSUED_JULY = "invoiced until 2026-08-01T00:00:00Z"
MOMENTS = {
    "before it began": ({"kind": "plan"}, "2026-06-30", "must not be before the start, 2026-07-01T00:00:00Z"),
    "inside an issued period": ({"kind": "plan"}, "2026-07-20", ISSUED_JULY),
    "seats inside an issued period": ({"kind": "quantity", "quantity": 2}, "2026-07-20", ISSUED_JULY),
    "a pause inside an issued period": ({"kind": "pause"}, "2026-07-20", ISSUED_JULY),
    "an end inside an issued period": ({"kind": "cancel"}, "2026-07-20", ISSUED_JULY),
    "out of this world": ({"kind": "plan"}, "2101-01-01", "must lie in the years 2000 to 2099"),
}


@pytest.mark.parametrize("case", MOMENTS)
def test_a_moment_of_a_change_is_refused_at_its_field_over_the_api_and_in_the_admin(
    case: str, admin_client: Client
) -> None:
    wanted, day, words = MOMENTS[case]
    a_plan("max", usd_fee("60"), at=AUGUST)
    subscription = a_subscription(a_customer(), plan="max")
    issue_billing(as_of=AUGUST, at=AUGUST)
    seats = {"quantity": wanted["quantity"]} if "quantity" in wanted else {}
    plan = {"plan": "pro"} if wanted["kind"] == "plan" else {}
    version = {"plan_version": published_version(plan_key="pro").pk} if plan else {}

    answer = Caller().post(
        f"/api/v1/subscriptions/{subscription.key}/changes",
        {"change": wanted["kind"], "at": f"{day}T00:00:00Z", "reason": "try", **plan, **seats},
    )
    page = admin_client.post(
        reverse("admin:invoicing_subscription_change_terms", args=[subscription.pk]),
        {"timing": "stated", "at_0": day, "at_1": "00:00:00", "kind": wanted["kind"], **seats, **version},
    )

    [error] = answer.json()["errors"]
    assert answer.status_code in (409, 422)
    assert (error["field"], words in error["message"]) == ("at", True)
    assert readable(words) in " ".join(page.context["form"].errors["at"])
    assert subscription.phases.count() == 1


DATES: dict[str, tuple[dict[str, str], str, str]] = {
    "inside an issued period": (
        {"effective_from": "2026-07-15T00:00:00Z"},
        "effective_from",
        "lies in a period invoiced",
    ),
    "before what is sold": ({"effective_from": "2026-05-01T00:00:00Z"}, "effective_from", "must be after 2026-06-01"),
    "out of this world": (
        {"effective_from": "2101-01-01T00:00:00Z"},
        "effective_from",
        "must lie in the years 2000 to 2099",
    ),
    "an end at its beginning": (
        {"effective_from": "2026-10-01T00:00:00Z", "effective_to": "2026-10-01T00:00:00Z"},
        "effective_to",
        "must be after 2026-10-01T00:00:00Z",
    ),
}


@pytest.mark.parametrize("case", DATES)
def test_a_date_from_which_a_version_cannot_be_sold_is_refused_at_its_field_at_all_three_doors(
    case: str, tmp_path: Path, admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    dates, field, words = DATES[case]
    a_plan("pro", usd_fee("15"), at=datetime(2026, 6, 1, tzinfo=UTC))
    a_subscription(a_customer())
    issue_billing(as_of=AUGUST, at=AUGUST)
    monkeypatch.setattr("billing_site.kernel.clock.now", lambda: SEPTEMBER)
    draft = draft_next_version(plan_id=Plan.objects.get().pk, actor="test", reason="set up")
    plan = {"key": "pro", "name": "Pro", "product": "platform", "prices": [usd_fee("20")], **dates}
    file, said, before = tmp_path / "catalog.json", StringIO(), stored()
    file.write_text(json.dumps({"plans": [plan]}))
    terms = {"cadence": "month", "proration": "second", "tiers_on_change": "reset", "reason": "set up"}
    spans = {"spend-TOTAL_FORMS": "0", "spend-INITIAL_FORMS": "0"}
    written = {f"{name}_{place}": part for name, at in dates.items() for place, part in enumerate(at[:-1].split("T"))}

    answer = Caller().post("/api/v1/plans", plan)
    with pytest.raises(CommandError, match="was not loaded"):
        call_command("load_catalog", str(file), stderr=said)
    page = admin_client.post(
        reverse("admin:invoicing_planversion_change", args=[draft.pk]), {**terms, **spans, **written}
    )

    told = {error["field"]: error["message"] for error in answer.json()["errors"]}
    assert (list(told), words in told[field]) == ([field], True)
    assert said.getvalue().startswith(f"plans[0].{field}: ")
    errors = page.context["adminform"].form.errors
    assert (list(errors), readable(words) in errors[field][0]) == ([field], True)
    draft.refresh_from_db()
    assert (stored(), draft.effective_from, draft.effective_to) == (before, None, None)


def test_raw_sql_writes_no_negative_price_either() -> None:
    draft = draft_next_version(plan_id=Plan.objects.get().pk, actor="test", reason="set up")

    for column in ("unit_amount", "package_amount", "minimum_amount", "maximum_amount", "package_size"):
        with pytest.raises(IntegrityError, match="price_amounts_are_not_negative"), transaction.atomic():
            draft.prices.update(**{column: Decimal("-0.000000000001")})
