"""A product asks before each call whether its customer may be served, and why."""

from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client

from invoicing.customers.operations import change_customer
from invoicing.subscriptions.cancel import end_subscription, reactivate_subscription
from invoicing.subscriptions.pause import pause_subscription, resume_subscription
from invoicing.workflows.answer_access import answer_access
from invoicing.workflows.run_billing import issue_billing
from tests.billing_site.api.caller import Caller, fields_of
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, usd_fee

pytestmark = pytest.mark.django_db
WHO = {"actor": "test", "reason": "asked for it"}
MID_JULY = JULY + timedelta(days=14)
ADDRESS = "/api/v1/customers/cust_acme/access"


@pytest.fixture
def asked_in_july(monkeypatch: pytest.MonkeyPatch) -> Caller:
    """A caller who asks in the middle of July, of a customer with a plan to subscribe to."""
    a_plan()
    caller = Caller("access:read")
    monkeypatch.setattr("invoicing.api.access.now", lambda: MID_JULY)
    return caller


@pytest.mark.requirement("S0-122")
def test_a_trial_is_served_until_its_end_and_the_answer_says_when_that_is(asked_in_july: Caller) -> None:
    a_subscription(a_customer(), trial_ends_at=JULY + timedelta(days=20))

    answer = asked_in_july.get(ADDRESS)

    assert answer.status_code == 200
    assert answer.json() == {
        "customer_id": "cust_acme",
        "allowed": True,
        "reason": "trial",
        "subscription": "sub_cust_acme",
        "plan": "pro",
        "state": "trial",
        "changes_at": "2026-07-21T00:00:00Z",
        "overdue_since": None,
        "disputed_since": None,
        "restricted_since": None,
    }


def test_each_operation_on_a_subscription_is_heard_at_the_very_next_question(asked_in_july: Caller) -> None:
    customer = a_customer()

    def answer() -> tuple[bool, str]:
        said = asked_in_july.get(ADDRESS).json()
        return said["allowed"], said["reason"]

    assert answer() == (False, "no_subscription")
    subscription = a_subscription(customer)
    assert answer() == (True, "active")
    pause_subscription(subscription=subscription, at=MID_JULY, **WHO)
    assert answer() == (False, "paused")
    resume_subscription(subscription=subscription, at=MID_JULY, **WHO)
    assert answer() == (True, "active")
    end_subscription(subscription=subscription, ended_at=MID_JULY, **WHO)
    assert answer() == (False, "churned")
    reactivate_subscription(subscription=subscription, at=MID_JULY, **WHO)
    assert answer() == (True, "active")


def test_an_overdue_invoice_is_said_and_takes_no_access_away_by_itself() -> None:
    a_plan("pro", usd_fee("31"))
    a_subscription(a_customer(net_terms_days=14))
    assert issue_billing(as_of=AUGUST, at=AUGUST).failures == []
    due = datetime(2026, 8, 15, tzinfo=UTC)

    on_the_day = answer_access(customer_key="cust_acme", at=due + timedelta(hours=23))
    after = answer_access(customer_key="cust_acme", at=due + timedelta(days=1))

    assert (on_the_day.overdue_since, after.overdue_since) == (None, due.date())
    assert on_the_day.verdict.is_allowed
    assert after.verdict.is_allowed


def test_the_answer_is_one_query_whatever_a_customer_has(django_assert_num_queries: "object") -> None:
    a_plan("pro", usd_fee("31"))
    customer = a_customer()
    for number in range(5):
        a_subscription(customer, key=f"sub_{number}", trial_ends_at=MID_JULY)

    with django_assert_num_queries(1):  # type: ignore[operator]
        answer_access(customer_key="cust_acme", at=MID_JULY)


def test_a_key_of_another_customer_and_an_unknown_customer_get_the_same_words(asked_in_july: Caller) -> None:
    a_customer()
    a_customer("cust_other")
    bound = Caller("access:read", customer="cust_other")

    assert fields_of(bound.get(ADDRESS)) == fields_of(asked_in_july.get("/api/v1/customers/nobody/access"))
    assert bound.get(ADDRESS).status_code == 404
    assert bound.get("/api/v1/customers/cust_other/access").json()["reason"] == "no_subscription"


def test_a_filter_that_is_not_known_is_refused_by_its_name(asked_in_july: Caller) -> None:
    a_customer()

    assert fields_of(asked_in_july.get(f"{ADDRESS}?plan=pro")) == {"plan": "unknown"}


def test_a_trial_that_is_over_without_the_means_of_payment_it_needs_is_refused_until_there_is_one() -> None:
    a_plan()
    customer = a_customer(settlement_channel="stripe")
    a_subscription(customer, trial_ends_at=MID_JULY)

    def reason() -> str:
        return answer_access(customer_key="cust_acme", at=MID_JULY).verdict.reason.value

    assert reason() == "incomplete"
    change_customer(customer=customer, changes={"payment_method": "pm_card_visa"}, **WHO)
    assert reason() == "active"


@pytest.mark.parametrize(
    ("subscribed", "words"), [(True, "a subscription runs (sub_cust_acme)"), (False, "there is no")]
)
def test_the_page_of_a_customer_says_whether_it_is_served_and_why(
    admin_client: Client, subscribed: bool, words: str
) -> None:
    a_plan()
    customer = a_customer()
    if subscribed:
        a_subscription(customer, started_at=datetime(2026, 1, 1, tzinfo=UTC))

    page = admin_client.get(f"/admin/invoicing/customer/{customer.pk}/change/").content.decode()

    assert "Access now" in page
    assert ("allowed</span>" if subscribed else "refused</span>") in page
    assert words in page
