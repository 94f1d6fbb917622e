"""Background jobs of invoicing: each reads the clock and makes one call; all may run twice, at once, or after a crash."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from functools import wraps

from django.conf import settings

from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from billing_site.kernel.jobs import RegularJob, queue_later
from invoicing.customers.models import Customer
from invoicing.documents.operations import forget_rendered
from invoicing.evidence.anchors import anchor_of_day
from invoicing.evidence.chain import extend_chain
from invoicing.meter_reports.compare import compare_sums
from invoicing.meter_reports.plan import plan_reports
from invoicing.meter_reports.send import send_report, sweep_reports
from invoicing.payments import breaker, charging, intake, mirror, missed, probe, push, refunds, withdrawing
from invoicing.payments.remote import GatewayUnavailable, RailClosed
from invoicing.tax.vat_id_checks import check_vat_ids
from invoicing.workflows import alert_staff, follow_stripe, propose_run
from invoicing.workflows import ask_stripe_tax as stripe_tax
from invoicing.workflows import follow_dispute as disputes
from invoicing.workflows import follow_subscription as subscriptions
from invoicing.workflows.bill_progressively import sweep_progressive
from invoicing.workflows.expire_credits import expire_credits
from invoicing.workflows.explain_payouts import look_again
from invoicing.workflows.find_anomalies import sweep_anomalies
from invoicing.workflows.match_bank_lines import settle_certain_lines
from invoicing.workflows.match_payouts import settle_payout_lines
from invoicing.workflows.mirror_payouts import look_at_payouts as mirror_payouts
from invoicing.workflows.move_life_cycle import follow_customer, sweep_life_cycles
from invoicing.workflows.pay_refund import push_refund
from invoicing.workflows.rate_again import rate_again_at_night
from invoicing.workflows.recognise_revenue import recognise_due
from invoicing.workflows.render_documents import sweep_documents
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.settle_late_usage import settle_late_changes
from invoicing.workflows.top_up_automatically import sweep_top_ups
from invoicing.workflows.watch_spend import sweep_spend
from invoicing.workflows.what_if import continue_what_if
from metering.trees import forget_trees

# The next look at what is to be printed comes after a minute.
PRINTING = timedelta(seconds=45)
REGULAR_JOBS = (
    RegularJob(name="Sweep pushes, notices and refunds", task="invoicing.tasks.sweep_payments", cron="* * * * *"),
    RegularJob(name="Probe Stripe in an outage", task="invoicing.tasks.probe_stripe", cron="* * * * *"),
    RegularJob(name="Report usage to Stripe", task="invoicing.tasks.report_usage", cron="* * * * *"),
    RegularJob(name="Compare Stripe's meters", task="invoicing.tasks.compare_meters", cron="40 5 * * *"),
    RegularJob(name="Look at open invoices", task="invoicing.tasks.sweep_open_invoices", cron="20 4 * * *"),
    RegularJob(name="Fetch missed news of Stripe", task="invoicing.tasks.fetch_missed_news", cron="35 4 * * *"),
    RegularJob(
        name="Compare subscriptions with Stripe", task="invoicing.tasks.sync_subscription_states", cron="50 4 * * *"
    ),
    RegularJob(name="Look at disputes", task="invoicing.tasks.look_at_disputes", cron="12 * * * *"),
    RegularJob(name="Look at payouts", task="invoicing.tasks.look_at_payouts", cron="25 5 * * *"),
    RegularJob(name="Match bank lines", task="invoicing.tasks.match_bank_lines", cron="32 * * * *"),
    RegularJob(name="Bill what is due", task="invoicing.tasks.bill_what_is_due", cron="7 * * * *"),
    RegularJob(name="Follow the life of customers", task="invoicing.tasks.follow_life_cycles", cron="52 * * * *"),
    RegularJob(name="Expire credit", task="invoicing.tasks.expire_credit_that_is_over", cron="17 * * * *"),
    RegularJob(name="Check VAT ids", task="invoicing.tasks.check_vat_ids_with_their_register", cron="27 * * * *"),
    RegularJob(name="Ask Stripe Tax", task="invoicing.tasks.ask_stripe_tax", cron="2,22,42 * * * *"),
    RegularJob(name="Settle late usage", task="invoicing.tasks.settle_late_usage", cron="37 * * * *"),
    RegularJob(name="Watch spend", task="invoicing.tasks.watch_spend", cron="* * * * *"),
    RegularJob(name="Top credit up", task="invoicing.tasks.top_up_credit", cron="* * * * *"),
    RegularJob(name="Bill progressively", task="invoicing.tasks.bill_progressively", cron="* * * * *"),
    RegularJob(name="Find unusual usage", task="invoicing.tasks.find_anomalies", cron="47 * * * *"),
    RegularJob(name="Print documents", task="invoicing.tasks.print_documents", cron="* * * * *"),
    RegularJob(name="Forget old prints", task="invoicing.tasks.forget_prints", cron="45 3 * * *"),
    RegularJob(name="Recognise revenue", task="invoicing.tasks.recognise_revenue", cron="50 0 * * *"),
    RegularJob(name="Rate issued lines again", task="invoicing.tasks.rate_again", cron="10 2 * * *"),
    RegularJob(name="Take evidence", task="invoicing.tasks.take_evidence", cron="*/10 * * * *"),
    RegularJob(name="Anchor the chains", task="invoicing.tasks.anchor_chains", cron="35 0 * * *"),
)


def push_invoice(intent_id: int) -> str:
    """Push one issued invoice to Stripe, and before it one that goes before all others."""
    urgent = push.next_urgent_push(besides=intent_id)
    if urgent is not None:
        push.push_invoice(intent_id=urgent, at=now())
    return push.push_invoice(intent_id=intent_id, at=now()).status


def after_an_outage(job: Callable[..., str]) -> Callable[..., str]:
    """Let a job that meets an outage of Stripe come again, however long that lasts: the queue would give it up in the end."""

    @wraps(job)
    def waiting(*arguments: int | str) -> str:
        try:
            return job(*arguments)
        except RailClosed as closed:
            due_at = now() + timedelta(seconds=closed.retry_after_seconds or 60)
            queue_later(f"invoicing.tasks.{job.__name__}", *arguments, due_at=due_at)
            return "waits for the end of an outage"

    return waiting


def withdraw_invoice(intent_id: int) -> str:
    """Void at Stripe what was paid another way."""
    return withdrawing.withdraw_invoice(intent_id=intent_id, at=now()).status


def pay_refund(refund_id: int) -> str:
    """Let Stripe pay a refund back."""
    return push_refund(refund_id=refund_id, at=now()).status


def follow_notice(notice_id: int) -> str:
    """Act on one notice of Stripe's."""
    return follow_stripe.follow_notice(notice_id=notice_id, at=now()).outcome


