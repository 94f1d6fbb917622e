"""What is handed over leaves as one file with its digest, which few may download, and somebody of the house answers for each case."""

import csv
import hashlib
import io
import json
import zipfile
from datetime import date, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.mail import EmailMessage
from django.db import IntegrityError, transaction
from django_q.models import OrmQ

from billing_site.kernel.errors import Conflict, InvalidInput
from dunning import tasks
from dunning.cases.models import DunningCase
from dunning.core.policy import SHORT, TermsMistake, read_terms, terms_stored
from dunning.handover.asking import tell_owner
from dunning.handover.contents import file_of
from dunning.handover.models import Escalation, HandOverFile
from dunning.handover.operations import assign_case, escalate, make_files
from dunning.handover.queries import overdue_escalations
from dunning.notices.models import Notice
from dunning.policies.operations import assign_policy, ensure_presets, publish_policy
from tests.dunning.chasing import WHO, case_of, chase, late_customer, local, pay, turn
from tests.factories import AUGUST

pytestmark = pytest.mark.django_db
PATH = [{"owner": "Account manager", "days": 3}, {"owner": "Head of finance", "days": 5}]


@pytest.fixture
def case() -> DunningCase:
    """Handed over on the 19th of August, three days after the reminder."""
    customer = late_customer().customer
    ensure_presets()
    steps = [{"day": 1, "act": "notice", "notice": "reminder"}, {"day": 4, "act": "hand_over"}]
    terms = terms_stored(SHORT) | {"steps": steps, "escalation": PATH}
    publish_policy(key="people", name="People", terms=terms, in_force_from=AUGUST, at=AUGUST, **WHO)
    assign_policy(policy="people", customer=customer, country="", at=AUGUST, **WHO)
    turn(local("2026-08-16 09:00", customer), local("2026-08-19 09:00", customer))
    return case_of(customer)


def test_the_file_holds_the_claim_its_documents_and_what_was_sent_each_with_its_digest(case: DunningCase) -> None:
    at = local("2026-08-19 09:05", case.customer)

    assert (make_files(at=at), make_files(at=at)) == (1, 0)

    file = HandOverFile.objects.get()
    archive = zipfile.ZipFile(io.BytesIO(bytes(file.content)))
    names = ["case.json", "claims.csv", "statement.csv", f"invoices/{case.anchor_invoice}.pdf"]
    assert archive.namelist() == [*names, "notices/01-reminder-2026-08-16.txt", "SHA256SUMS"]
    [claim] = csv.DictReader(io.StringIO(archive.read("claims.csv").decode()))
    assert (claim["invoice"], claim["open"], claim["claimed"]) == (str(case.anchor_invoice), "31.00", "31.00")
    told = json.loads(archive.read("case.json"))
    assert (told["debtor"]["name"], told["claimed"]) == ("Acme GmbH", {"amount": "31.00", "currency": "USD"})
    assert archive.read(names[3]).startswith(b"%PDF") and b"To: ap@acme.example" in archive.read(archive.namelist()[4])
    # It leaves the house: what was sent opens the customer's portal, the file must not.
    assert "/portal/enter/" in Notice.objects.get(state="sent").text
    assert b"/portal/enter/" not in archive.read(archive.namelist()[4])
    for line in archive.read("SHA256SUMS").decode().splitlines():
        digest, _, name = line.partition("  ")
        assert hashlib.sha256(archive.read(name)).hexdigest() == digest
    assert file.digest == hashlib.sha256(bytes(file.content)).hexdigest()
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        HandOverFile.objects.update(content=b"other")


def test_a_file_that_cannot_be_made_stops_no_other_and_its_case_says_so(case: DunningCase, monkeypatch) -> None:
    customer = late_customer("cust_other").customer
    assign_policy(policy="people", customer=customer, country="", at=AUGUST, **WHO)
    turn(local("2026-08-16 09:00", customer), local("2026-08-19 09:00", customer))
    other, at = case_of(customer), local("2026-08-19 09:05", customer)

    def fails(*, case: DunningCase, **rest: Any) -> bytes:
        if case.customer_id != customer.pk:
            raise KeyError("a document is missing")
        return file_of(case=case, **rest)

    monkeypatch.setattr("dunning.handover.operations.file_of", fails)
    monkeypatch.setattr("dunning.tasks.now", lambda: at)
    assert make_files(at=at, budget=timedelta(0)) == 0
    assert tasks.chase().endswith("2 escalated, 1 files")

    assert HandOverFile.objects.get().case == other
    case.refresh_from_db()
    assert case.waits_because.startswith("the file for collectors cannot be made (KeyError)")
    monkeypatch.undo()
    assert make_files(at=at) == 1
    case.refresh_from_db()
    assert case.waits_because == ""


