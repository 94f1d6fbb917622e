"""Every night issued lines are counted and rated again; what comes out otherwise waits for somebody, once."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse

from billing_site.backoffice.rerating_queue import rerating_queue
from billing_site.backoffice.roles import FINANCE, ensure_roles
from billing_site.kernel.errors import InvalidInput
from invoicing.invoices.models import Invoice
from invoicing.rerating.models import ReratingFinding, ReratingReview, ReratingRun
from invoicing.rerating.operations import open_findings, review_findings
from invoicing.tasks import rate_again
from invoicing.workflows.rate_again import rate_again_at_night
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.verify import verify
from metering.models import EventTree, Meter
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, settle_constraints, use

pytestmark = pytest.mark.django_db

NIGHT = AUGUST + timedelta(days=3, hours=2)
WHO = {"actor": "finance", "reason": "the event was changed by hand"}


@pytest.fixture
def july() -> Invoice:
    """A fee of USD 29 and 1,500 actions at USD 0.01."""
    a_plan()
    a_subscription(a_customer())
    use("cust_acme", "1500", at=JULY + timedelta(days=3), key="first")
    [invoice] = issue_billing(as_of=AUGUST, at=AUGUST).invoices
    settle_constraints()
    return invoice


def at_night(*, nights: int = 0, sample: int = 100, large: str = "10000") -> ReratingRun:
    return rate_again_at_night(at=NIGHT + timedelta(days=nights), sample=sample, large_amount=Decimal(large))


def forged(change: str = "event_id = 'another'") -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(f"UPDATE metering_usageevent SET {change}")
        cursor.execute("SET session_replication_role = origin")


def test_a_night_without_a_difference_finds_nothing_and_says_what_it_looked_at(july: Invoice) -> None:
    run = at_night(large="29")

    assert (run.large_count, run.sampled_count, run.different_count, run.archived_count) == (1, 1, 0, 0)
    assert not open_findings().exists()
    assert rerating_queue().count == 0


def test_a_changed_event_is_found_at_night_as_verify_finds_it(july: Invoice) -> None:
    forged()

    at_night()

    [finding] = open_findings()
    assert finding.line.position == 2
    assert "an event was changed, or another took its place" in finding.differences[0]
    assert [one.message for one in verify() if one.check == "lines rate again"] == finding.differences
    queue = rerating_queue()
    assert (queue.count, [str(money.amount) for money in queue.money]) == (1, ["15.00"])
    assert queue.why.startswith("an event was changed")


def test_a_line_is_told_once_and_again_only_when_it_differs_in_another_way(july: Invoice) -> None:
    forged()
    at_night()
    at_night(nights=1)
    review_findings(findings=[open_findings().get().pk], at=NIGHT, **WHO)

    same = at_night(nights=2)
    assert (same.different_count, open_findings().count()) == (1, 0)
    forged("quantity = 1499")
    at_night(nights=3)

    assert ReratingFinding.objects.count() == 2
    assert "raw events say 1499, the line says 1500" in open_findings().get().differences[0]


def test_all_large_lines_are_looked_at_however_small_the_sample(july: Invoice) -> None:
    forged()

    assert at_night(sample=0, large="15.01").different_count == 0
    assert at_night(sample=0, large="15").different_count == 1


def test_drafts_are_not_looked_at(july: Invoice) -> None:
    assert at_night(large="1").large_count == july.lines.count()


def test_the_nightly_job_reads_its_figures_from_the_settings(july: Invoice, settings: object) -> None:
    settings.RERATING_SAMPLE, settings.RERATING_LARGE_AMOUNT = 1, 20  # type: ignore[attr-defined]
    EventTree.objects.create(
        meter=Meter.objects.get(), customer_id="cust_acme", start=JULY, end=AUGUST, known_through=1, leaf_count=0,
        peaks=b"", grown_at=datetime(2020, 1, 1, tzinfo=UTC),
    )  # fmt: skip

    assert rate_again() == "1 drawn, 1 large, 0 different"
    assert not EventTree.objects.exists()


def test_what_was_found_needs_a_reason_and_stays(july: Invoice) -> None:
    forged()
    at_night()
    finding = open_findings().get()
    with pytest.raises(InvalidInput, match="say what was found"):
        review_findings(findings=[finding.pk], at=NIGHT, actor="finance", reason=" ")

    assert review_findings(findings=[finding.pk], at=NIGHT, **WHO) == 1
    assert review_findings(findings=[finding.pk], at=NIGHT, actor="somebody", reason="something else") == 0

    assert ReratingReview.objects.get().reason == WHO["reason"]
    for statement in (
        "UPDATE invoicing_reratingfinding SET differences = '[\"nothing\"]'",
        "DELETE FROM invoicing_reratingreview",
        "UPDATE invoicing_reratingrun SET different_count = 0",
        "TRUNCATE invoicing_reratingreview",
        "INSERT INTO invoicing_reratingfinding (run_id, line_id, differences, digest, found_at)"
        " SELECT run_id, line_id, '[]', 'x', found_at FROM invoicing_reratingfinding",
    ):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)


def test_finance_says_in_the_admin_what_was_found_and_others_only_look(july: Invoice) -> None:
    forged()
    at_night()
    ensure_roles()
    finance, reader = User.objects.create_user("fin", is_staff=True), User.objects.create_user("eve", is_staff=True)
    finance.groups.add(Group.objects.get(name=FINANCE))
    reader.user_permissions.add(*Permission.objects.filter(codename="view_reratingfinding"))
    finding = open_findings().get()
    page = reverse("admin:invoicing_reratingfinding_review", args=[finding.pk])
    client, looking = Client(), Client()
    client.force_login(finance)
    looking.force_login(reader)

    assert looking.get(reverse("admin:invoicing_reratingfinding_changelist")).status_code == 200
    assert looking.post(page, {"confirmed": "1", "reason": "mine"}).status_code == 403
    assert "Lines that rate otherwise" in client.get("/admin/").content.decode()
    listed = client.get(reverse("admin:invoicing_reratingfinding_changelist") + "?state=open").content.decode()
    assert f"{july.number}, line 2: Actions" in listed
    assert client.post(page, {"confirmed": "1", "reason": "restored from the archive"}).status_code == 302
    shown = client.get(reverse("admin:invoicing_reratingfinding_change", args=[finding.pk])).content.decode()
    assert "restored from the archive" in shown
    assert not open_findings().exists()
    assert client.get(reverse("admin:invoicing_reratingrun_changelist")).status_code == 200
    assert client.get(reverse("admin:invoicing_reratingrun_change", args=[finding.run_id])).status_code == 200
