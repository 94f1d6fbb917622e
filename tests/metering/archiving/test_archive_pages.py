"""Staff see what is archived, what would be purged and why not; nothing is purged from a page."""

from datetime import UTC, datetime

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client

from metering.archiving.export import archive_closed_days
from metering.archiving.purge import look_at_retention, purge_events
from metering.models import EventArchive, Meter, UnsettledHour, UsageEvent
from metering.rollup import roll_up
from tests.metering.archiving.past import PastEvent, a_meter, accepted_long_ago, an_hour_of, months_ago

pytestmark = pytest.mark.django_db
OLD, YOUNG = months_ago(18), months_ago(3)
LIST, RETENTION = "/admin/metering/eventarchive/", "/admin/metering/eventarchive/retention/"


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(get_user_model().objects.create_superuser("alice", password="x"))
    return client


@pytest.fixture
def archived() -> None:
    a_meter()
    accepted_long_ago([PastEvent("one", an_hour_of(OLD)), PastEvent("two", an_hour_of(YOUNG))])
    roll_up()
    archive_closed_days()


def test_the_days_are_listed_with_size_digest_and_state(staff: Client, archived: None) -> None:
    purge_events(at=datetime.now(UTC), actor="test")

    page = staff.get(LIST).content.decode()

    for row in EventArchive.objects.all():
        assert f"{row.file_digest[:16]}…" in page
    assert "in the archive only" in page and "in the database, too" in page
    only = staff.get(LIST, {"state": "purged"}).content.decode()
    assert f"{YOUNG:%Y-%m}" not in only.partition("<tbody>")[2]


def test_a_day_is_looked_at_and_not_edited(staff: Client, archived: None) -> None:
    row = EventArchive.objects.order_by("day")[0]

    assert row.content_digest in staff.get(f"{LIST}{row.pk}/change/").content.decode()
    assert staff.post(f"{LIST}{row.pk}/change/", {"file_name": "x"}).status_code == 403
    assert staff.post(f"{LIST}{row.pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.requirement("S2-034")
def test_retention_says_what_would_go_and_why_the_rest_would_not(staff: Client, archived: None) -> None:
    assert "Nobody has looked yet." in staff.get(RETENTION).content.decode()
    look_at_retention(at=datetime.now(UTC), actor="weekly schedule")
    UnsettledHour.objects.create(meter=Meter.objects.get(), customer_id="cust_late", start=an_hour_of(OLD), number=1)

    page = staff.get(RETENTION).content.decode()

    assert "may go" in page and "14 months of retention" in page
    assert "weekly schedule" in page and "cust_late" in page


@pytest.mark.requirement("S2-035")
def test_no_page_purges(staff: Client, archived: None) -> None:
    look_at_retention(at=datetime.now(UTC), actor="weekly schedule")

    page = staff.get(RETENTION).content.decode()
    posted = staff.post(RETENTION, {"confirm": "CONFIRM", "apply": "1"})

    assert "<form" not in page.partition('id="months"')[2].partition("</section>")[0]
    assert posted.status_code in (200, 405)
    assert UsageEvent.objects.count() == 2


def test_whoever_may_not_see_archives_sees_no_retention(client: Client) -> None:
    nobody = get_user_model().objects.create_user("nobody", password="x", is_staff=True)
    client.force_login(nobody)
    assert client.get(RETENTION).status_code == 403

    nobody.user_permissions.add(Permission.objects.get(codename="view_eventarchive"))
    assert client.get(RETENTION).status_code == 200
