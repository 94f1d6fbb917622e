"""What notices about spend say to staff."""

from billing_site.display.figures import quantity
from invoicing.spend.models import AtLimit, NoticeKind, SpendNotice, UsageAnomaly


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


def usual_text(anomaly: UsageAnomaly) -> str:
    """Say what would have been usual: 90 to 140 actions, in the middle 110 (20 days alike)."""
    low, high, middle = (
        quantity(round(figure, 0 if figure >= 10 else 2))
        for figure in (anomaly.usual_low, anomaly.usual_high, anomaly.usual)
    )
    spread = f"{low} to {high}" if low != high else low
    return f"usually {spread} a day, in the middle {middle} (of {anomaly.day_count} days alike)"
