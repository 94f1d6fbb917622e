"""A state is a word in a coloured pill: the same word, colour and mark everywhere, readable without colour."""

from datetime import date, datetime
from typing import Protocol

from django.utils.html import format_html
from django.utils.safestring import SafeString

GREY, BLUE, GREEN, RED, AMBER, STRUCK = "grey", "blue", "green", "red", "amber", "struck"

# The marks say the same as the colours, for print and for eyes that do not tell them apart.
MARKS = {GREY: "○", BLUE: "●", GREEN: "✓", RED: "!", AMBER: "◐", STRUCK: "×"}

TONES = {
    "draft": GREY,
    "held": AMBER,
    "ready": BLUE,
    "issued": BLUE,
    "part-paid": AMBER,
    "part-credited": AMBER,
    "credited in full": GREEN,
    "paid": GREEN,
    "overdue": RED,
    "void": STRUCK,
    "written off": STRUCK,
    "recovered": GREEN,
    "taken back": AMBER,
    "received": GREEN,
    "in transit": BLUE,
    "credited": AMBER,
    "pending": AMBER,
    "pushed": GREEN,
    "refused": RED,
    "waiting": AMBER,
    "processed": GREEN,
    "failed": RED,
    "done": GREEN,
    "running": GREEN,
    "planned": GREY,
    "trial": BLUE,
    "trialing": BLUE,
    "canceled": GREY,
    "incomplete expired": GREY,
    "agrees": GREEN,
    "contradicts": RED,
    "unlinked": GREY,
    "missing": RED,
    "incomplete": RED,
    "paused": AMBER,
    "ended": GREY,
    "published": BLUE,
    "active": GREEN,
    "past due": RED,
    "suspended": AMBER,
    "churned": GREY,
    "allowed": GREEN,
    "revoked": STRUCK,
    "equal": GREEN,
    "different": RED,
    "archived": AMBER,
    "purged": AMBER,
    "may go": BLUE,
    "balanced": GREEN,
    "unbalanced": RED,
    "ties": GREEN,
    "does not tie": RED,
    "ok": GREEN,
    "late": AMBER,
    "stopped": RED,
    "unknown": GREY,
    "applied": GREEN,
    "cancelled": STRUCK,
    "replaced": BLUE,
    "no meter": RED,
    "no value": RED,
    "before meter": AMBER,
    "filtered out": GREY,
    "kept": GREEN,
    "amended": BLUE,
    "enough": GREEN,
    "unpaid": RED,
    "capped": AMBER,
    "new": GREY,
    "frozen": RED,
    "unfrozen": BLUE,
    "disputed": RED,
    "accepted": AMBER,
    "needs an answer": RED,
    "being looked at": AMBER,
    "inquiry, needs an answer": AMBER,
    "inquiry, being looked at": BLUE,
    "inquiry closed": GREEN,
    "won": GREEN,
    "lost": STRUCK,
    "prevented": GREEN,
    "withdrawn": AMBER,
    "given back": GREEN,
    "fee": GREY,
    "called": GREEN,
    "out": RED,
    "not now": GREY,
    "given up": RED,
    "interrupted": AMBER,
    "sent again": BLUE,
    "fee given back": GREEN,
    "to look at": AMBER,
    "settled": GREEN,
    "follows": GREEN,
    "gap": RED,
    "first": GREY,
    "no balance": GREY,
    "explained": GREEN,
    "unexplained": RED,
    "open": BLUE,
    "exhausted": AMBER,
    "handed over": AMBER,
    "made": GREEN,
    "downloaded": AMBER,
    "superseded": GREY,
    "promised": BLUE,
    "broken": RED,
    "skipped": GREY,
    "waits": AMBER,
    "charged": BLUE,
    "waived": STRUCK,
    "sent": GREEN,
    "undeliverable": RED,
}


def pill(word: str, *, why: str = "", tone: str = "") -> SafeString:
    """Write a state as a pill; the tone follows from the word, `why` stands beside it."""
    shade = tone or TONES.get(word, GREY)
    mark = format_html(
        '<span class="bo-pill bo-pill-{}"><span aria-hidden="true">{}</span> {}</span>', shade, MARKS[shade], word
    )
    return format_html('{} <span class="bo-why">{}</span>', mark, why) if why else mark


class InvoiceShown(Protocol):
    """What of an invoice its word depends on; nobody has paid for what was `credited_alone`."""

    @property
    def stage(self) -> str:
        """Where it stands."""

    @property
    def due_date(self) -> date | None:
        """Until when it is to be paid."""

    @property
    def is_credited_alone(self) -> bool:
        """Whether credit notes alone took something off it."""


def state_of_invoice(invoice: InvoiceShown, *, at: datetime) -> str:
    """Return the word for an invoice: that of its stage, or "overdue" once it is issued, unpaid or part-paid, and past its due date; what nobody has paid for is credited."""
    stage = invoice.stage
    if stage in ("issued", "part_paid") and invoice.due_date is not None and invoice.due_date < at.date():
        return "overdue"
    if stage in ("paid", "part_paid") and invoice.is_credited_alone:
        return "credited in full" if stage == "paid" else "part-credited"
    return "part-paid" if stage == "part_paid" else stage.replace("_", " ")
