"""The life of an invoice as one table: code, the database's triggers, the admin, the API and docs/invoice-life.md are made of it.

Five statuses are stored, because each is a deed that happens once and is told with who and why. The other stages are derived: whether a
draft is held or ready follows from its hold (`core/gate_states.py`), whether an issued invoice is part-paid from its amounts. A stored
word beside them could say something else than they do.
"""

from dataclasses import dataclass
from enum import StrEnum

from invoicing.core.gate_states import GATE_MOVES


class InvoiceStage(StrEnum):
    """Where an invoice stands in its life, as it is shown everywhere."""

    DRAFT = "draft"
    HELD = "held"
    READY = "ready"
    ISSUED = "issued"
    PART_PAID = "part_paid"
    PAID = "paid"
    WRITTEN_OFF = "written_off"
    VOID = "void"


# The status that is stored while an invoice is in a stage.
STATUS_OF = {
    InvoiceStage.DRAFT: "draft",
    InvoiceStage.HELD: "draft",
    InvoiceStage.READY: "draft",
    InvoiceStage.ISSUED: "issued",
    InvoiceStage.PART_PAID: "issued",
    InvoiceStage.PAID: "paid",
    InvoiceStage.WRITTEN_OFF: "written_off",
    InvoiceStage.VOID: "void",
}
# Issued and not void: what such an invoice charged is charged, whether or not the money came.
STANDING = ("issued", "paid", "written_off")
STANDING_IN_SQL = ", ".join(f"'{status}'" for status in STANDING)
# Money may still arrive for these: what was given up is owed all the same.
COLLECTABLE = ("issued", "written_off")


@dataclass(frozen=True)
class InvoiceMove:
    """One row: from where to where, when, and who drives it."""

    start: InvoiceStage
    to: InvoiceStage
    when: str
    drivers: tuple[str, ...]

    @property
    def statuses(self) -> tuple[str, str]:
        """The stored statuses before and after it; the same where only something derived changes."""
        return STATUS_OF[self.start], STATUS_OF[self.to]


_GIVEN_UP = "somebody gives up what is open of it, with a reason; from the limit of its currency on another approves"
_TAKEN_BACK = "a payment is taken back: the bank returned it, or it was recorded by mistake"
_OPEN_AGAIN = "the write-off is taken back: what is left of it is open again"
INVOICE_MOVES = (
    *(InvoiceMove(InvoiceStage(one.start), InvoiceStage(one.to), one.when, one.drivers) for one in GATE_MOVES),
    InvoiceMove(
        InvoiceStage.ISSUED,
        InvoiceStage.PART_PAID,
        "a payment or a credit note takes a part of what is open",
        ("payment", "credit note"),
    ),
    InvoiceMove(
        InvoiceStage.ISSUED, InvoiceStage.PAID, "payments and credit notes reach the total", ("payment", "credit note")
    ),
    InvoiceMove(
        InvoiceStage.PART_PAID,
        InvoiceStage.PAID,
        "payments and credit notes reach the total",
        ("payment", "credit note"),
    ),
    InvoiceMove(InvoiceStage.PAID, InvoiceStage.PART_PAID, _TAKEN_BACK, ("person",)),
    InvoiceMove(InvoiceStage.PAID, InvoiceStage.ISSUED, _TAKEN_BACK, ("person",)),
    InvoiceMove(InvoiceStage.PART_PAID, InvoiceStage.ISSUED, _TAKEN_BACK, ("person",)),
    InvoiceMove(
        InvoiceStage.ISSUED, InvoiceStage.VOID, "declared void while nothing of it is paid or credited", ("person",)
    ),
    InvoiceMove(InvoiceStage.ISSUED, InvoiceStage.WRITTEN_OFF, _GIVEN_UP, ("person",)),
    InvoiceMove(InvoiceStage.PART_PAID, InvoiceStage.WRITTEN_OFF, _GIVEN_UP, ("person",)),
    InvoiceMove(
        InvoiceStage.WRITTEN_OFF,
        InvoiceStage.PAID,
        "late payments or credit notes have recovered all that was given up",
        ("payment", "credit note"),
    ),
    InvoiceMove(InvoiceStage.WRITTEN_OFF, InvoiceStage.ISSUED, _OPEN_AGAIN, ("person",)),
    InvoiceMove(InvoiceStage.WRITTEN_OFF, InvoiceStage.PART_PAID, _OPEN_AGAIN, ("person",)),
)
# From status to status: what the code and the trigger `follows_its_lifecycle` let happen.
STATUS_MOVES = frozenset(one.statuses for one in INVOICE_MOVES if one.statuses[0] != one.statuses[1])


def stage_of(*, status: str, is_touched: bool, gate_state: str = "") -> InvoiceStage:
    """Return the stage of an invoice; `is_touched` says that something of it was paid or credited, `gate_state` what the gate says of a draft."""
    if status == "draft":
        return InvoiceStage(gate_state or status)
    return InvoiceStage.PART_PAID if status == "issued" and is_touched else InvoiceStage(status)


def status_moves_in_sql() -> str:
    """Return the moves between stored statuses as a list of pairs of SQL."""
    return ", ".join(f"('{start}', '{to}')" for start, to in sorted(STATUS_MOVES))


def stage_words(stage: str) -> str:
    """Return a stage as people read it."""
    return "part-paid" if stage == InvoiceStage.PART_PAID else stage.replace("_", " ")


def invoice_life_page() -> str:
    """Return the table as the page docs/invoice-life.md."""
    rows = [
        "| from | to | when | driven by | stored as |",
        "|---|---|---|---|---|",
        *(
            f"| {stage_words(row.start)} | {stage_words(row.to)} | {row.when} | {', '.join(row.drivers)} | {_stored(row)} |"
            for row in INVOICE_MOVES
        ),
    ]
    return "\n".join(
        [
            "# The life of an invoice",
            "",
            "Made of `invoicing/core/invoice_life.py` by `manage.py invoice_life`; a test compares. Any other move is refused, by the",
            "code and by the database (trigger `follows_its_lifecycle`). Held, ready and part-paid are derived and never stored.",
            "",
            *rows,
            "",
            "An invoice that is written off and paid in part stays written off, over less: each payment is a recovery of its amount. Overdue",
            "is no stage: it is said of what is issued or part-paid after its due date.",
            "",
        ]
    )


def _stored(row: InvoiceMove) -> str:
    start, to = row.statuses
    return "–" if start == to else f"`{start}` → `{to}`"