def test_the_next_one_of_the_path_is_asked_when_nothing_came_of_the_last_and_nobody_once_it_is_paid(
    case: DunningCase,
) -> None:
    customer = case.customer

    for day in ("19", "19", "22", "23", "28", "29"):
        escalate(at=local(f"2026-08-{day} 12:00", customer))

    asked = Escalation.objects.order_by("pk")
    assert [(one.owner, str(one.until), bool(one.ended_at)) for one in asked] == [
        ("Account manager", "2026-08-22", True),
        ("Head of finance", "2026-08-28", False),
    ]
    at = local("2026-08-29 12:00", customer)
    assert [one.owner for one in overdue_escalations(at=at)] == ["Head of finance"]
    assign_case(case_id=case.pk, owner="Legal", until=date(2026, 9, 30), at=at, **WHO)
    assert list(overdue_escalations(at=at)) == []
    with pytest.raises(InvalidInput, match="over"):
        assign_case(case_id=case.pk, owner="Legal", until=date(2026, 8, 28), at=at, **WHO)
    pay(case.anchor_invoice, at)
    chase(at)
    escalate(at=at)
    assert not Escalation.objects.filter(ended_at=None).exists()
    with pytest.raises(Conflict, match="closed"):
        assign_case(case_id=case.pk, owner="Legal", until=date(2026, 9, 30), at=at, **WHO)


def test_a_path_without_an_owner_is_no_path() -> None:
    with pytest.raises(TermsMistake, match="escalation path"):
        read_terms(terms_stored(SHORT) | {"escalation": [{"owner": " ", "days": 3}]})


def asked(case: DunningCase, owner: str) -> str:
    """Ask somebody, and run the job that tells him."""
    at = local("2026-08-19 12:00", case.customer)
    escalation = assign_case(case_id=case.pk, owner=owner, until=date(2026, 9, 30), at=at, **WHO)
    return tell_owner(escalation_id=escalation.pk, at=at)


def test_whoever_is_asked_hears_of_it_by_mail_with_what_is_late_and_where_to_look(
    case: DunningCase, settings: Any, mailoutbox: list[EmailMessage]
) -> None:
    settings.ALERT_EMAIL = ["alerts@example.com"]
    support, accounts = Group.objects.create(name="Collectors"), get_user_model().objects
    for name, staff in (("carla", True), ("colin", True), ("gone", False)):
        user = accounts.create_user(name, f"{name}@example.com", is_staff=staff)
        user.groups.add(support)
    accounts.create_user("mute", "", is_staff=True)
    type(case.customer).objects.filter(pk=case.customer_id).update(name="Acme\r\nBcc: all@example.com")
    mailoutbox.clear()

    told = [asked(case, owner) for owner in ("carla", "Collectors", "legal@example.com", "mute", "Account manager")]

    assert told == ["told 1", "told 2", "told 1", "told 1", "told 1"]
    assert [sorted(mail.to) for mail in mailoutbox] == [
        ["carla@example.com"],
        ["carla@example.com", "colin@example.com"],
        ["legal@example.com"],
        ["alerts@example.com"],
        ["alerts@example.com"],
    ]
    mail = mailoutbox[0]
    assert mail.subject == "You are asked about what Acme Bcc: all@example.com (cust_acme) owes, until 2026-09-30"
    assert "Late: USD 31.00. The case is handed over." in mail.body
    assert f"/admin/dunning/dunningcase/{case.pk}/change/" in mail.body and WHO["reason"] in mail.body
    settings.ALERT_EMAIL = []
    assert asked(case, "mute").startswith("nobody is told: mute has no address")


def test_the_path_tells_each_one_once_and_nobody_who_is_not_asked_any_more(
    case: DunningCase, mailoutbox: list[EmailMessage]
) -> None:
    before = OrmQ.objects.count()
    mailoutbox.clear()

    for day in ("19", "19", "22", "23", "23"):
        escalate(at=local(f"2026-08-{day} 12:00", case.customer))

    jobs = [job.task for job in OrmQ.objects.order_by("pk")[before:]]
    first, second = Escalation.objects.order_by("pk")
    told = [job["args"] for job in jobs if job["func"] == "dunning.tasks.tell_owner"]
    assert told == [(first.pk,), (second.pk,)]
    assert tell_owner(escalation_id=first.pk, at=second.began_at).startswith("nobody is told: somebody else is asked")
    assert mailoutbox == []
