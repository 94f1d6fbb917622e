"""What people do in the back office: each deed needs its permission, says its effect in numbers, and leaves actor and reason."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.urls import reverse
from moneyed import Money

from billing_site.api.models import ApiKey
from billing_site.backoffice.roles import FINANCE, SUPPORT, ensure_roles
from invoicing.catalog.models import Plan, PlanVersion, Price, PriceTier
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.ledger.queries import trial_balance
from invoicing.payments.models import Payment, PushIntent
from invoicing.subscriptions.models import Subscription
from invoicing.workflows.issue_invoice import issue_invoice
from tests.billing_site.backoffice.conftest import AT
from tests.factories import a_customer
from tests.invoicing.closing.closing import AUGUST_MONTH, close

pytestmark = pytest.mark.django_db

NEW_CUSTOMER = {
    "key": "cust_new",
    "name": "New AG",
    "email": "ap@new.example",
    "address": "",
    "tax_id": "",
    "currency": "EUR",
    "timezone": "Europe/Berlin",
    "settlement_channel": "manual",
    "net_terms_days": "30",
    "payment_method": "",
    "late_usage_policy": "ask",
    "late_materiality": "2.50",
    "grace_hours": "48",
    "reason": "signed the contract",
}


def invoice_page(name: str, invoice: Invoice) -> str:
    return reverse(f"admin:invoicing_invoice_{name}", args=[invoice.pk])


def newest_change(row: Any) -> str:
    return row.history.order_by("-history_id").first().history_change_reason


def test_issuing_the_selected_says_how_many_over_how_much_before_it_runs(
    finance: Client, drafts: list[Invoice]
) -> None:
    selection = {"action": "issue_selected", "_selected_action": [draft.pk for draft in drafts]}
    address = reverse("admin:invoicing_invoice_changelist")

    asked = finance.post(address, selection).content.decode()
    refused = finance.post(address, {**selection, "confirmed": "1", "reason": "  "}).content.decode()

    assert "Issue 2 invoices, JPY 4,000, USD 31.50." in asked
    assert "1 goes to Stripe" in asked
    assert "This field is required" in refused
    assert not Invoice.objects.exclude(status="draft").exists()


def test_issuing_the_selected_ends_on_a_page_that_lists_each_with_its_number(
    finance: Client, drafts: list[Invoice]
) -> None:
    selection = {"action": "issue_selected", "_selected_action": [draft.pk for draft in drafts], "confirmed": "1"}

    page = finance.post(reverse("admin:invoicing_invoice_changelist"), {**selection, "reason": "July is checked"})

    numbers = set(Invoice.objects.values_list("number", flat=True))
    assert all(number in page.content.decode() for number in numbers)
    assert "2 issued" in page.content.decode()
    assert newest_change(drafts[0]) == "fiona: July is checked"


def test_issuing_twice_issues_once(finance: Client, drafts: list[Invoice]) -> None:
    for _ in range(2):
        finance.post(invoice_page("issue", drafts[0]), {"reason": "checked"})

    assert list(Invoice.objects.filter(status="issued").values_list("pk", flat=True)) == [drafts[0].pk]


def test_support_looks_at_everything_and_issues_nothing(support: Client, drafts: list[Invoice]) -> None:
    page = support.get(reverse("admin:invoicing_invoice_change", args=[drafts[0].pk]))

    assert page.status_code == 200
    assert b'/issue/"' not in page.content
    assert support.post(invoice_page("issue", drafts[0]), {"reason": "x"}).status_code == 403
    selection = {"action": "issue_selected", "_selected_action": [drafts[0].pk], "confirmed": "1", "reason": "x"}
    support.post(reverse("admin:invoicing_invoice_changelist"), selection)
    assert not Invoice.objects.exclude(status="draft").exists()


@pytest.mark.parametrize(
    "address",
    [
        "admin:invoicing_customer_add",
        "admin:invoicing_subscription_add",
        "admin:api_apikey_add",
        "admin:api_apikey_changelist",
        "admin:auth_user_changelist",
    ],
)
def test_support_opens_no_form_and_no_keys(support: Client, address: str) -> None:
    assert support.get(reverse(address)).status_code == 403


def test_a_stranger_is_sent_to_the_sign_in(client: Client, drafts: list[Invoice]) -> None:
    for name in ("issue", "proof", "record_transfer", "retry", "proof_state"):
        assert "/login/" in client.get(invoice_page(name, drafts[0]))["Location"]


def test_a_bank_transfer_is_booked_once_with_reason(finance: Client, drafts: list[Invoice]) -> None:
    issue_invoice(invoice_id=drafts[0].pk, at=AT, actor="test", reason="test")
    entered = {"reference": "TRF 1", "amount": "31.50", "received_date": "2026-08-04", "reason": "statement 31"}

    for _ in range(2):
        finance.post(invoice_page("record_transfer", drafts[0]), entered)

    invoice = Invoice.objects.get(pk=drafts[0].pk)
    assert invoice.status == "paid"
    assert Payment.objects.get().amount == Money("31.50", "USD")
    assert newest_change(invoice) == "fiona: statement 31"
    assert sum(balance.amount.amount for balance in trial_balance()) == 0


def test_money_from_before_the_invoice_is_refused_at_its_day_and_that_of_a_closed_month_says_where_it_is_booked(
    finance: Client, drafts: list[Invoice]
) -> None:
    issue_invoice(invoice_id=drafts[0].pk, at=AT, actor="test", reason="test")
    entered = {"reference": "TRF 1", "amount": "31.50", "reason": "statement 31"}
    issued_on = Invoice.objects.get(pk=drafts[0].pk).issued_at.date()  # type: ignore[union-attr]

    early = finance.post(
        invoice_page("record_transfer", drafts[0]), {**entered, "received_date": issued_on - timedelta(days=1)}
    )
    assert "when the invoice was issued: enter that day" in early.context["form"].errors["received_date"][0]
    assert not Payment.objects.exists()

    close(AUGUST_MONTH, at=AT + timedelta(days=60))
    done = finance.post(
        invoice_page("record_transfer", drafts[0]), {**entered, "received_date": issued_on}, follow=True
    )
    assert "August 2026 is closed: it is booked on 1 September 2026." in done.content.decode()


@pytest.mark.parametrize("amount", ["31.51", "0", "-1", "1.005", "NaN", "Infinity", "1e3000", "ten", ""])
def test_a_transfer_over_an_amount_that_cannot_be_is_told_at_its_field(
    finance: Client, drafts: list[Invoice], amount: str
) -> None:
    issue_invoice(invoice_id=drafts[0].pk, at=AT, actor="test", reason="test")
    entered = {"reference": "TRF 1", "amount": amount, "received_date": "2026-08-04", "reason": "statement 31"}

    page = finance.post(invoice_page("record_transfer", drafts[0]), entered)

    assert page.status_code == 200
    assert page.context["form"].errors["amount"]
    assert not Payment.objects.exists()


def test_a_refused_push_is_sent_again_by_finance_with_a_reason(finance: Client, drafts: list[Invoice]) -> None:
    issue_invoice(invoice_id=drafts[1].pk, at=AT, actor="test", reason="test")
    PushIntent.objects.update(status="refused", last_error="no such customer")

    finance.post(invoice_page("retry", drafts[1]), {"reason": "mended at Stripe"})

    push = PushIntent.objects.get()
    assert push.status == "pending"
    assert "fiona" in push.last_error


def test_a_customer_is_created_and_changed_with_actor_and_reason(finance: Client) -> None:
    finance.post(reverse("admin:invoicing_customer_add"), NEW_CUSTOMER)
    customer = Customer.objects.get()
    page = reverse("admin:invoicing_customer_change", args=[customer.pk])

    changed = finance.post(f"{page}?edit=1", {**NEW_CUSTOMER, "name": "New & Co AG", "reason": "renamed"})

    assert changed["Location"] == page
    customer.refresh_from_db()
    assert customer.name == "New & Co AG"
    assert newest_change(customer) == "fiona: renamed"
    assert customer.history.count() == 2


def test_a_customers_key_currency_and_zone_stay(finance: Client) -> None:
    finance.post(reverse("admin:invoicing_customer_add"), NEW_CUSTOMER)
    customer = Customer.objects.get()
    forged = {**NEW_CUSTOMER, "key": "cust_else", "currency": "USD", "timezone": "UTC", "reason": "forged"}

    finance.post(reverse("admin:invoicing_customer_change", args=[customer.pk]) + "?edit=1", forged)

    customer.refresh_from_db()
    assert (customer.key, customer.currency, customer.timezone) == ("cust_new", "EUR", "Europe/Berlin")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key", "bad key"),
        ("timezone", "Mars/Olympus"),
        ("net_terms_days", "366"),
        ("late_materiality", "0.001"),
        ("email", "no"),
        ("reason", ""),
    ],
)
def test_what_the_operation_refuses_stands_at_its_field(finance: Client, field: str, value: str) -> None:
    page = finance.post(reverse("admin:invoicing_customer_add"), {**NEW_CUSTOMER, field: value})

    assert page.status_code == 200
    assert page.context["adminform"].form.errors[field]
    assert not Customer.objects.exists()


def start_form(customer: Customer) -> dict[str, Any]:
    return {
        "key": "second",
        "customer": customer.pk,
        "plan_version": PlanVersion.objects.get().pk,
        "quantity": "1",
        "started_at_0": "2026-08-01",
        "started_at_1": "00:00:00",
        "anchor": "calendar",
        "reason": "a second contract",
    }


def test_a_subscription_is_started_and_ended_through_its_operations(finance: Client, drafts: list[Invoice]) -> None:
    finance.post(reverse("admin:invoicing_subscription_add"), start_form(a_customer("cust_third")))
    subscription = Subscription.objects.get(key="second")
    end = reverse("admin:invoicing_subscription_end", args=[subscription.pk])

    too_early = finance.post(end, {"ended_at_0": "2026-07-01", "ended_at_1": "00:00:00", "reason": "cancelled"})
    finance.post(end, {"ended_at_0": "2026-09-01", "ended_at_1": "00:00:00", "reason": "cancelled"})

    assert "must be after the start" in too_early.content.decode()
    subscription.refresh_from_db()
    assert f"{subscription.ended_at:%Y-%m-%d}" == "2026-09-01"
    assert newest_change(subscription) == "fiona: cancelled"


def test_a_subscription_that_would_charge_a_meter_twice_is_refused_at_its_plan(
    finance: Client, drafts: list[Invoice]
) -> None:
    acme = Customer.objects.get(key="cust_acme")

    page = finance.post(reverse("admin:invoicing_subscription_add"), start_form(acme))

    assert "charges the same meter" in str(page.context["adminform"].form.errors["plan_version"])
    assert not Subscription.objects.filter(key="second").exists()


def test_a_plan_gets_a_new_version_by_draft_edit_and_publication(finance: Client, drafts: list[Invoice]) -> None:
    plan = Plan.objects.get()
    finance.post(reverse("admin:invoicing_plan_draft_version", args=[plan.pk]), {"reason": "new prices"})
    draft = PlanVersion.objects.get(number=2)
    price = draft.prices.get(key="actions")
    fields = {
        "plan_version": draft.pk,
        "key": "actions",
        "name": "Actions",
        "meter": price.meter_id,
        "currency": "USD",
        "position": "1",
        "model": "graduated",
        "unit_amount": "",
        "free_units": "0",
        "tiers-TOTAL_FORMS": "2",
        "tiers-INITIAL_FORMS": "0",
        "tiers-0-position": "0",
        "tiers-0-up_to": "100",
        "tiers-0-unit_amount": "0.02",
        "tiers-0-flat_amount": "0",
        "tiers-0-rate": "0",
        "tiers-1-position": "1",
        "tiers-1-up_to": "",
        "tiers-1-unit_amount": "0.01",
        "tiers-1-flat_amount": "0",
        "tiers-1-rate": "0",
        "cells-TOTAL_FORMS": "0",
        "cells-INITIAL_FORMS": "0",
        "reason": "list prices of 2027",
    }

    unsaid = finance.post(reverse("admin:invoicing_price_change", args=[price.pk]), {**fields, "reason": " "})
    edited = finance.post(reverse("admin:invoicing_price_change", args=[price.pk]), fields)
    asked = finance.get(reverse("admin:invoicing_planversion_publish", args=[draft.pk])).content.decode()
    finance.post(reverse("admin:invoicing_planversion_publish", args=[draft.pk]), {"reason": "agreed"})

    assert list(unsaid.context["adminform"].form.errors) == ["reason"]
    assert edited.status_code == 302
    [edit] = draft.history.filter(history_change_reason__contains="list prices")
    assert edit.history_change_reason.startswith("fiona: list prices of 2027 (Actions (USD): USD 0.01 per action → ")
    listed = finance.get(reverse("admin:backoffice_changes"), {"words": "PRICES of 2027"}).context["changes"]
    assert [(change.subject, change.actor) for change in listed] == [(f"{plan.name} v2", "fiona")]
    assert not finance.get(reverse("admin:backoffice_changes"), {"words": "nobody said so"}).context["changes"]
    assert "2 running subscriptions" in asked
    draft.refresh_from_db()
    assert draft.published_at is not None
    assert PriceTier.objects.filter(price=price).count() == 2
    assert Price.objects.get(plan_version__number=1, key="actions").model == "per_unit"


def test_a_draft_that_cannot_be_rated_says_why_and_stays_a_draft(finance: Client, drafts: list[Invoice]) -> None:
    finance.post(reverse("admin:invoicing_plan_draft_version", args=[Plan.objects.get().pk]), {"reason": "new prices"})
    draft = PlanVersion.objects.get(number=2)
    draft.prices.filter(key="actions").update(unit_amount=None)

    page = finance.get(reverse("admin:invoicing_planversion_change", args=[draft.pk])).content.decode()
    finance.post(reverse("admin:invoicing_planversion_publish", args=[draft.pk]), {"reason": "agreed"})

    assert "Before it can be published" in page
    draft.refresh_from_db()
    assert draft.published_at is None


def test_an_api_key_is_shown_once_and_revoked(administrator: Client) -> None:
    shown = administrator.post(reverse("admin:api_apikey_add"), {"name": "ingest", "scopes": ["events:write"]})
    key = ApiKey.objects.get()
    listed = administrator.get(reverse("admin:api_apikey_change", args=[key.pk])).content.decode()

    secret = shown.context["key"]
    assert secret.startswith(key.prefix)
    assert "no-store" in shown["Cache-Control"]
    assert secret not in listed
    administrator.post(reverse("admin:api_apikey_revoke", args=[key.pk]))
    key.refresh_from_db()
    assert key.revoked_at is not None


def test_roles_are_made_once_and_again_without_change(db: Any) -> None:
    for _ in range(2):
        ensure_roles()

    finance, support = Group.objects.get(name=FINANCE), Group.objects.get(name=SUPPORT)
    assert finance.permissions.filter(codename="issue_invoice").exists()
    assert not support.permissions.exclude(codename__startswith="view_").exists()
    assert Permission.objects.filter(codename="record_transfer").count() == 1
