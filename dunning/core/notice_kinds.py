"""What customers are told about what they owe: the kinds of notices, and what each is about."""

from enum import StrEnum


class NoticeKind(StrEnum):
    """What a notice says."""

    PAYMENT_FAILED = "payment_failed"
    ACTION_REQUIRED = "action_required"
    REMINDER = "reminder"
    WARNING = "warning"
    RESTRICTED = "restricted"
    SUSPENDED = "suspended"
    FINAL_NOTICE = "final_notice"
    CLOSED = "closed"
    COLLECTION_NOTICE = "collection_notice"
    RESTORED = "restored"
    PROMISE_BROKEN = "promise_broken"
    INSTALMENT_DUE = "instalment_due"


KIND_WORDS = {
    NoticeKind.PAYMENT_FAILED: "Payment failed",
    NoticeKind.ACTION_REQUIRED: "Confirmation needed (3-D Secure)",
    NoticeKind.REMINDER: "Reminder",
    NoticeKind.WARNING: "Warning",
    NoticeKind.RESTRICTED: "Restricted",
    NoticeKind.SUSPENDED: "Suspended",
    NoticeKind.FINAL_NOTICE: "Final notice",
    NoticeKind.CLOSED: "Account closed",
    NoticeKind.COLLECTION_NOTICE: "Notice of collection",
    NoticeKind.RESTORED: "Restored",
    NoticeKind.PROMISE_BROKEN: "Promise not kept",
    NoticeKind.INSTALMENT_DUE: "Instalment due",
}
# These tell that everything is well again; every other asks for money, and is not sent where none is owed any more (S1-044).
GLAD = (NoticeKind.RESTORED,)
# Told although the house has given the debt up: it is owed all the same.
TOLD_WHEN_GIVEN_UP = (NoticeKind.CLOSED,)


def is_demanding(kind: NoticeKind) -> bool:
    """Say whether a notice asks for money."""
    return kind not in GLAD


def kind_within(kind: NoticeKind) -> str:
    """Return the words of a kind as they stand within a sentence."""
    words = KIND_WORDS[kind]
    return words[:1].lower() + words[1:]
