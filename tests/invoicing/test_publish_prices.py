"""New prices take two people where the house has switched that on: as they are, whoever loads or publishes them, and the database asks, too."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError
from django.urls import reverse

from billing_site.backoffice.roles import APPROVERS, FINANCE
from billing_site.kernel.errors import Conflict, InvalidFields
from invoicing.approvals.models import NO_CURRENCY, Approval, ApprovedDeed, Decision
from invoicing.approvals.operations import NeedsApproval, set_limit
from invoicing.catalog.draft import draft_next_version
from invoicing.catalog.models import Plan, PlanVersion, PriceCell
from invoicing.catalog.operations import load_catalog
from invoicing.workflows.approve import decide
from invoicing.workflows.publish_prices import _beside, _Said, load_prices, publish_or_ask
from metering.models import Meter
from tests.billing_site.api.caller import Caller
from tests.billing_site.backoffice.conftest import a_member
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.factories import AUGUST, JULY, a_plan, usd_fee, usd_per_action
from tests.invoicing.limits import switch
from tests.invoicing.test_attack_guards import run_sql

pytestmark = pytest.mark.django_db
WHO: dict[str, Any] = {"actor": "fiona", "reason": "the new year"}


@pytest.fixture
def draft() -> PlanVersion:
    """The next version of Pro, whose fee goes from 29 to 35."""
    a_plan("pro", usd_fee("29"), usd_per_action("0.01"))
    version = draft_next_version(plan_id=Plan.objects.get().pk, **WHO)
    version.prices.filter(meter=None).update(unit_amount=Decimal(35))
    return version


def switched(*, on: bool) -> None:
    switch(ApprovedDeed.PRICE_VERSION, on=on, at=JULY)


def decided(asked: Approval, decision: Decision = Decision.APPROVED) -> Approval:
    return decide(
        approval_id=asked.pk, digest=asked.digest, decision=decision, at=AUGUST, actor="otto", reason="as agreed"
    )


def test_one_person_publishes_until_the_switch_is_on(draft: PlanVersion) -> None:
    switched(on=True)
    switched(on=False)

    assert isinstance(publish_or_ask(version_id=draft.pk, at=AUGUST, **WHO), PlanVersion)


def test_what_was_shown_is_published_once_another_approves(draft: PlanVersion) -> None:
    switched(on=True)
    asked = publish_or_ask(version_id=draft.pk, at=AUGUST, **WHO)
    assert isinstance(asked, Approval)
    [fee] = [row[1] for row in asked.asked["figures"] if "Before:" in row[1]]
    assert fee == "USD 35.00 per month. Before: USD 29.00 per month."

    decided(asked)

    draft.refresh_from_db()
    assert (draft.published_at, draft.digest) == (AUGUST, asked.digest)


def test_whoever_approves_sees_the_last_cell_another_meter_and_two_prices_of_one_name() -> None:
    finance = a_member("fiona", FINANCE)
    cells = [{"values": [f"m{number:02}"], "unit_amount": "1.00"} for number in range(31)]
    matrix = {"model": "matrix", "dimensions": ["model"], "cells": cells, "unit_amount": None}
    gigabytes = {"unit": "GB", "dimensions": ["model"]}
    meters = [{"key": key, "name": "Gigabytes", "event_type": key, **gigabytes} for key in ("storage_gb", "egress_gb")]
    prices = [
        usd_per_action(key="large", name="Large", meter="storage_gb", **matrix),
        usd_per_action(key="moved", name="Gigabytes", meter="storage_gb"),
        usd_per_action(key="stays", name="Gigabytes", meter="egress_gb"),
    ]
    load_catalog(
        document={
            "meters": meters,
            "products": [{"key": "platform", "name": "Platform"}],
            "plans": [{"key": "pro", "name": "Pro", "product": "platform", "prices": prices}],
        },
        at=JULY,
        **WHO,
    )
    draft = draft_next_version(plan_id=Plan.objects.get().pk, **WHO)
    PriceCell.objects.filter(price__plan_version=draft, first_value="m30").update(unit_amount=Decimal(9))
    draft.prices.filter(key="moved").update(meter=Meter.objects.get(key="egress_gb"))
    switched(on=True)

    asked = publish_or_ask(version_id=draft.pk, at=AUGUST, **WHO)
    page = text_of(finance.get(reverse("admin:invoicing_planversion_change", args=[draft.pk])))

    assert isinstance(asked, Approval)
    large, moved, stays = (row[1] for row in asked.asked["figures"])
    assert "model m30: USD 9.00 per GB" in large.partition("Before: ")[0]
    assert "model m30: USD 1.00 per GB" in large.partition("Before: ")[2]
    assert moved == ("Counted by egress_gb. USD 0.01 per GB. Before: Counted by storage_gb. USD 0.01 per GB.")
    assert stays == "Counted by egress_gb. USD 0.01 per GB."
    assert "m30: USD 9.00 per GB" in page and "m30: USD 1.00 per GB" in page
    assert "Version 1: Counted by storage_gb. USD 0.01 per GB." in page


def test_what_the_words_leave_out_is_said_to_be_other() -> None:
    was = _Said("Actions (USD)", "USD 0.01 per action.", {"key": "actions"})

    assert _beside(was, was) == "USD 0.01 per action."
    assert _beside(was._replace(document={}), was) == "USD 0.01 per action. Before: other values."
    assert _beside(was._replace(label="Deeds (USD)"), was).endswith(" Before: Actions (USD): USD 0.01 per action.")


def test_prices_that_were_changed_since_are_not_published(draft: PlanVersion) -> None:
    switched(on=True)
    asked = publish_or_ask(version_id=draft.pk, at=AUGUST, **WHO)
    assert isinstance(asked, Approval)
    draft.prices.filter(meter=None).update(unit_amount=Decimal(36))

    with pytest.raises(Conflict, match="others by now"):
        decided(asked)
    decided(asked, Decision.REFUSED)

    draft.refresh_from_db()
    assert draft.published_at is None


def test_a_file_with_new_prices_is_refused_whole_and_one_without_is_loaded(draft: PlanVersion) -> None:
    switched(on=True)
    plan = {"key": "pro", "name": "Pro", "product": Plan.objects.get().product.key, "cadence": "month"}
    fresh = {"plans": [plan | {"prices": [usd_fee("99")]}]}

    with pytest.raises(NeedsApproval, match="two people"):
        load_prices(document=fresh, at=AUGUST, **WHO)
    answer = Caller("plans:write").post("/api/v1/plans", fresh["plans"][0])

    assert PlanVersion.objects.count() == 2
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (409, "prices")


def test_the_switch_is_of_no_amount_and_the_database_asks_for_the_approval(draft: PlanVersion) -> None:
    with pytest.raises(InvalidFields, match="no amount"):
        set_limit(deed=ApprovedDeed.PRICE_VERSION, currency="USD", amount=Decimal(0), at=JULY, actor="o", reason="x")
    switched(on=True)
    asked = publish_or_ask(version_id=draft.pk, at=AUGUST, **WHO)
    assert isinstance(asked, Approval)
    publish = f"UPDATE invoicing_planversion SET published_at = now(), digest = '{{}}' WHERE id = {draft.pk}"
    for statement in (publish.format(asked.digest), publish.format("x")):
        with pytest.raises(DatabaseError, match="two people"):
            run_sql(statement)
    decided(asked)

    assert (ApprovedDeed.PRICE_VERSION.value, NO_CURRENCY) == ("price_version", "XXX"), "the trigger says so in words"


def test_finance_asks_to_publish_and_an_approver_sees_each_price_beside_the_one_before(draft: PlanVersion) -> None:
    finance, otto = a_member("fiona", FINANCE), a_member("otto", APPROVERS)
    page = otto.post(
        reverse("admin:invoicing_approvallimit_add"),
        {"deed": "price_version", "currency": "USD", "amount": "0", "reason": "agreed with the board"},
        follow=True,
    ).content.decode()
    answer = finance.post(
        reverse("admin:invoicing_planversion_publish", args=[draft.pk]), {"reason": "the new year"}, follow=True
    )
    [asked] = Approval.objects.all()
    seen = otto.get(reverse("admin:invoicing_approval_change", args=[asked.pk])).content.decode()
    otto.post(
        reverse("admin:invoicing_approval_approve", args=[asked.pk]), {"digest": asked.digest, "reason": "as agreed"}
    )

    assert "two people, always" in page
    assert "waits for somebody else to approve" in answer.content.decode()
    assert "Before: " in seen
    draft.refresh_from_db()
    assert draft.published_at is not None
