"""Documents are printed by a job soon after they are issued, or where somebody asks before, and kept as they were printed."""

import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pypdf import PdfReader

from billing_site.backoffice.document_queue import document_queue
from invoicing.credit_notes.queries import credit_note_by_number
from invoicing.documents.models import RenderedDocument, RenderingFailure
from invoicing.documents.operations import forget_rendered
from invoicing.documents.queries import invoices_to_render
from invoicing.entities.logo import SellerLogo
from invoicing.entities.operations import change_entity, first_entity
from invoicing.invoices import printing
from invoicing.invoices.models import Invoice
from invoicing.workflows.render_documents import Swept, page_of, rendered_document, sweep_documents
from invoicing.workflows.verify import verify
from tests.billing_site.api.caller import Caller
from tests.factories import AUGUST, settle_constraints
from tests.invoicing.crediting import credited, of_line
from tests.invoicing.late import BILLED_AT, a_billed_july
from tests.invoicing.selling import paid
from tests.invoicing.test_attack_guards import run_sql
from tests.invoicing.test_invoice_document import a_logo

pytestmark = pytest.mark.django_db

SOON = BILLED_AT + timedelta(minutes=1)


@pytest.fixture
def july() -> Invoice:
    return a_billed_july()


def sweep(at: Any = SOON) -> Swept:
    return sweep_documents(at=at, is_time_left=lambda: True)


def address(number: str | None, kind: str = "invoices") -> str:
    return f"/billing/{kind}/{number}/pdf"


def test_the_job_prints_what_was_issued_once_and_whoever_asks_gets_those_bytes_without_a_line_being_read(
    july: Invoice,
) -> None:
    note = credited(july, of_line(1, amount="5"), at=BILLED_AT)

    assert (sweep(), sweep()) == (Swept(2), Swept())

    with CaptureQueriesContext(connection) as asked:
        answer = Caller().get(address(july.number))
    same = Caller().get(address(july.number), If_None_Match=answer.headers["ETag"])
    assert answer.content == bytes(RenderedDocument.objects.get(invoice=july).content)
    assert (answer.headers["ETag"], same.status_code) == (f'"{RenderedDocument.objects.get(invoice=july).etag}"', 304)
    assert not any("invoicing_invoiceline" in query["sql"] for query in asked.captured_queries)
    assert Caller().get(address(note.number, "credit-notes")).content == bytes(
        RenderedDocument.objects.get(credit_note=note).content
    )
    assert RenderedDocument.objects.count() == 2


def test_what_is_kept_is_what_printing_again_gives_and_verify_says_so(july: Invoice) -> None:
    note = credited(july, of_line(1, amount="5"))
    documents = [Invoice.objects.select_related("customer").get(pk=july.pk), credit_note_by_number(number=note.number)]

    for document in documents:
        row = rendered_document(document=document, at=SOON)
        assert bytes(row.content) == page_of(document=document).pdf() and row.etag == page_of(document=document).etag()

    assert verify() == []
    settle_constraints()
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE invoicing_rendereddocument SET content = '%PDF', digest = encode(sha256('%PDF'), 'hex')")
        cursor.execute("SET session_replication_role = origin")
    assert {finding.check for finding in verify()} == {"documents print again"}


def test_asking_before_the_job_has_run_prints_in_place_and_a_payment_gives_another_print(july: Invoice) -> None:
    first = Caller().get(address(july.number))
    assert first.status_code == 200 and sweep() == Swept()
    paid(july)

    second = Caller().get(address(july.number))

    assert second.content != first.content and second.headers["ETag"] != first.headers["ETag"]
    assert sorted(RenderedDocument.objects.values_list("standing", flat=True)) == ["issued 0 0", "paid 30 0"]


