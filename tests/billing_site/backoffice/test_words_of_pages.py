"""Pages speak of what people know: names, days where the customer is, amounts with their currency; not of places in files and keys of rows."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from moneyed import Money

from invoicing.catalog.draft import draft_next_version
from invoicing.catalog.models import Plan, Price
from invoicing.spend.models import NoticeKind, SpendNotice, SpendWatch
from invoicing.workflows.run_billing import draft_billing
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, usd_fee

pytestmark = pytest.mark.django_db
BERLIN = {"period_start": datetime(2026, 7, 31, 22, tzinfo=UTC), "period_end": datetime(2026, 8, 31, 22, tzinfo=UTC)}


def test_what_keeps_a_draft_from_being_published_is_told_by_the_names_of_its_prices(finance: Client) -> None:
    a_plan()
    draft = draft_next_version(plan_id=Plan.objects.get().pk, actor="test", reason="set up")
    page = reverse("admin:invoicing_planversion_change", args=[draft.pk])
    assert "Version 1:" not in text_of(finance.get(page))
    Price.objects.filter(plan_version=draft, key="base").update(unit_amount="35")
    assert "USD 35.00 per month. Version 1: USD 29.00 per month." in text_of(finance.get(page))
    Price.objects.filter(plan_version=draft, key="actions").update(model="graduated", unit_amount=None)

    said = text_of(finance.get(page))
    draft.prices.all().delete()
    empty = text_of(finance.get(page))

    assert "Actions, tiers: is missing" in said
    assert "Prices: must hold at least one price" in empty
    assert "plans[0]" not in said + empty


def test_spend_is_told_for_the_days_where_the_customer_is(finance: Client) -> None:
    customer = a_customer(timezone="Europe/Berlin")
    seen = {"customer": customer, "currency": "USD", "spend": Money("12.5", "USD"), **BERLIN}
    SpendWatch.objects.create(looked_at=AUGUST, **seen)
    notice = SpendNotice.objects.create(kind=NoticeKind.PENDING, basis="actual", noticed_at=AUGUST, **seen)

    pages = [
        text_of(finance.get(reverse(f"admin:invoicing_{name}", args=keys)))
        for name, keys in (
            ("spendwatch_changelist", []),
            ("spendnotice_changelist", []),
            ("spendnotice_change", [notice.pk]),
        )
    ]

    for page in pages:
        assert "2026-08 " in page and "USD 12.50" in page and "2026-08-31" not in page
    assert "Pending charges of Acme GmbH" in pages[2]


def test_the_lines_of_a_draft_are_named_as_such_and_only_usage_has_a_quantity(finance: Client) -> None:
    a_plan("pro", usd_fee("29"))
    subscription = a_subscription(a_customer(name="A name that is as long as names of customers can be " * 2))
    draft_billing(as_of=AUGUST, at=AUGUST)

    page = text_of(finance.get(reverse("admin:invoicing_subscription_change", args=[subscription.pk])))

    assert "draft 2026-07 Base fee USD 29.00" in page


@pytest.mark.parametrize(
    ("kind", "asked", "left_out"),
    [
        ("plan", {"plan_version"}, {"quantity", "price", "definition", "until", "scope"}),
        ("quantity", {"quantity"}, {"plan_version", "price", "definition", "until", "scope"}),
        ("price", {"price", "definition", "until", "scope"}, {"plan_version", "quantity"}),
        ("pause", set(), {"plan_version", "quantity", "price", "definition", "until", "scope"}),
    ],
)
def test_a_change_asks_only_for_what_its_kind_needs(
    finance: Client, kind: str, asked: set[str], left_out: set[str]
) -> None:
    a_plan("pro", usd_fee("29"))
    subscription = a_subscription(a_customer(), started_at=JULY)
    page = finance.get(reverse("admin:invoicing_subscription_change_terms", args=[subscription.pk]), {"kind": kind})

    fields = set(page.context["form"].fields)

    assert asked | {"kind", "timing", "at"} == fields and not left_out & fields
    offered = [each.value for each, _, _ in page.context["kinds"]]
    assert offered == ["plan", "quantity", "price", "pause", "cancel"], "nothing to resume, to try or to take back"


def test_a_price_of_its_own_begins_with_what_the_plan_says_and_is_told_in_words(finance: Client) -> None:
    a_plan("pro", usd_fee("29"))
    subscription = a_subscription(a_customer(), started_at=JULY)
    page = reverse("admin:invoicing_subscription_change_terms", args=[subscription.pk])

    begun = finance.get(page, {"kind": "price", "price": "base"})
    wish: dict[str, Any] = {
        **begun.context["form"].initial,
        "timing": "stated",
        "at_0": "2027-01-01",
        "at_1": "00:00:00",
    }
    shown = text_of(finance.post(page, wish | {"definition": wish["definition"].replace("29", "25.5")}))

    assert "USD 29.00 per month." in text_of(begun)
    assert wish["definition"].splitlines() == ["model: flat", "unit_amount: '29'"]
    assert "Base fee has a price of its own: USD 25.50 per month." in shown
    assert Decimal(Price.objects.get(key="base").unit_amount or 0) == 29
