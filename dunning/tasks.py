"""Background jobs of dunning: each reads the clock and makes one call; all may run twice, at once, or after a crash."""

from billing_site.kernel.clock import now
from billing_site.kernel.jobs import RegularJob
from dunning.arrangements.queries import why_not_charged
from dunning.handover import asking
from dunning.handover.operations import escalate, make_files
from dunning.notices import outbox, sending
from dunning.sweep import sweep_dunning
from invoicing.payments import charging

REGULAR_JOBS = (
    RegularJob(name="Chase what is overdue", task="dunning.tasks.chase", cron="*/5 * * * *"),
    RegularJob(name="Sweep notices", task="dunning.tasks.sweep_notices", cron="* * * * *"),
)


def chase() -> str:
    """Open, advance and close dunning cases, ask who is next, make the files of what is handed over; running twice does nothing twice."""
    at = now()
    report = sweep_dunning(at=at)
    # A file takes the longest: whoever is to be asked is asked before.
    return f"{report}, {escalate(at=at)} escalated, {make_files(at=at)} files"


def charge_again(attempt_id: int) -> str:
    """Charge an open invoice once more, unless something that was arranged since is against it."""
    at = now()
    attempt = charging.charge_again(
        attempt_id=attempt_id, at=at, against=lambda invoice: why_not_charged(invoice=invoice, at=at)
    )
    return attempt.status


def tell_owner(escalation_id: int) -> str:
    """Mail whoever of the house is asked about a case."""
    return asking.tell_owner(escalation_id=escalation_id, at=now())


def send_notice(notice_id: int) -> str:
    """Send one notice to its customer, or keep why not."""
    return sending.send_notice(notice_id=notice_id, at=now()).state


def sweep_notices() -> str:
    """Queue again the notices that a refusal, a crash or a lost job has left behind."""
    return f"{outbox.sweep_notices(at=now())} notices"
