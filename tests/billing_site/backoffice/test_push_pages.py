"""What failed on its way to Stripe is listed with its cause, and tried again by one click for one or for many."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django_q.models import OrmQ

from invoicing.payments.attempts import PushAttempt
from invoicing.payments.models import PushIntent, StripeNotice
from invoicing.payments.push import in_words
from invoicing.payments.remote import GatewayRefused
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.invoicing.payments.building import a_card_customer, an_issued_invoice, receive

LIST = "/admin/invoicing/pushintent/"


@pytest.fixture
def failed(db: Any) -> list[PushIntent]:
    for name, fee in (("one", "280"), ("two", "300")):
        an_issued_invoice(a_card_customer(f"cust_{name}"), fee=fee)
    PushIntent.objects.update(status="failed", last_error="Given up after 11 failures in a row.", attempt_count=11)
    OrmQ.objects.all().delete()
    return list(PushIntent.objects.order_by("id"))


def test_what_waits_for_people_is_listed_with_its_cause(administrator: Client, failed: list[PushIntent]) -> None:
    page = administrator.get(f"{LIST}?state=failed").content.decode()

    assert page.count("Given up after 11 failures in a row.") == 2
    assert "Try the selected again" in page


@pytest.mark.requirement("S2-013")
def test_many_are_tried_again_with_their_number_and_money_told_before(
    administrator: Client, failed: list[PushIntent]
) -> None:
    chosen = {"action": "retry_selected", "_selected_action": [intent.pk for intent in failed]}

    asked = administrator.post(LIST, chosen).content.decode()
    without_reason = administrator.post(LIST, {**chosen, "confirmed": "1", "reason": " "}).content.decode()
    before = OrmQ.objects.count()
    administrator.post(LIST, {**chosen, "confirmed": "1", "reason": "Stripe is back"})

    assert "2 invoices, USD 580.00" in asked
    assert "This field is required." in without_reason
    assert (before, OrmQ.objects.count()) == (0, 2)
    assert {intent.status for intent in PushIntent.objects.all()} == {"pending"}
    assert set(PushAttempt.objects.values_list("cause", "outcome")) == {("Stripe is back", "sent again")}


def test_the_pages_of_push_and_invoice_show_every_attempt(administrator: Client, failed: list[PushIntent]) -> None:
    intent = failed[0]
    administrator.post(reverse("admin:invoicing_pushintent_retry", args=[intent.pk]), {"reason": "once more"})

    push = administrator.get(reverse("admin:invoicing_pushintent_change", args=[intent.pk])).content.decode()
    invoice = administrator.get(reverse("admin:invoicing_invoice_change", args=[intent.invoice_id])).content.decode()

    assert "once more" in push and "sent again" in push
    assert "once more" in invoice and "Every attempt" in invoice


def test_whoever_may_not_send_again_is_offered_nothing(support: Client, failed: list[PushIntent]) -> None:
    page = support.get(f"{LIST}?state=failed").content.decode()
    refused = support.post(reverse("admin:invoicing_pushintent_retry", args=[failed[0].pk]), {"reason": "mine"})

    assert "Try the selected again" not in page
    assert refused.status_code == 403
    assert {intent.status for intent in PushIntent.objects.all()} == {"failed"}


def test_a_parked_notice_is_replayed_and_one_dealt_with_by_hand_dismissed(administrator: Client, db: Any) -> None:
    first, second = (
        receive("charge.refunded", {"object": "charge", "id": name}, event_id=f"evt_{name}") for name in ("a", "b")
    )
    StripeNotice.objects.update(parked_at=first.received_at, attempt_count=11, last_error="broken")
    OrmQ.objects.all().delete()

    listed = administrator.get("/admin/invoicing/stripenotice/?state=parked").content.decode()
    administrator.post(reverse("admin:invoicing_stripenotice_replay", args=[first.pk]))
    administrator.post(reverse("admin:invoicing_stripenotice_dismiss", args=[second.pk]), {"reason": "by hand"})

    first.refresh_from_db()
    second.refresh_from_db()
    assert "evt_a" in listed and "evt_b" in listed
    assert (first.parked_at, first.attempt_count, OrmQ.objects.count()) == (None, 0, 1)
    assert second.outcome == "dismissed by root: by hand"


def test_a_selection_across_all_pages_comes_through_its_confirmation_whole(
    administrator: Client, failed: list[PushIntent], settings: Any
) -> None:
    """Two stand for the 5,000 of an outage: however many are chosen, the confirmation has a handful of fields."""
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 7
    chosen = {"action": "retry_selected", "select_across": "1", "index": "0", "_selected_action": failed[0].pk}

    asked = administrator.post(LIST, chosen)
    fields = dict(asked.context["hidden"])
    done = administrator.post(LIST, {**fields, "reason": "Stripe is back"})

    assert (asked.status_code, done.status_code) == (200, 302)
    assert fields["selected_rows"] == ",".join(str(intent.pk) for intent in failed)
    assert OrmQ.objects.count() == 2
    assert {intent.last_error for intent in PushIntent.objects.all()} == {
        "Sent again by root: Stripe is back. Before that: Given up after 11 failures in a row."
    }


def test_a_selection_of_which_nothing_is_left_is_confirmed_without_effect(
    administrator: Client, failed: list[PushIntent]
) -> None:
    asked = administrator.post(LIST, {"action": "retry_selected", "_selected_action": "987654321"})
    done = administrator.post(LIST, {**dict(asked.context["hidden"]), "reason": "Stripe is back"})

    assert (asked.status_code, done.status_code, OrmQ.objects.count()) == (200, 302, 0)


def test_the_list_names_the_customer_and_no_attempt_that_will_not_be_made(
    administrator: Client, failed: list[PushIntent]
) -> None:
    waiting, refused = failed
    PushIntent.objects.filter(pk=waiting.pk).update(status="pending", last_error="")

    listed = administrator.get(LIST)
    rows = {str(row.invoice): row for row in listed.context["cl"].result_list}
    shown = text_of(listed)
    page = administrator.get(reverse("admin:invoicing_pushintent_change", args=[refused.pk]))
    on_its_way = administrator.get(reverse("admin:invoicing_pushintent_change", args=[waiting.pk]))

    assert "Invoices sent to Stripe" in shown and refused.invoice.customer_name in shown
    assert shown.count(f"{rows[str(waiting.invoice)].next_attempt_at:%Y-%m-%d %H:%M} UTC") == 1
    assert f"{refused.invoice} to Stripe" in text_of(page)
    assert "Try again" in text_of(page) and "Try again" not in text_of(on_its_way)


def test_what_stripe_said_and_what_to_do_are_two_sentences() -> None:
    gone = GatewayRefused("No such PaymentMethod: 'pm_gone'", param="default_payment_method", code="resource_missing")

    assert in_words(gone) == (
        "No such PaymentMethod: 'pm_gone'. Correct the customer's payment method, then send it again."
    )
