"""The late-event desk and the backfills: the money effect before anyone chooses, and what happened afterwards."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from moneyed import Money

from billing_site.backoffice.work_queues import late_usage_queue
from billing_site.kernel.clock import now
from invoicing.admin.invoice_page import invoice_page
from invoicing.backfills.models import Backfill
from invoicing.invoices.models import InvoiceLine, UsageCorrection
from invoicing.workflows.run_billing import draft_billing, issue_billing
from metering.correcting import cancel_event
from metering.models import EventCancellation, UsageEvent
from tests.factories import AUGUST, JULY, SEPTEMBER, a_customer, a_plan, a_subscription, use
from tests.invoicing.late import a_billed_july, usage_line, use_late

DESK = "/admin/invoicing/usagecorrection/desk/"
FOR_ALL = {"all": "next_invoice"}

pytestmark = pytest.mark.django_db


@pytest.fixture
def late_line(db: Any) -> InvoiceLine:
    """July's usage line of a customer who wants to be asked; 1,200 actions came after its invoice."""
    july = a_billed_july(late_usage_policy="ask")
    use_late("1200")
    return usage_line(july)


def shown(client: Client, address: str = DESK) -> str:
    """The page's text on one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", client.get(address).content.decode()).split())


def marks(client: Client) -> dict[str, str]:
    """The hidden fields by which the desk knows what was shown."""
    page = client.get(DESK).content.decode()
    return dict(re.findall(r'name="(mark-\d+)" value="(\w+)"', page))


def test_the_desk_shows_the_effect_by_customer_and_in_total_before_anyone_chooses(
    finance: Client, late_line: InvoiceLine
) -> None:
    text = shown(finance)

    assert (
        "1 issued line of 1 customer would come to something else today. If all of it were invoiced: USD 12.00" in text
    )
    assert late_usage_queue(at=now()).why == "1 waits for a decision"
    assert "Acme GmbH USD 12.00" in text
    assert "1 event more since" in text
    assert "100 → 1,300 actions" in text
    assert "USD 1.00 → USD 13.00 USD 12.00" in text
    assert "somebody decides here" in text
    assert UsageCorrection.objects.count() == 0


@pytest.mark.requirement("S0-061")
def test_the_desk_names_the_events_that_changed_a_line(finance: Client) -> None:
    line = usage_line(a_billed_july(late_usage_policy="ask", used=("100", "40")))
    use_late("1200", key="came-late")
    invoiced = UsageEvent.objects.get(quantity=40)
    cancel_event(customer_id="cust_acme", idempotency_key=invoiced.idempotency_key, reason="a test", actor="fiona")
    use("cust_acme", "7", at=AUGUST, key="of-another-month")

    address = f"{DESK}lines/{line.pk}/events/"
    desk, text = finance.get(DESK).content.decode(), shown(finance, address)

    assert address in desk and "1 event more, 1 event cancelled" in " ".join(re.sub(r"<[^>]+>", "", desk).split())
    assert re.search(r"came-late 1,200 .* counts, and is on no invoice", text)
    assert re.search(rf"{invoiced.idempotency_key} 40 .* was invoiced, and counts no more", text)
    assert "of-another-month" not in text
    assert "140 → 1,300 actions" in text and "USD 11.60" in text


def test_the_events_of_a_line_that_nothing_changed_are_none(finance: Client) -> None:
    line = usage_line(a_billed_july())

    assert "Nothing about this line is open" in shown(finance, f"{DESK}lines/{line.pk}/events/")
    assert finance.get(f"{DESK}lines/{line.pk + 99}/events/").status_code == 404


@pytest.mark.requirement("S4-004")
def test_who_cancels_or_amends_an_event_sees_first_what_it_means_in_money(finance: Client) -> None:
    july = a_billed_july(late_usage_policy="ask", used=("100", "40"))
    event = UsageEvent.objects.get(quantity=40)
    cancel, amend = (reverse(f"admin:metering_usageevent_{deed}", args=[event.pk]) for deed in ("cancel", "amend"))
    fields = {
        "event_type": event.event_type,
        "quantity": "540",
        "timestamp": event.timestamp.isoformat().replace("+00:00", "Z"),
        "reason": "a typo",
    }

    cancelled = shown(finance, cancel)
    amended = " ".join(re.sub(r"<[^>]+>", " ", finance.post(amend, fields).content.decode()).split())

    assert f"Issued line, {july.number}, line 2 (Actions): USD 1.40 → USD 1.00 , effect USD (0.40)" in cancelled
    assert "Waits at the late-event desk" in cancelled
    assert f"Issued line, {july.number}, line 2 (Actions): USD 1.40 → USD 6.40 , effect USD 5.00" in amended
    assert UsageCorrection.objects.count() == 0 and not EventCancellation.objects.exists()


def test_a_choice_is_confirmed_in_numbers_with_a_reason_and_ends_on_what_happened(
    finance: Client, late_line: InvoiceLine
) -> None:
    choice = {**marks(finance), f"decision-{late_line.pk}": "next_invoice"}

    asked = finance.post(DESK, choice).content.decode()
    refused = finance.post(DESK, {**choice, "confirmed": "1", "reason": " "})
    done = finance.post(DESK, {**choice, "confirmed": "1", "reason": "agreed on the phone"}).content.decode()

    assert "Bill 1 late change on the next invoices, USD 12.00" in asked
    assert refused.context["form"].errors["reason"]
    assert "1 decided" in done and "On the next invoice" in done
    correction = UsageCorrection.objects.get()
    assert (correction.effect, correction.actor, correction.reason) == (
        Money("12.00", "USD"),
        "fiona",
        "agreed on the phone",
    )
    after = shown(finance)
    assert "Every issued line, with its corrections, holds the usage that we know of" in after
    assert "the next draft of this customer takes it" in after


def test_all_others_are_decided_at_once_and_a_second_click_changes_nothing(
    finance: Client, late_line: InvoiceLine
) -> None:
    choice = {**marks(finance), "all": "absorbed"}
    asked = finance.post(DESK, choice)
    confirmed = {**dict(asked.context["hidden"]), "reason": "too small"}

    finance.post(DESK, confirmed)
    again = finance.post(DESK, confirmed).content.decode()

    assert [str(one.decision) for one in UsageCorrection.objects.all()] == ["absorbed"]
    assert "0 decided, 1 not" in again


def test_what_has_changed_since_it_was_shown_is_not_decided(finance: Client, late_line: InvoiceLine) -> None:
    choice = {**marks(finance), f"decision-{late_line.pk}": "next_invoice"}
    use_late("1")

    page = finance.post(DESK, {**choice, "confirmed": "1", "reason": "agreed"}).content.decode()

    assert "has changed since it was shown" in page
    assert UsageCorrection.objects.count() == 0


def test_choosing_nothing_is_told(finance: Client, late_line: InvoiceLine) -> None:
    assert "Nothing was chosen" in finance.post(DESK, marks(finance)).content.decode()


def test_support_looks_and_does_not_decide(support: Client, late_line: InvoiceLine) -> None:
    page = support.get(DESK).content.decode()

    assert "You may look at this, and not decide" in page
    assert "<select" not in page.partition('<form method="post"')[2]
    assert support.post(DESK, FOR_ALL).status_code == 403
    assert Client().get(DESK).status_code == 302


def test_an_empty_desk_says_what_will_fill_it(finance: Client) -> None:
    text = shown(finance)

    assert "Nothing to decide. An event that arrives, or is cancelled, after its invoice was issued" in text
    assert "None: what was decided is on an invoice or was absorbed" in text


def test_an_unknown_customer_on_the_desk_is_an_empty_one(finance: Client, late_line: InvoiceLine) -> None:
    assert "Nothing to decide" in shown(finance, DESK + "?customer=cust_nobody")
    assert "1 issued line" in shown(finance, DESK + "?customer=cust_acme")


def test_each_decision_stands_in_a_list_with_the_invoice_that_carries_it(
    finance: Client, late_line: InvoiceLine
) -> None:
    finance.post(
        DESK, {**marks(finance), f"decision-{late_line.pk}": "next_invoice", "confirmed": "1", "reason": "agreed"}
    )
    [correction] = UsageCorrection.objects.all()

    listed = shown(finance, "/admin/invoicing/usagecorrection/")
    detail = shown(finance, reverse("admin:invoicing_usagecorrection_change", args=[correction.pk]))

    assert "100 → 1,300 actions" in listed and "waits for the next invoice" in listed
    assert "agreed" in detail


def upload(client: Client, *quantities: str, name: str = "old.ndjson", **fields: str) -> Any:
    """Upload a file of events for July."""
    lines = [
        json.dumps(
            {
                "event_id": f"old-{number}",
                "idempotency_key": f"old-{number}",
                "event_type": "action.consumed",
                "timestamp": (JULY + timedelta(hours=number)).isoformat(),
                "customer_id": "cust_acme",
                "quantity": quantity,
            }
        )
        for number, quantity in enumerate(quantities)
    ]
    file = SimpleUploadedFile(name, "\n".join(lines).encode())
    return client.post("/admin/invoicing/backfill/add/", {"file": file, **fields}, follow=True)


def test_an_uploaded_file_is_shown_with_its_money_effect_and_committed_with_a_reason(finance: Client) -> None:
    a_billed_july()

    page = upload(finance, "1200", "-3").content.decode()
    backfill = Backfill.objects.get()
    before = UsageEvent.objects.count()
    commit = reverse("admin:invoicing_backfill_commit", args=[backfill.pk])
    asked = finance.get(commit).content.decode()
    form = {"digest": backfill.figures_digest, "reason": "the collector was down"}
    done = finance.post(commit, form, follow=True).content.decode()
    again = finance.post(commit, form, follow=True)

    assert "Dry run of" in page and "12.00" in page
    assert before == 1
    assert "Accept 1 events of 1 customers; money effect: USD 12.00" in asked
    assert "1 rows are refused" in asked
    assert "Committed: 1 events are accepted" in done
    assert again.status_code == 200
    backfill.refresh_from_db()
    assert (bytes(backfill.content), backfill.committed_by, backfill.reason) == (b"", "fiona", "the collector was down")
    assert UsageEvent.objects.count() == 2


def test_a_commit_is_refused_where_a_figure_differs_and_the_dry_run_can_be_made_again(finance: Client) -> None:
    a_billed_july()
    upload(finance, "1200")
    backfill = Backfill.objects.get()
    use("cust_acme", "1200", at=JULY, key="old-0")
    page = reverse("admin:invoicing_backfill_change", args=[backfill.pk])
    commit = reverse("admin:invoicing_backfill_commit", args=[backfill.pk])

    refused = finance.post(
        commit, {"digest": backfill.figures_digest, "reason": "the collector was down"}, follow=True
    ).content.decode()
    finance.post(reverse("admin:invoicing_backfill_again", args=[backfill.pk]))

    assert "Nothing was kept: a figure differs by now" in refused
    assert "0 events would be accepted" in shown(finance, page)
    assert UsageEvent.objects.count() == 2


def test_a_file_that_cannot_be_read_is_refused_beside_its_field(finance: Client) -> None:
    response = upload(finance, "1", name="old.ndjson", timezone="Mars/Olympus")

    assert response.context["form"].errors["timezone"]
    assert Backfill.objects.count() == 0


def test_support_sees_backfills_and_makes_none(support: Client, finance: Client) -> None:
    a_billed_july()
    upload(finance, "5")
    backfill = Backfill.objects.get()

    page = support.get(reverse("admin:invoicing_backfill_change", args=[backfill.pk]))

    assert page.status_code == 200 and "Commit</a>" not in page.content.decode()
    assert upload(support, "7").status_code == 403
    commit = reverse("admin:invoicing_backfill_commit", args=[backfill.pk])
    assert support.post(commit, {"digest": backfill.figures_digest, "reason": "no"}).status_code == 403


def test_late_lines_of_august_stand_beside_those_of_july(finance: Client, late_line: InvoiceLine) -> None:
    use("cust_acme", "7", at=AUGUST)

    assert "1 issued line of 1 customer" in shown(finance), "August is not issued: its usage is not late"


def test_proofs_lead_from_the_line_to_its_correction_and_back(finance: Client, late_line: InvoiceLine) -> None:
    finance.post(
        DESK, {**marks(finance), f"decision-{late_line.pk}": "next_invoice", "confirmed": "1", "reason": "agreed"}
    )
    [august] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices
    proof = reverse("admin:invoicing_invoice_proof", args=[late_line.invoice_id])

    original = shown(finance, f"{proof}?line={late_line.position}")
    corrects = shown(finance, reverse("admin:invoicing_invoice_proof", args=[august.pk]) + "?line=3")
    page = shown(finance, reverse("admin:invoicing_invoice_change", args=[august.pk]))

    assert "Corrected since 1" in original and f"{august.number} USD 12.00" in original
    assert f"Corrects {late_line.invoice.number}, line 2" in corrects
    assert "2 hours with usage, 1,300 actions" in corrects and "different" not in corrects
    assert "Late usage of July 2026: 1,200 more actions" in page


@pytest.mark.parametrize(
    ("decision", "told"),
    [
        ("", "Nobody has settled it yet: late-event desk ."),
        ("absorbed", "Its correction was absorbed."),
        ("next_invoice", "Its correction waits for the next invoice."),
    ],
)
def test_a_late_event_says_what_became_of_it(finance: Client, late_line: InvoiceLine, decision: str, told: str) -> None:
    if decision:
        finance.post(
            DESK, {**marks(finance), f"decision-{late_line.pk}": decision, "confirmed": "1", "reason": "agreed"}
        )
    late = UsageEvent.objects.latest("pk")

    assert told in shown(finance, reverse("admin:metering_usageevent_change", args=[late.pk]))


def test_a_draft_within_its_grace_says_until_when_late_usage_joins_it(finance: Client) -> None:
    a_plan()
    a_subscription(a_customer(grace_hours=744), started_at=datetime(2026, 11, 1, tzinfo=UTC))
    [draft] = draft_billing(as_of=datetime(2026, 12, 1, tzinfo=UTC), at=datetime(2026, 12, 1, tzinfo=UTC)).invoices

    page = invoice_page(invoice=draft, at=datetime(2026, 12, 2, tzinfo=UTC), allowed=lambda _: True)

    assert page.question.startswith("Late usage still joins it: billing runs issue it from 2027-01-01 00:00 (UTC) on")
