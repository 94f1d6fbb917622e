"""Months in the back office: the checklist with where each finding is mended, sign-off, close, package, and opening again by two."""

import io
import zipfile

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from billing_site.backoffice.queries import index_page
from billing_site.backoffice.roles import APPROVERS, ensure_roles
from billing_site.kernel.clock import now
from invoicing.approvals.models import Approval
from invoicing.closing.models import CheckSignOff, MonthClose
from invoicing.workflows.close_checks import CHECKS
from invoicing.workflows.close_month import checklist_of
from tests.invoicing.closing.closing import AUGUST_MONTH
from tests.invoicing.closing.test_month_close import a_month_with_work_left, books_that_do_not_agree

pytestmark = pytest.mark.django_db


def page(action: str = "", *others: str) -> str:
    return reverse(f"admin:invoicing_month{f'_{action}' if action else ''}", args=["2026-08", *others])


def test_a_month_is_looked_at_signed_off_closed_packed_and_opened_again(finance: Client, support: Client) -> None:
    a_month_with_work_left()
    [queue] = [one for one in index_page(at=now()).queues if one.name == "Months to close"]
    assert queue.count >= 1 and queue.why == "August 2026 comes first"
    assert page() in finance.get(queue.link).content.decode()

    shown = finance.get(page()).content.decode()
    for check in CHECKS:
        assert check.title in shown
    assert "4 checks are open: mend what they found, or sign it off with a reason." in shown
    assert "can only be mended" not in shown and "Nobody can sign it off" not in shown
    assert "USD 44.00 of credit note CN-2026-00001 are not paid back" in shown
    assert page("close") not in shown
    assert page("sign_off", "refunds") not in support.get(page()).content.decode()
    assert support.get(page("sign_off", "refunds")).status_code == 403
    assert support.get(page("close")).status_code == 403
    for one in checklist_of(month=AUGUST_MONTH, at=now()).open_checks:
        address = page("sign_off", one.checked.name)
        assert "You answer for it as it is" in finance.get(address).content.decode()
        finance.post(address, {"digest": one.checked.digest, "reason": "known"})

    closing = finance.get(page("close"))
    assert "entries are in its books" in closing.content.decode()
    hidden = dict(closing.context["hidden"])
    finance.post(page("close"), {**hidden, "reason": "complete"})
    closed = MonthClose.objects.get()
    assert (closed.actor, closed.reason) == ("fiona", "complete")
    after = finance.get(page()).content.decode()
    assert closed.digest in after
    kept = finance.get(reverse("admin:invoicing_month_file", args=[closed.pk, "trial-balance"]))
    assert kept.content.decode() == closed.reports.get(name="trial-balance").content
    package = b"".join(support.get(page("package")).streaming_content)  # type: ignore[attr-defined]
    assert "SHA256SUMS" in zipfile.ZipFile(io.BytesIO(package)).namelist()

    finance.post(page("reopen"), {"reason": "an invoice is wrong"})
    asked = Approval.objects.get()
    assert "fiona asks that it is opened again" in finance.get(page()).content.decode()
    ensure_roles()
    person = User.objects.create_user("anna", is_staff=True)
    person.groups.add(Group.objects.get(name=APPROVERS))
    approver = Client()
    approver.force_login(person)
    look = approver.get(reverse("admin:invoicing_approval_change", args=[asked.pk])).content.decode()
    assert reverse("admin:invoicing_monthclose_change", args=[closed.pk]) in look
    approver.post(
        reverse("admin:invoicing_approval_approve", args=[asked.pk]), {"digest": asked.digest, "reason": "seen"}
    )
    again = finance.get(page()).content.decode()
    assert "fiona, approved by anna" in again
    assert finance.get(page("package")).status_code == 404
    listed = finance.get(reverse("admin:backoffice_changes")).content.decode()
    assert "opened again, as fiona has asked" in listed and "signed off" in listed


def test_wrong_books_have_no_button_and_the_page_says_what_to_do_instead(finance: Client) -> None:
    books_that_do_not_agree()

    shown = finance.get(page()).content.decode()
    assert "2 of them can only be mended." in shown
    assert "Nobody can sign it off: let manage.py verify name every row that differs" in shown
    assert page("sign_off", "books") not in shown and page("sign_off", "ties") not in shown
    for answer in (
        finance.get(page("sign_off", "books"), follow=True),
        finance.post(page("sign_off", "ties"), {"digest": "x", "reason": "known"}, follow=True),
    ):
        assert "Nothing has changed: nobody can sign it off" in answer.content.decode()
    assert not CheckSignOff.objects.exists()
