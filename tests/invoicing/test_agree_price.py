"""A price of a customer's own takes two people where the house has switched that on: as it was shown, whole, and the database asks, too."""

from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.urls import reverse

from billing_site.backoffice.roles import APPROVERS, FINANCE
from billing_site.kernel.errors import Conflict
from invoicing.approvals.models import Approval, ApprovedDeed, Decision
from invoicing.core.definition import price_from_definition
from invoicing.subscriptions.change import Change, ChangeKind
from invoicing.subscriptions.models import PriceOverride, Subscription
from invoicing.subscriptions.override import OwnPrice, Scope
from invoicing.workflows.agree_price import change_or_ask
from invoicing.workflows.approve import decide
from invoicing.workflows.preview_change import ChangePreview
from invoicing.workflows.run_billing import issue_billing
from tests.billing_site.api.caller import Caller
from tests.billing_site.backoffice.conftest import a_member
from tests.factories import AUGUST, JULY, SEPTEMBER, a_customer, a_plan, a_subscription, usd_fee, usd_per_action, use
from tests.invoicing.limits import switch
from tests.invoicing.test_attack_guards import run_sql

pytestmark = pytest.mark.django_db
WHO: dict[str, Any] = {"actor": "fiona", "reason": "agreed for a year"}
HALF = {"model": "flat", "unit_amount": "15.5"}


@pytest.fixture
def subscription() -> Subscription:
    """On `pro`, a fee of 31 and 0.01 an action, since July; two people agree own prices."""
    a_plan("pro", usd_fee("31"), usd_per_action("0.01"))
    switched(on=True)
    return a_subscription(a_customer())


def switched(*, on: bool) -> None:
    switch(ApprovedDeed.OWN_PRICE, on=on, at=JULY)


def asked(
    subscription: Subscription, definition: dict[str, str] | None = HALF, **terms: Any
) -> ChangePreview | Approval:
    price = None if definition is None else price_from_definition(definition)
    own = OwnPrice("base", price, **terms)
    change = Change(ChangeKind.PRICE, AUGUST, own_price=own)
    return change_or_ask(subscription=subscription, change=change, at=AUGUST, **WHO)


def approved(request: ChangePreview | Approval, decision: Decision = Decision.APPROVED) -> Approval:
    assert isinstance(request, Approval)
    done = decide(
        approval_id=request.pk, digest=request.digest, decision=decision, at=AUGUST, actor="otto", reason="as agreed"
    )
    check_deferred()
    return done


def check_deferred() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")


def test_one_person_agrees_a_price_where_the_switch_is_off(subscription: Subscription) -> None:
    switched(on=False)

    assert isinstance(asked(subscription), ChangePreview)
    check_deferred()

    assert PriceOverride.objects.count() == 1


def test_a_price_waits_with_what_it_does_to_the_invoices_and_holds_once_another_approves(
    subscription: Subscription,
) -> None:
    request = asked(subscription)
    assert isinstance(request, Approval)
    figures = dict(request.asked["figures"])
    held_before = PriceOverride.objects.exists()
    use("cust_acme", "100", at=AUGUST)  # usage that comes meanwhile makes it no other price

    approved(request)

    assert not held_before
    assert figures["Until now"] == "what the plan says"
    assert "unit_amount 15.5" in figures["Then"]
    assert any("15.50" in value and "before: " in value and "31.00" in value for value in figures.values())
    [row] = PriceOverride.objects.all()
    assert (row.definition, row.starts_at, row.subscription) == (HALF, AUGUST, subscription)
    assert row.history.get().history_change_reason == "fiona: agreed for a year"  # type: ignore[attr-defined]


def test_what_is_so_already_is_not_asked_for_and_what_is_refused_never_holds(subscription: Subscription) -> None:
    approved(asked(subscription), Decision.REFUSED)
    nothing = PriceOverride.objects.exists()
    approved(asked(subscription))

    again = asked(subscription)

    assert not nothing
    assert isinstance(again, ChangePreview)
    assert not Approval.objects.filter(decision="").exists()


