"""The life of a disputed card payment as one table: code, the database's trigger, the admin, the API and docs/dispute-life.md are made of it.

The statuses are Stripe's own words (docs.stripe.com/api/disputes/object): what we hold is a mirror. News may be lost or late, so that a dispute
is found further on than by one step: whatever can be reached step by step may be reached at once. What is closed stays.
"""

from dataclasses import dataclass
from enum import StrEnum


class DisputeStatus(StrEnum):
    """Where a dispute stands at Stripe; the first three are inquiries, which take no money."""

    WARNING_NEEDS_RESPONSE = "warning_needs_response"
    WARNING_UNDER_REVIEW = "warning_under_review"
    WARNING_CLOSED = "warning_closed"
    NEEDS_RESPONSE = "needs_response"
    UNDER_REVIEW = "under_review"
    WON = "won"
    LOST = "lost"
    PREVENTED = "prevented"


_WORDS = {
    DisputeStatus.WARNING_NEEDS_RESPONSE: "inquiry, needs an answer",
    DisputeStatus.WARNING_UNDER_REVIEW: "inquiry, being looked at",
    DisputeStatus.WARNING_CLOSED: "inquiry closed",
    DisputeStatus.NEEDS_RESPONSE: "needs an answer",
    DisputeStatus.UNDER_REVIEW: "being looked at",
    DisputeStatus.WON: "won",
    DisputeStatus.LOST: "lost",
    DisputeStatus.PREVENTED: "prevented",
}
CLOSED = (DisputeStatus.WARNING_CLOSED, DisputeStatus.WON, DisputeStatus.LOST, DisputeStatus.PREVENTED)
OPEN = tuple(status for status in DisputeStatus if status not in CLOSED)
# Somebody has to do something, or lets the day of evidence pass.
NEEDS_ANSWER = (DisputeStatus.NEEDS_RESPONSE, DisputeStatus.WARNING_NEEDS_RESPONSE)
# A chargeback that is open: the bank has the money back, and the customer's account is frozen (S0-047). An inquiry asks first.
FREEZES = (DisputeStatus.NEEDS_RESPONSE, DisputeStatus.UNDER_REVIEW)
# What counts against the payment: no more is claimed of it than was paid.
CLAIMS = (*OPEN, DisputeStatus.LOST)
# The bank has taken it back, or keeps it: it is not paid back a second time. During an inquiry a refund is the usual way out.
HELD_BACK = (*FREEZES, DisputeStatus.LOST)

# What banks say of a direct debit that they return, not of a card: nobody takes evidence, it is lost at once, and what it paid is owed again
# (docs.stripe.com/api/disputes/object, `reason`; support.stripe.com/questions/sepa-direct-debit-payment-disputes).
RETURNED_DEBITS = (
    "bank_cannot_process",
    "check_returned",
    "customer_initiated",
    "debit_not_authorized",
    "incorrect_account_details",
    "insufficient_funds",
)
RETURNED_DEBITS_IN_SQL = ", ".join(f"'{reason}'" for reason in RETURNED_DEBITS)


@dataclass(frozen=True)
class DisputeMove:
    """One step: from where to where, and when."""

    start: DisputeStatus
    to: DisputeStatus
    when: str


