"""Print invoices and credit notes: by a job soon after they are issued, or where somebody asks before."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from invoicing.credit_notes.document import credit_note_page
from invoicing.credit_notes.models import CreditNote
from invoicing.documents.models import RenderedDocument
from invoicing.documents.operations import keep_rendered, note_failure
from invoicing.documents.queries import credit_notes_to_render, invoices_to_render, rendered_of
from invoicing.e_invoices.credit_notes import stated_note
from invoicing.e_invoices.files import cii_file
from invoicing.e_invoices.statement import why_no_e_invoice
from invoicing.invoices.document import invoice_page
from invoicing.invoices.models import Invoice
from invoicing.invoices.printed_page import PrintedPage
from invoicing.payments.locks import only_worker
from invoicing.workflows.invoice_document import document_of

# So many documents are read at once.
BATCH = 100


@dataclass(frozen=True)
class Swept:
    """What one look at what is to be printed has done."""

    rendered: int = 0
    failed: int = 0


def page_of(*, document: Invoice | CreditNote) -> PrintedPage:
    """Return what is printed on an issued invoice, or on a credit note that is read with its lines."""
    if isinstance(document, Invoice):
        return invoice_page(document=document_of(invoice=document))
    why = why_no_e_invoice(invoice=document.invoice)
    stated = "" if why else cii_file(e_invoice=stated_note(note=document)).decode()
    return credit_note_page(note=document, e_invoice=stated)


def rendered_document(*, document: Invoice | CreditNote, at: datetime) -> RenderedDocument:
    """Return a document as it was printed; where it was not yet, or stands otherwise by now, it is printed here."""
    return rendered_of(document=document) or _render(document, at=at)


def sweep_documents(*, at: datetime, is_time_left: Callable[[], bool]) -> Swept:
    """Print what was issued and not printed yet, as long as there is time; what fails is noted, and tried again later.

    Issuing queues nothing and waits for nothing: what is to be printed is seen from what is issued. One worker at a time does it.
    """
    with only_worker("render documents") as alone:
        rendered = failed = 0
        for document in _waiting(at=at) if alone else ():
            if not is_time_left():
                break
            try:
                _render(document, at=at)
                rendered += 1
            except Exception as problem:
                # Whatever it is: one document stops no other, and is on a list until it is printed.
                note_failure(document=document, error=f"{type(problem).__name__}: {problem}", at=at)
                failed += 1
        return Swept(rendered, failed)


def _waiting(*, at: datetime) -> Iterator[Invoice | CreditNote]:
    """Yield what is to be printed, batch by batch: what is printed, or has failed, is in no later batch."""
    while True:
        batch: list[Invoice | CreditNote] = [*invoices_to_render(at=at)[:BATCH], *credit_notes_to_render(at=at)[:BATCH]]
        if not batch:
            return
        yield from batch


def _render(document: Invoice | CreditNote, *, at: datetime) -> RenderedDocument:
    page = page_of(document=document)
    return keep_rendered(document=document, etag=page.etag(), content=page.pdf(), e_invoice=page.e_invoice, at=at)
