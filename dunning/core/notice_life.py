"""The life of a notice as one table: code and the database's trigger are made of it.

What is `sending` was, or will be in this moment, handed to the mail server. Whatever dies there leaves it so: nobody knows whether it was sent, and it is never sent a second
time by itself. Somebody says what is known, or that it shall be sent again.
"""

from enum import StrEnum


class NoticeState(StrEnum):
    """How far a notice is."""

    PLANNED = "planned"
    SENDING = "sending"
    SENT = "sent"
    NOT_NEEDED = "not_needed"
    UNDELIVERABLE = "undeliverable"


# What is over: such a notice is carved in stone.
OVER = (NoticeState.SENT, NoticeState.NOT_NEEDED)
NOTICE_MOVES = (
    # The job reads the invoices, writes the mail down and is about to hand it over.
    (NoticeState.PLANNED, NoticeState.SENDING),
    # Nothing is owed any more.
    (NoticeState.PLANNED, NoticeState.NOT_NEEDED),
    # There is no address, or it bounced.
    (NoticeState.PLANNED, NoticeState.UNDELIVERABLE),
    # The mail server took it, refused it for now (it is tried again), or for good.
    (NoticeState.SENDING, NoticeState.SENT),
    (NoticeState.SENDING, NoticeState.PLANNED),
    (NoticeState.SENDING, NoticeState.UNDELIVERABLE),
    # Somebody has mended what was in the way.
    (NoticeState.UNDELIVERABLE, NoticeState.PLANNED),
    # Somebody says that it shall not be sent any more.
    (NoticeState.UNDELIVERABLE, NoticeState.NOT_NEEDED),
    (NoticeState.SENDING, NoticeState.NOT_NEEDED),
)


def notice_moves_in_sql() -> str:
    """Return the moves as a list of pairs of SQL."""
    return ", ".join(f"('{start}', '{to}')" for start, to in NOTICE_MOVES)
