"""Twenty-six months of events: billed, archived, the oldest purged, questioned, restored; nothing is lost or counted twice."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client

from billing_site.kernel.errors import Conflict
from billing_site.kernel.period import Period
from invoicing.invoices.models import Invoice, InvoiceLine
from invoicing.subscriptions.snapshot import periods_due
from invoicing.workflows.explain_invoice import explain_invoice, prove_line
from invoicing.workflows.issue_invoice import issue_invoice
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.verify import verify
from metering.archiving.export import archive_closed_days
from metering.archiving.location import archive_storage
from metering.archiving.purge import purge_events
from metering.archiving.restore import restore_month
from metering.archiving.retention import retention
from metering.correcting import cancel_event
from metering.ingest import accept_events
from metering.models import EventArchive, UsageEvent, UsageWindow
from metering.queries import conservation, usage_between
from metering.rollup import roll_up
from tests.factories import a_customer, a_plan, a_subscription, an_event, settle_constraints
from tests.metering.archiving.past import PastEvent, accepted_long_ago, an_hour_of, months_ago, rows_of_events

pytestmark = pytest.mark.django_db
FIRST = 26
OLDEST = months_ago(FIRST)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(autouse=True)
def archive_folder(settings: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    settings.STORAGES = {**settings.STORAGES, "archive": archive_storage(url=str(folder), data_dir=tmp_path)}
    return folder


def months_of_events() -> None:
    """One customer with three events a month."""
    a_plan(at=OLDEST - timedelta(days=1))
    a_subscription(a_customer(), started_at=OLDEST)
    accepted_long_ago(
        [
            PastEvent(
                f"m{number}-d{day}",
                an_hour_of(months_ago(number), day=day),
                quantity=f"{number}.5",
                customer_id="cust_acme",
                properties={"region": "eu", "n": day},
            )
            for number in range(FIRST, 0, -1)
            for day in (2, 11, 28)
        ]
    )


def billed() -> None:
    """Issue every period some days after its end."""
    for number in range(FIRST - 1, -1, -1):
        end = months_ago(number)
        issue_billing(as_of=end, at=end + timedelta(days=1))
    settle_constraints()


def held_by() -> set[str]:
    return {reason for month in retention(at=now()).months for reason in month.reasons}


@pytest.mark.requirement("S2-033")
def test_the_oldest_months_go_are_questioned_and_come_back(archive_folder: Path, client: Client) -> None:
    months_of_events()
    billed()
    archive_closed_days()
    assert verify() == []
    rows = rows_of_events()
    files = {path: path.read_bytes() for path in archive_folder.rglob("*.gz")}
    everything = Period(OLDEST, months_ago(0))
    used = usage_between(meter_key="actions", customer_id="cust_acme", period=everything)

    report = purge_events(at=now(), actor="test")

    assert [month.name for month in report.purged] == [f"{months_ago(n):%Y-%m}" for n in range(FIRST, 14, -1)]
    assert usage_between(meter_key="actions", customer_id="cust_acme", period=everything) == used
    assert verify() == []
    line = InvoiceLine.objects.filter(meter_key="actions").order_by("service_start")[0]
    proof = prove_line(line=line)
    assert (proof.equal, proof.differences, proof.archived) == (False, (), (f"{OLDEST:%Y-%m}",))
    explained = explain_invoice(number=str(line.invoice.number))
    assert explained["lines"][1]["archived"] == [f"{OLDEST:%Y-%m}"]

    old = an_event("cust_acme", f"{FIRST}.5", at=OLDEST, key=f"m{FIRST}-d2")
    old.properties.update({"region": "eu", "n": 2})
    repeated = accept_events(events=[old])
    contradicting = accept_events(events=[an_event("cust_acme", "1", at=OLDEST, key=f"m{FIRST}-d11")])
    assert (repeated.accepted, repeated.duplicates, len(contradicting.conflicts)) == (0, 1, 1)
    with pytest.raises(Conflict, match="restore its month first"):
        cancel_event(customer_id="cust_acme", idempotency_key=f"m{FIRST}-d2", actor="test", reason="wrong")
    accept_events(events=[an_event("cust_acme", "0.25", at=an_hour_of(OLDEST, day=2), key="late")])
    roll_up()
    after = usage_between(meter_key="actions", customer_id="cust_acme", period=everything)
    assert after - used == UsageEvent.objects.get(idempotency_key="late").quantity
    assert all(row.balanced for row in conservation())
    assert verify() == []

    for number in range(FIRST, 14, -1):
        restore_month(month=months_ago(number))

    assert rows_of_events()[: len(rows)] == rows
    assert verify() == []
    assert prove_line(line=line).equal
    assert usage_between(meter_key="actions", customer_id="cust_acme", period=everything) == after
    cancelled = cancel_event(customer_id="cust_acme", idempotency_key=f"m{FIRST}-d2", actor="test", reason="wrong")
    assert cancelled.event_number == rows[0][0]
    assert {path: path.read_bytes() for path in archive_folder.rglob("*.gz")} == files


def test_a_restored_day_archived_again_is_the_same_file(archive_folder: Path) -> None:
    accepted_long_ago([PastEvent(f"k{day}", an_hour_of(OLDEST, day=day)) for day in (1, 2)])
    archive_closed_days()
    before = {path: path.read_bytes() for path in archive_folder.rglob("*.gz")}
    digests = list(EventArchive.objects.order_by("day").values_list("file_digest", "content_digest"))
    purge_events(at=now(), actor="test")
    restore_month(month=OLDEST)
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("DELETE FROM metering_eventarchive")
        cursor.execute("SET session_replication_role = origin")
    for path in before:
        path.unlink()

    archive_closed_days()

    assert {path: path.read_bytes() for path in archive_folder.rglob("*.gz")} == before
    assert list(EventArchive.objects.order_by("day").values_list("file_digest", "content_digest")) == digests


@pytest.mark.requirement("S2-033")
def test_what_billing_still_needs_is_not_purged() -> None:
    months_of_events()
    roll_up()
    archive_closed_days()
    assert "it is not billed yet for cust_acme" in held_by()
    draft_billing(as_of=months_ago(FIRST - 1), at=months_ago(FIRST - 1))
    assert "1 drafts may charge for it; it is not billed yet for cust_acme" in {
        "; ".join(month.reasons) for month in retention(at=now()).months
    }

    first = Invoice.objects.get()
    issue_invoice(invoice_id=first.pk, at=now() - timedelta(days=3), actor="test", reason="late")

    oldest = retention(at=now()).months[0]
    assert oldest.reasons == ("1 invoices of the last 120 days charge for it",)
    assert purge_events(at=now(), actor="test").purged == ()


def test_the_proof_of_an_archived_line_is_shown_as_archived(client: Client, django_user_model: Any) -> None:
    months_of_events()
    billed()
    archive_closed_days()
    purge_events(at=now(), actor="test")
    line = InvoiceLine.objects.filter(meter_key="actions").order_by("service_start")[0]
    client.force_login(django_user_model.objects.create_superuser("alice", password="x"))

    page = client.get(f"/admin/invoicing/invoice/{line.invoice_id}/proof/?line={line.position}").content.decode()
    state = client.get(f"/admin/invoicing/invoice/{line.invoice_id}/proof-state/").content.decode()

    assert f"restore_events --month {OLDEST:%Y-%m}" in page
    assert "archived" in state and "different" not in state


def test_a_window_that_claims_what_it_never_archived_is_found() -> None:
    months_of_events()
    billed()
    archive_closed_days()
    call_command("purge_events", "--apply", "--confirm", "CONFIRM")
    assert len(periods_due(customer=Invoice.objects.all()[0].customer, until=now())) == FIRST
    UsageWindow.objects.filter(archived_count=0).update(archived_count=1)

    assert "events are conserved" in {finding.check for finding in verify()}