def test_what_cannot_be_printed_is_listed_and_tried_again_and_stops_neither_issue_nor_others(
    july: Invoice, monkeypatch: Any, admin_client: Client
) -> None:
    note = credited(july, of_line(1, amount="5"))
    working, at = printing._compile, AUGUST + timedelta(days=11)

    def broken(content: dict[str, Any], logo: bytes, template: Path) -> bytes:
        if content["number"] == july.number:
            raise ValueError("no such font")
        return working(content, logo, template)

    monkeypatch.setattr(printing, "_compile", broken)
    # The invoice is too old to be looked for, the note is not: it is the one that is printed.
    assert sweep(at) == Swept(1)
    monkeypatch.setattr("invoicing.documents.queries.WAITS_FOR", timedelta(days=30))
    assert sweep(at) == Swept(0, 1)
    assert sweep(at + timedelta(seconds=9)) == Swept()
    assert sweep(at + timedelta(seconds=10)) == Swept(0, 1)
    failure = RenderingFailure.objects.get()
    assert (failure.invoice, failure.attempt_count, failure.last_error) == (july, 2, "ValueError: no such font")
    assert (document_queue().count, document_queue().why) == (1, "ValueError: no such font")
    listed = admin_client.get(document_queue().link).content.decode()
    assert "ValueError: no such font" in listed and str(july.number) in listed

    monkeypatch.setattr(printing, "_compile", working)
    assert sweep(at + timedelta(hours=1)) == Swept(1)
    assert not RenderingFailure.objects.exists() and RenderedDocument.objects.filter(credit_note=note).exists()


def test_a_sweep_ends_when_its_time_is_over_and_what_is_old_is_printed_where_somebody_asks(july: Invoice) -> None:
    assert sweep_documents(at=SOON, is_time_left=lambda: False) == Swept()
    assert list(invoices_to_render(at=SOON)) == [july]
    assert list(invoices_to_render(at=SOON + timedelta(days=8))) == []


def test_a_print_never_changes_has_the_digest_of_its_bytes_and_is_forgotten_after_its_time(july: Invoice) -> None:
    row = rendered_document(document=july, at=SOON)

    for column in ("content", "etag", "e_invoice"):
        value = "'\\x00'" if column == "content" else "'x'"
        with pytest.raises(DatabaseError, match="cannot be changed"), transaction.atomic():
            run_sql(f"UPDATE invoicing_rendereddocument SET {column} = {value}")
    with pytest.raises(IntegrityError, match="has_its_digest"), transaction.atomic():
        RenderedDocument.objects.create(
            invoice=july, standing="x", etag="", digest="0" * 64, content=b"x", rendered_at=SOON
        )
    before = bytes(row.content)
    assert forget_rendered(older_than_days=10, at=SOON + timedelta(days=10)) == 0
    assert forget_rendered(older_than_days=10, at=SOON + timedelta(days=11)) == 1
    assert bytes(rendered_document(document=july, at=SOON).content) == before


def test_what_is_issued_keeps_the_logo_that_it_was_issued_with_and_its_bytes(settings: Any, tmp_path: Path) -> None:
    logo = tmp_path / "logo.png"
    logo.write_bytes(a_logo())
    settings.SELLER_LOGO = str(logo)
    july = a_billed_july()
    printed = page_of(document=july).pdf()

    change_entity(entity=first_entity(), changes={"logo": b""}, actor="test", reason="a new look")

    assert SellerLogo.objects.get().digest == july.seller["logo"]
    again = Invoice.objects.select_related("customer").get(pk=july.pk)
    assert page_of(document=again).pdf() == printed
    assert len(PdfReader(io.BytesIO(printed)).pages[0].images) == 1
    assert verify() == []
    note = credited(july, of_line(1, amount="5"))
    with_logo = page_of(document=credit_note_by_number(number=note.number)).pdf()
    assert len(PdfReader(io.BytesIO(with_logo)).pages[0].images) == 1


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read: No such file"),
        (b"GIF89a", "is no PNG or JPEG file"),
        (a_logo() + b"\0" * 65_536, "at most 65536 are printed"),
        (a_logo()[:30], "cannot be drawn"),
    ],
    ids=["missing", "another format", "too large", "broken"],
)
def test_a_file_that_cannot_be_a_logo_is_refused_before_anything_starts(
    content: bytes | None, complaint: str, settings: Any, tmp_path: Path
) -> None:
    settings.SELLER_LOGO = str(tmp_path / "logo.png")
    if content is not None:
        Path(settings.SELLER_LOGO).write_bytes(content)

    [problem] = [found for found in run_checks() if found.id == "billing.E019"]

    assert complaint in problem.msg
    with pytest.raises(ImproperlyConfigured, match=complaint):
        first_entity()