_ANSWERED = "evidence was sent at Stripe"
_ASKED_AGAIN = "the bank asks once more"
_ESCALATED = "the inquiry becomes a chargeback: the bank takes the money back"
_QUIET = "the inquiry ended without a chargeback"
_PREVENTED = "it was settled between the networks before it became a chargeback"
DISPUTE_MOVES = (
    DisputeMove(DisputeStatus.WARNING_NEEDS_RESPONSE, DisputeStatus.WARNING_UNDER_REVIEW, _ANSWERED),
    DisputeMove(DisputeStatus.WARNING_UNDER_REVIEW, DisputeStatus.WARNING_NEEDS_RESPONSE, _ASKED_AGAIN),
    DisputeMove(DisputeStatus.WARNING_NEEDS_RESPONSE, DisputeStatus.WARNING_CLOSED, _QUIET),
    DisputeMove(DisputeStatus.WARNING_UNDER_REVIEW, DisputeStatus.WARNING_CLOSED, _QUIET),
    DisputeMove(DisputeStatus.WARNING_NEEDS_RESPONSE, DisputeStatus.NEEDS_RESPONSE, _ESCALATED),
    DisputeMove(DisputeStatus.WARNING_UNDER_REVIEW, DisputeStatus.NEEDS_RESPONSE, _ESCALATED),
    DisputeMove(DisputeStatus.WARNING_NEEDS_RESPONSE, DisputeStatus.PREVENTED, _PREVENTED),
    DisputeMove(DisputeStatus.NEEDS_RESPONSE, DisputeStatus.UNDER_REVIEW, _ANSWERED),
    DisputeMove(DisputeStatus.UNDER_REVIEW, DisputeStatus.NEEDS_RESPONSE, _ASKED_AGAIN),
    DisputeMove(DisputeStatus.NEEDS_RESPONSE, DisputeStatus.PREVENTED, _PREVENTED),
    DisputeMove(DisputeStatus.NEEDS_RESPONSE, DisputeStatus.WON, "the bank or the cardholder takes it back"),
    DisputeMove(
        DisputeStatus.NEEDS_RESPONSE, DisputeStatus.LOST, "the loss was accepted, or the day of evidence passed"
    ),
    DisputeMove(DisputeStatus.UNDER_REVIEW, DisputeStatus.WON, "the bank decides for us: the money comes back"),
    DisputeMove(DisputeStatus.UNDER_REVIEW, DisputeStatus.LOST, "the bank decides for the cardholder"),
)


def _reached_from(start: DisputeStatus) -> frozenset[DisputeStatus]:
    found: set[DisputeStatus] = set()
    ahead = [start]
    while ahead:
        here = ahead.pop()
        for move in DISPUTE_MOVES:
            if move.start is here and move.to not in found:
                found.add(move.to)
                ahead.append(move.to)
    return frozenset(found - {start})


# From status to status, step by step or at once: what code and the trigger `follows_its_table` let happen.
STATUS_MOVES = frozenset((start, to) for start in DisputeStatus for to in _reached_from(start))
assert not any(start in CLOSED for start, _ in STATUS_MOVES), "what is closed stays"


def dispute_words(status: str) -> str:
    """Return a status as people read it."""
    return _WORDS[DisputeStatus(status)]


def dispute_moves_in_sql() -> str:
    """Return the moves between statuses as a list of pairs of SQL."""
    return ", ".join(f"('{start}', '{to}')" for start, to in sorted(STATUS_MOVES))


def listed_in_sql(statuses: tuple[DisputeStatus, ...]) -> str:
    """Return statuses as a list of SQL."""
    return ", ".join(f"'{status}'" for status in statuses)


def dispute_life_page() -> str:
    """Return the table as the page docs/dispute-life.md."""
    rows = [
        "| from | to | when |",
        "|---|---|---|",
        *(f"| {dispute_words(row.start)} | {dispute_words(row.to)} | {row.when} |" for row in DISPUTE_MOVES),
    ]
    facts = [
        "| status | Stripe's word | closed | the account is frozen | it counts against the payment | it may not be refunded |",
        "|---|---|---|---|---|---|",
        *(
            f"| {dispute_words(one)} | `{one}` | {_yes(one in CLOSED)} | {_yes(one in FREEZES)} | {_yes(one in CLAIMS)} | {_yes(one in HELD_BACK)} |"
            for one in DisputeStatus
        ),
    ]
    return "\n".join(
        [
            "# The life of a disputed payment",
            "",
            "Made of `invoicing/core/dispute_life.py` by `manage.py dispute_life`; a test compares. Any other move is refused, by the",
            "code and by the database (trigger `follows_its_table`). News may be lost: what can be reached step by step may be reached at once.",
            "",
            *facts,
            "",
            *rows,
            "",
        ]
    )


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "–"
