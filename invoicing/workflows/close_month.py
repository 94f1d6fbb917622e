"""Close a month: the checklist, signatures under what it found, and the close with its certificate."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import Conflict, InvalidInput
from billing_site.kernel.reasons import checked_reason
from invoicing.closing.models import CheckSignOff, ClosedReport, MonthClose
from invoicing.closing.queries import Month, close_in_force, next_to_close, sign_offs_of
from invoicing.evidence.chain import extend_chain
from invoicing.ledger.operations import lock_books
from invoicing.reports.report import Report
from invoicing.reports.tabular import report_as_csv
from invoicing.workflows.close_certificate import certificate_of, file_digest, month_reports
from invoicing.workflows.close_checks import CHECKS, Asked, Checked, check_to_sign_off, made
from invoicing.workflows.recognise_revenue import lock_recognition, recognise_month
from invoicing.workflows.verify import one_moment
from metering.rollup import roll_up

# How a check stands: nothing was found, what was holds no close back, somebody answers for it, nobody does.
CHECK_STATES = [(word, word.capitalize()) for word in ("green", "shown", "signed", "open")]


class NotReady(Conflict):
    """A month is closed once every check is green or signed off."""

    code = "not_ready"


@dataclass(frozen=True)
class CheckState:
    """A check with what it found, and who answers for that, where somebody does."""

    checked: Checked
    signed: CheckSignOff | None

    @property
    def state(self) -> str:
        """Return green, shown, signed or open."""
        if self.checked.is_green:
            return "green"
        if not self.checked.check.blocks:
            return "shown"
        return "signed" if self.signed else "open"


@dataclass(frozen=True)
class Checklist:
    """The checks of a month as they are now; `digest` is what somebody who closes it has seen."""

    month: Month
    checks: tuple[CheckState, ...]
    reports: tuple[Report, ...]

    @property
    def open_checks(self) -> list[CheckState]:
        """The checks that are neither green nor signed off."""
        return [one for one in self.checks if one.state == "open"]

    @property
    def digest(self) -> str:
        """The digest of everything that was found, and of who answers for it."""
        return digest_of(
            {
                "month": str(self.month),
                "checks": [
                    [one.checked.name, one.checked.digest, one.signed.pk if one.signed else None] for one in self.checks
                ],
            }
        )


def checklist_of(*, month: Month, at: datetime) -> Checklist:
    """Make every check of a month that is to be closed, all at one moment; writes nothing but usage windows."""
    roll_up()
    return _checked(month=month, at=at)


def _checked(*, month: Month, at: datetime) -> Checklist:
    with one_moment():
        reports = tuple(month_reports(month=month))
        asked = Asked(month=month, reports=reports, at=at)
        signed = {(one.check_name, one.digest): one for one in sign_offs_of(month=month)}
        states = []
        for check in CHECKS:
            checked = made(check=check, asked=asked)
            may_be_signed = check.can_be_signed_off and not checked.is_green
            by = signed.get((checked.name, checked.digest)) if may_be_signed else None
            states.append(CheckState(checked, by))
        return Checklist(month, tuple(states), reports)


def sign_off(*, month: Month, check: str, digest: str, at: datetime, actor: str, reason: str) -> Checklist:
    """Answer for what a check has found, as it was seen (`digest`), and return the checklist with the signature; a second time changes nothing.

    Raises InvalidInput at `check` or `reason`, Conflict where nobody can answer for what the check finds, or it has found something else by
    now, or nothing.
    """
    said = checked_reason(reason=reason)
    roll_up()
    with one_moment():
        refuse_unless_next(month=month)
        check_to_sign_off(name=check)
        checklist = _checked(month=month, at=at)
    [state] = [one for one in checklist.checks if one.checked.name == check]
    if state.checked.is_green or not state.checked.check.blocks:
        raise Conflict("it holds nothing back: there is nothing to sign off", field="check", code="outdated")
    if state.checked.digest != digest:
        raise Conflict(f"it is about something else by now: {state.checked.summary}", field="digest", code="outdated")
    if state.signed:
        return checklist
    try:
        with transaction.atomic():
            signature = CheckSignOff.objects.create(
                month=month.first_day,
                check_name=check,
                digest=digest,
                summary=state.checked.summary[:300],
                signed_at=at,
                actor=actor,
                reason=said,
            )
    except IntegrityError:
        raise Conflict("somebody else has just signed it off: look again", code="outdated") from None
    signed = CheckState(state.checked, signature)
    return replace(checklist, checks=tuple(signed if one is state else one for one in checklist.checks))


def close_month(*, month: Month, digest: str, at: datetime, actor: str, reason: str) -> MonthClose:
    """Close the next month, bound to the checklist that was seen; closed already with it, it is the close that exists.

    Who posts meanwhile has committed before the first check, or waits and is booked in the next month. Raises InvalidInput at `month` or
    `reason`, NotReady while a check is open, Conflict (code `outdated`) where a check has found something else by now.
    """
    said = checked_reason(reason=reason)
    # Before the books are locked: nobody waits for both.
    roll_up()
    with transaction.atomic():
        return _closed(month=month, digest=digest, at=at, actor=actor, reason=said)


def _closed(*, month: Month, digest: str, at: datetime, actor: str, reason: str) -> MonthClose:
    # In this order, as the night does: recognition, then the books.
    lock_recognition()
    lock_books()
    done = close_in_force(month=month)
    if done is not None and done.certificate["checklist_digest"] == digest:
        return done
    refuse_unless_next(month=month)
    if at < month.span.end:
        raise InvalidInput(f"is not over: it ends on {month.last_day}", field="month", code="too_early")
    recognise_month(month=month, at=at)
    checklist = _checked(month=month, at=at)
    if checklist.open_checks:
        titles = "; ".join(f"{one.checked.title}: {one.checked.summary}" for one in checklist.open_checks)
        raise NotReady(f"{len(checklist.open_checks)} checks are open: {titles}"[:1000], field="month")
    if checklist.digest != digest:
        raise Conflict("the checklist is another by now: look again", field="digest", code="outdated")
    extend_chain(at=at)
    certificate = certificate_of(
        month=month,
        at=at,
        actor=actor,
        reason=reason,
        reports=checklist.reports,
        checklist=_as_documents(checklist.checks),
        checklist_digest=digest,
    )
    close = MonthClose.objects.create(
        month=month.first_day,
        closed_at=at,
        actor=actor,
        reason=reason,
        certificate=certificate,
        digest=digest_of(certificate),
    )
    ClosedReport.objects.bulk_create(
        [
            ClosedReport(close=close, name=report.name, content=content, digest=file_digest(text=content))
            for report in checklist.reports
            for content in [report_as_csv(report=report)]
        ]
    )
    return close


def refuse_unless_next(*, month: Month) -> None:
    """Refuse a month that is not the next one to close; raises InvalidInput at `month`."""
    following = next_to_close()
    if following is None:
        raise InvalidInput("has nothing to close: the books are empty", field="month", code="not_next")
    if month != following:
        raise InvalidInput(f"is not the next one to close: that is {following}", field="month", code="not_next")


def _as_documents(checks: Sequence[CheckState]) -> list[dict[str, Any]]:
    return [
        {
            "check": one.checked.name,
            "title": one.checked.title,
            "state": one.state,
            "found": len(one.checked.found),
            "summary": one.checked.summary,
            "digest": one.checked.digest,
            **(
                {
                    "signed_by": one.signed.actor,
                    "signed_at": one.signed.signed_at.isoformat(timespec="seconds"),
                    "reason": one.signed.reason,
                }
                if one.signed
                else {}
            ),
        }
        for one in checks
    ]