def test_a_request_is_outdated_once_another_price_was_agreed_for_the_same_place(subscription: Subscription) -> None:
    request = asked(subscription)
    switched(on=False)
    asked(subscription, {"model": "flat", "unit_amount": "20"})
    check_deferred()
    switched(on=True)

    with pytest.raises(Conflict, match="agreed since"):
        approved(request)

    assert PriceOverride.objects.get().definition["unit_amount"] == "20"


def test_a_request_is_refused_once_its_time_is_invoiced(subscription: Subscription) -> None:
    request = asked(subscription)
    issue_billing(as_of=SEPTEMBER, at=SEPTEMBER)

    with pytest.raises(Conflict, match="invoiced until"):
        approved(request)

    assert not PriceOverride.objects.exists()


def test_requests_for_two_prices_of_one_subscription_wait_beside_each_other(subscription: Subscription) -> None:
    fee, every = asked(subscription), asked(subscription, scope=Scope.CUSTOMER)

    approved(every)
    approved(fee)

    assert PriceOverride.objects.count() == 2


def test_going_back_to_the_plan_takes_two_as_well(subscription: Subscription) -> None:
    approved(asked(subscription))

    back = asked(subscription, None)
    stays = PriceOverride.objects.exists()
    approved(back)

    assert stays
    assert not PriceOverride.objects.exists()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoicing_priceoverride SET ends_at = starts_at + interval '1 day'",
        "DELETE FROM invoicing_priceoverride",
        "INSERT INTO invoicing_priceoverride (customer_id, subscription_id, plan_id, price_key, definition, starts_at)"
        ' SELECT customer_id, NULL, plan_id, price_key, \'{"model": "flat", "unit_amount": "1"}\', starts_at'
        " FROM invoicing_priceoverride",
    ],
)
def test_the_database_asks_for_the_approval_of_all_that_holds(subscription: Subscription, statement: str) -> None:
    approved(asked(subscription))

    with pytest.raises(DatabaseError, match="two people"), transaction.atomic():
        run_sql(statement)
        check_deferred()


def test_an_approval_of_before_is_no_leave_to_go_back_to_it(subscription: Subscription) -> None:
    approved(asked(subscription))
    [first] = PriceOverride.objects.values("customer_id", "subscription_id", "plan_id", "price_key", "starts_at")
    approved(asked(subscription, None))

    with pytest.raises(DatabaseError, match="two people"), transaction.atomic():
        PriceOverride.objects.create(**first, definition=HALF)
        check_deferred()


def test_over_the_api_a_price_waits_with_202(subscription: Subscription) -> None:
    answer = Caller("subscriptions:write").post(
        f"/api/v1/subscriptions/{subscription.key}/changes",
        {"change": "price", "price": "base", "definition": HALF, "at": "2026-08-01T00:00:00Z", "reason": "agreed"},
    )

    assert (answer.status_code, answer.json()["deed"]) == (202, "own_price")
    assert not PriceOverride.objects.exists()


def test_finance_asks_in_the_admin_and_an_approver_sees_both_prices(subscription: Subscription) -> None:
    finance, otto = a_member("fiona", FINANCE), a_member("otto", APPROVERS)
    page = reverse("admin:invoicing_subscription_change_terms", args=[subscription.pk])
    shown = finance.post(
        page,
        {
            "kind": "price", "price": "base", "definition": 'model: flat\nunit_amount: "15.5"', "timing": "stated",
            "at_0": "2026-08-01", "at_1": "00:00:00", "scope": "subscription",
        },
    )  # fmt: skip
    form = shown.context["form"]
    hidden = {name: form.initial.get(name) or "" for name in form.fields}

    answer = finance.post(page, {**hidden, "reason": "agreed for a year"}, follow=True).content.decode()
    [request] = Approval.objects.all()
    seen = otto.get(reverse("admin:invoicing_approval_change", args=[request.pk])).content.decode()
    otto.post(
        reverse("admin:invoicing_approval_approve", args=[request.pk]),
        {"digest": request.digest, "reason": "as agreed"},
    )

    assert "takes two people" in shown.content.decode()
    assert "waits for somebody else to approve" in answer
    assert "what the plan says" in seen
    assert PriceOverride.objects.get().definition == HALF