@after_an_outage
def follow_invoice(intent_id: int) -> str:
    """Compare one pushed invoice with Stripe."""
    return follow_stripe.follow_invoice(intent_id=intent_id, at=now())


@after_an_outage
def follow_dispute(stripe_id: str) -> str:
    """Compare one disputed payment with Stripe."""
    return disputes.follow_dispute(stripe_id=stripe_id, at=now())


@after_an_outage
def look_at_subscription(link_id: int) -> str:
    """Compare one linked subscription with Stripe."""
    return subscriptions.look_at_subscription(link_id=link_id, at=now())


def sync_subscription_states() -> str:
    """Queue a comparison with Stripe for every subscription that is linked to one there."""
    return f"{subscriptions.sync_subscription_states(at=now())} subscriptions"


@after_an_outage
def fetch_missed_news() -> str:
    """Fetch the events of the last days that Stripe could not deliver; where it cannot be asked, tomorrow's look does."""
    try:
        return f"{missed.fetch_missed_news(at=now())} that never came"
    except GatewayUnavailable as silence:
        return f"none: {silence}"


def alert_of_mismatch(mismatch_id: int) -> str:
    """Mail staff that a subscription is otherwise at Stripe than here."""
    return alert_staff.alert_of_mismatch(mismatch_id=mismatch_id)


@after_an_outage
def close_dispute(dispute_id: int) -> str:
    """Tell Stripe that the loss of a disputed payment is accepted."""
    return disputes.close_dispute(dispute_id=dispute_id, at=now())


def alert_of_dispute(dispute_id: int) -> str:
    """Mail staff that a payment is disputed."""
    return alert_staff.alert_of_dispute(dispute_id=dispute_id)


