"""Months over HTTP: read, signed off, closed, packed, and opened again by two keys."""

import io
import zipfile

import pytest

from billing_site.api.operations import create_api_key
from tests.billing_site.api.caller import Caller, fields_of
from tests.invoicing.closing.test_month_close import a_month_with_work_left, books_that_do_not_agree

pytestmark = pytest.mark.django_db
MONTHS = "/api/v1/months"


def test_a_month_is_closed_packed_and_opened_again_over_http() -> None:
    a_month_with_work_left()
    finance = Caller("months:read", "months:write", "approvals:write")
    chief = Caller()
    chief.key = create_api_key(name="cfo", scopes=["approvals:write"], customer_key="")

    listed = finance.get(MONTHS).json()["months"]
    assert (listed[-1]["month"], listed[-1]["state"], listed[-1]["closed_at"]) == ("2026-08", "to close", None)
    august = finance.get(f"{MONTHS}/2026-08").json()
    early = finance.post(f"{MONTHS}/2026-08/close", {"digest": august["checklist_digest"], "reason": "complete"})
    assert (early.status_code, fields_of(early)) == (409, {"month": "not_ready"})
    for check in august["checklist"]:
        if check["state"] == "open":
            signature = {"check": check["check"], "digest": check["digest"], "reason": "known"}
            august = finance.post(f"{MONTHS}/2026-08/sign-offs", signature).json()
    closed = finance.post(f"{MONTHS}/2026-08/close", {"digest": august["checklist_digest"], "reason": "complete"})
    assert (closed.status_code, closed.json()["state"], closed.json()["closed_by"]) == (
        200,
        "closed",
        "API key a test",
    )

    package = finance.get(f"{MONTHS}/2026-08/package")
    assert package.headers["Content-Type"] == "application/zip"
    content = b"".join(package.streaming_content)  # type: ignore[attr-defined]
    assert "certificate.json" in zipfile.ZipFile(io.BytesIO(content)).namelist()

    asked = finance.post(f"{MONTHS}/2026-08/reopening", {"reason": "an invoice is wrong"}).json()
    decision = {"decision": "approved", "digest": asked["digest"], "reason": "seen"}
    own = finance.post(f"/api/v1/approvals/{asked['id']}/decision", decision)
    assert (own.status_code, fields_of(own)) == (409, {"actor": "same_person"})
    assert chief.post(f"/api/v1/approvals/{asked['id']}/decision", decision).status_code == 200
    assert finance.get(f"{MONTHS}/2026-08").json()["state"] == "to close"
    assert finance.get(f"{MONTHS}/2026-08/package").status_code == 409


@pytest.mark.parametrize("month", ["2026-8", "2026-13", "august", "2026-08-01", "1999-12", "2031-01", "٢٠٢٦-٠٨"])
def test_what_is_no_month_of_the_books_is_not_found(month: str) -> None:
    answer = Caller("months:read").get(f"{MONTHS}/{month}")

    assert (answer.status_code, fields_of(answer)) == (404, {"month": "not_found"})


def test_books_that_do_not_agree_are_signed_off_by_no_key() -> None:
    books_that_do_not_agree()
    finance = Caller("months:read", "months:write")

    [books] = [one for one in finance.get(f"{MONTHS}/2026-08").json()["checklist"] if one["check"] == "books"]
    refused = finance.post(
        f"{MONTHS}/2026-08/sign-offs", {"check": "books", "digest": books["digest"], "reason": "known"}
    )

    assert books["state"] == "open" and books["instead_of_signing"].startswith("let manage.py verify name every row")
    assert (refused.status_code, fields_of(refused)) == (409, {"check": "never_signed_off"})
