"""What notices about spend say to staff."""

from invoicing.spend.models import AtLimit, NoticeKind, SpendNotice


def notice_text(notice: SpendNotice) -> str:
    """Say what a notice is about in one phrase."""
    if notice.kind == NoticeKind.PENDING:
        return "Charges will be invoiced soon"
    said = f"{notice.threshold} % of {notice.budget}"
    if notice.basis == "projected":
        return f"{said} expected by the forecast"
    return f"{said} reached" + (
        ", access refused" if notice.at_limit == AtLimit.STOP and (notice.threshold or 0) >= 100 else ""
    )