def alert_of_outage(outage_id: int, is_over: bool) -> str:
    """Mail staff that Stripe is not called any more, or again."""
    return alert_staff.alert_of_outage(outage_id=outage_id, is_over=is_over)


def probe_stripe() -> str:
    """Find out whether Stripe answers again, if it is time for that."""
    return probe.probe_stripe(at=now())


@after_an_outage
def look_at_payouts() -> str:
    """Compare Stripe's payouts, and what they were made of, with the books; where it cannot be asked, tomorrow's look goes on from here."""
    try:
        return mirror_payouts(at=now())
    except GatewayUnavailable as silence:
        return f"none: {silence}"


def look_at_disputes() -> str:
    """Queue a comparison with Stripe for every dispute that is not over, and for those that nobody told of."""
    return f"{disputes.look_at_disputes(at=now())} disputes"


@after_an_outage
def mirror_object(object_kind: str, object_id: str, owner: str = "") -> str:
    """Store an object of Stripe's in dj-stripe's tables."""
    mirror.mirror(object_kind=object_kind, object_id=object_id, owner=owner)
    return "mirrored"


def sweep_payments() -> str:
    """Queue again what a failure or a crash has left behind; in an outage of Stripe it waits."""
    at = now()
    if breaker.outage_now() is not None:
        return "Stripe is not called for now"
    swept = (
        push.sweep_pushes(at=at),
        withdrawing.sweep_withdrawals(at=at),
        intake.sweep_notices(at=at),
        refunds.sweep_refunds(at=at),
        charging.sweep_charges(at=at),
    )
    return "{} pushes, {} withdrawals, {} notices, {} refunds, {} charges".format(*swept)


def report_usage() -> str:
    """Write down what Stripe's meters have to hear, and queue it; again what a failure or a crash has left behind."""
    at = now()
    planned = plan_reports(at=at)
    return f"{planned} reports planned, {sweep_reports(at=at)} queued again"


def send_meter_report(report_id: int) -> str:
    """Tell Stripe's meter of one row of the outbox."""
    return send_report(report_id=report_id, at=now()).status


def compare_meters() -> str:
    """Compare what Stripe's meters have counted of the last days with what is counted here."""
    return f"{compare_sums(at=now())} days differ"


def sweep_open_invoices() -> str:
    """Queue a comparison with Stripe for every invoice that is still open."""
    return f"{follow_stripe.sweep_open_invoices(at=now())} invoices"


def bill_what_is_due() -> str:
    """Draft the invoices of the periods that have ended; issue them too where BILLING_AUTO_ISSUE says so, and nobody has to sign runs."""
    at = now()
    issues = settings.BILLING_AUTO_ISSUE and not settings.BILLING_RUNS_NEED_APPROVAL
    report = (issue_billing if issues else draft_billing)(as_of=at, at=at)
    return f"{len(report.invoices)} invoices, {len(report.held)} held, {len(report.failures)} failures"


def expire_credit_that_is_over() -> str:
    """Let credit expire that has run out and can pay for no period any more."""
    return f"{expire_credits(at=now())} grants expired"


def show_proposed_run(proposal_id: int) -> str:
    """Make the figures of a proposed billing run."""
    return propose_run.show_run(proposal_id=proposal_id, at=now()).figures_digest


def issue_proposed_run(proposal_id: int) -> str:
    """Issue a billing run as it was signed, or keep why not."""
    proposal = propose_run.issue_proposed(proposal_id=proposal_id, at=now())
    return proposal.refusal or f"issued as {proposal.run}"


def settle_late_usage() -> str:
    """Apply the customers' terms to usage that came after its invoice."""
    report = settle_late_changes(at=now())
    asked = f"{report.asked} {'waits' if report.asked == 1 else 'wait'} for a decision"
    return f"{len(report.settled)} settled, {asked}, {len(report.failures)} failures"


def watch_spend() -> str:
    """Compare the spend of customers whose usage moved with their budgets."""
    report = sweep_spend(at=now())
    return f"{report.looked_at} customers, {len(report.notices)} notices, {len(report.failures)} failures"


def top_up_credit() -> str:
    """Sell credit to customers whose live balance is below what they agreed."""
    report = sweep_top_ups(at=now())
    return f"{report.looked_at} rules, {len(report.made)} top-ups, {len(report.failures)} failures"


