"""The certificate of a closed month on paper: what the kept one says, the same bytes each time, and nothing that a reason says is markup."""

import io
import re

import pytest
from django.test import Client
from django.urls import reverse
from pypdf import PdfReader

from invoicing.closing.models import MonthClose
from invoicing.workflows.certificate_document import certificate_pdf
from invoicing.workflows.close_month import checklist_of, close_month, sign_off
from tests.invoicing.closing.closing import AUGUST_MONTH
from tests.invoicing.closing.test_month_close import AT, a_month_with_work_left

pytestmark = pytest.mark.django_db


@pytest.fixture
def closed() -> MonthClose:
    """August, closed with four checks signed off by somebody whose name would be markup."""
    a_month_with_work_left()
    who = {"actor": "ann #emph[ö] 王", "reason": "known, $x$ and *all*"}
    for one in checklist_of(month=AUGUST_MONTH, at=AT).open_checks:
        sign_off(month=AUGUST_MONTH, check=one.checked.name, digest=one.checked.digest, at=AT, **who)
    return close_month(month=AUGUST_MONTH, digest=checklist_of(month=AUGUST_MONTH, at=AT).digest, at=AT, **who)


def text_of(pdf: bytes) -> str:
    return re.sub(r"\s+", " ", " ".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages))


def test_the_printed_certificate_names_each_check_account_report_and_digest(closed: MonthClose) -> None:
    pdf = certificate_pdf(close=closed)

    text = text_of(pdf)
    bare = text.replace(" ", "")
    assert "Certificate of the close of August 2026" in text
    assert "by ann #emph[ö] 王" in text and "known, $x$ and *all*" in text
    for digest in (closed.digest, closed.certificate["journal"]["digest"], closed.certificate["evidence"]["digest"]):
        assert digest in bare
    for check in closed.certificate["checklist"]:
        assert check["title"].replace(" ", "") in bare
    assert len(closed.certificate["accounts"]) >= 4
    for account in closed.certificate["accounts"]:
        assert f"{account['account']}" in text
    for report in closed.certificate["reports"].values():
        assert report["file"] in bare
    assert certificate_pdf(close=closed) == pdf, "the same bytes each time"


def test_finance_downloads_the_certificate_to_sign_from_the_page_of_the_month(
    closed: MonthClose, admin_client: Client
) -> None:
    address = reverse("admin:invoicing_month_file", args=[closed.pk, "printed"])

    assert address in admin_client.get(reverse("admin:invoicing_month", args=["2026-08"])).content.decode()
    answer = admin_client.get(address)

    assert (answer.status_code, answer["Content-Type"]) == (200, "application/pdf")
    assert "certificate.pdf" in answer["Content-Disposition"]
    assert PdfReader(io.BytesIO(answer.content)).metadata.title == "Certificate of the close of August 2026"  # type: ignore[union-attr]