def bill_progressively() -> str:
    """Invoice the usage of running periods that has reached what was agreed."""
    report = sweep_progressive(at=now())
    return f"{report.looked_at} thresholds, {len(report.made)} invoices, {len(report.failures)} failures"


def follow_life_cycles() -> str:
    """Record where trials, payments and ends of subscriptions have moved customers."""
    report = sweep_life_cycles(at=now())
    return f"{len(report.moves)} moves, {len(report.failures)} failures"


def follow_life_cycle(customer_id: int) -> str:
    """Record where a payment has moved a customer; what cannot be now is left to the hourly look at all of them."""
    try:
        return f"{len(follow_customer(customer_id=customer_id, at=now()))} moves"
    except BillingError as problem:
        return f"left to the next look: {problem.message}"


def find_anomalies() -> str:
    """Tell the days on which customers used unusually much or little."""
    return f"{len(sweep_anomalies(at=now()))} unusual days"


def compute_what_if(what_if_id: int) -> str:
    """Compute the next invoices of a what-if."""
    asked = continue_what_if(what_if_id=what_if_id, at=now())
    return f"{asked.done_count} of {asked.invoice_count} invoices"


def take_evidence() -> str:
    """Take the rows that were carved in stone since the last time into the chain of evidence."""
    return f"{extend_chain(at=now())} rows"


def recognise_revenue() -> str:
    """Book what was served by the end of a month of what was paid in advance."""
    return f"{recognise_due(at=now())} entries"


def rate_again() -> str:
    """Count and rate some issued lines again, and all large ones; and forget trees of events that no bill needs any more."""
    at = now()
    forget_trees(at=at)
    large = Decimal(settings.RERATING_LARGE_AMOUNT)
    run = rate_again_at_night(at=at, sample=settings.RERATING_SAMPLE, large_amount=large)
    return f"{run.sampled_count} drawn, {run.large_count} large, {run.different_count} different"


def anchor_chains() -> str:
    """Write down the head of the chains, once a day, and mail it."""
    anchor = anchor_of_day(at=now())
    return f"block {anchor.block_number}" if anchor else "nothing is carved yet"


def print_documents() -> str:
    """Print what was issued and not printed yet, for most of a minute."""
    at = now()
    swept = sweep_documents(at=at, is_time_left=lambda: now() < at + PRINTING)
    return f"{swept.rendered} printed, {swept.failed} failures"


def forget_prints() -> str:
    """Forget documents that were printed so long ago that nobody has to keep them."""
    return f"{forget_rendered(older_than_days=settings.DOCUMENT_RETENTION_DAYS, at=now())} documents forgotten"


def check_vat_ids_with_their_register() -> str:
    """Ask the register about VAT ids whose answer is missing or old."""
    checks = check_vat_ids(at=now())
    return f"{len(checks)} asked, {sum(not check.is_valid for check in checks)} not known"


def ask_stripe_tax() -> str:
    """Ask Stripe Tax what ended periods need and what is no longer fresh, where it decides."""
    return _told(stripe_tax.keep_answers_fresh(at=now()))


def ask_stripe_tax_about(customer_id: int) -> str:
    """Ask Stripe Tax about a customer whose tax data has changed."""
    return _told(stripe_tax.ask_about(customer=Customer.objects.get(pk=customer_id), at=now()))


def ask_stripe_tax_again(customer_id: int) -> str:
    """Ask Stripe Tax about a customer once more, because somebody wants it."""
    return _told(stripe_tax.ask_again(customer=Customer.objects.get(pk=customer_id), at=now()))


def _told(report: stripe_tax.AskingReport) -> str:
    return f"{report.told} told, {report.refused} refused{f'; {report.problem}' if report.problem else ''}"


def match_bank_file(file_id: int) -> str:
    """Settle the lines of an imported bank statement that are beyond doubt."""
    return _matched(file_id)


def match_bank_lines() -> str:
    """Settle what is beyond doubt of all lines that are open: their invoice may have come later, or a worker was killed."""
    return f"{_matched(None)}, {look_again(at=now())} transactions of Stripe explained"


def _matched(file_id: int | None) -> str:
    settled = settle_certain_lines(file_id=file_id, at=now())
    return f"{settled} settled, {settle_payout_lines(file_id=file_id, at=now())} payouts matched"
