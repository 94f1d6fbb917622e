"""Send a planned notice: written down, committed as being sent, handed to the mail server, recorded; at most once.

The invoices are read again right before. What a crash leaves between "sending" and "sent" stays so until somebody says what is known: it is never sent a second time by itself.
"""

import logging
from datetime import date, datetime, timedelta
from email.utils import formataddr

from django.conf import settings
from django.db import transaction

from billing_site.kernel.digest import digest_of
from billing_site.kernel.written_query import WrittenObjects
from dunning.arrangements.queries import hold_of, open_promises
from dunning.core.calendar import QUIET
from dunning.core.notice_kinds import NoticeKind, is_demanding
from dunning.core.notice_life import NoticeState
from dunning.core.wording import short_name
from dunning.notices.beside import with_charges, with_instalment
from dunning.notices.facts import Facts, facts_of
from dunning.notices.mailing import Handed, Lost, Refused, hand_over
from dunning.notices.models import MailEvent, MailEventKind, Notice
from dunning.notices.queries import block_of, language_for, words_for
from dunning.notices.rendering import render_mail
from dunning.notices.template_operations import install_built_ins
from dunning.notices.timing import day_to_name, quiet_until, step_of, superseded
from invoicing.core.languages import language_of
from invoicing.customers.portal_links import invoice_link_for
from invoicing.entities.models import LegalEntity
from invoicing.invoices.models import Invoice
from invoicing.payments.hosted_page import NO_PAGE, HostedPage, hosted_page
from invoicing.payments.patience import is_given_up, next_attempt_after
from invoicing.payments.remote import GatewayRefused, GatewayUnavailable

logger = logging.getLogger(__name__)

WHY_MAX = 500
# What asks for money and has done nothing yet: a hold or a promise makes an end of it.
ASKING = (
    NoticeKind.PAYMENT_FAILED,
    NoticeKind.ACTION_REQUIRED,
    NoticeKind.REMINDER,
    NoticeKind.WARNING,
    NoticeKind.FINAL_NOTICE,
    NoticeKind.COLLECTION_NOTICE,
    NoticeKind.PROMISE_BROKEN,
    NoticeKind.INSTALMENT_DUE,
)
# What has happened is told, whoever is about to pay.
TELLING_WHAT_WAS_DONE = (NoticeKind.RESTRICTED, NoticeKind.SUSPENDED, NoticeKind.CLOSED)
# A direct debit takes days.
ASK_WHILE_PAYING_AFTER = timedelta(hours=6)
PAYING_AT_STRIPE = "a payment of {number} is under way at Stripe: what became of it is waited for"
ASK_STRIPE_AGAIN_AFTER = timedelta(minutes=10)
PAID_AT_STRIPE = "Stripe says that {number} is paid: waiting for its payment to arrive here"


def send_notice(*, notice_id: int, at: datetime) -> Notice:
    """Bring a planned notice as far as it will go now, and return it as it is then.

    Ends as sent, as not needed or undeliverable with the reason, is planned again after a refusal, or stays `sending` where nobody knows. Does nothing to one
    that is not planned: another worker has it, or it is over.
    """
    planned = _NOTICE.get(notice=notice_id)
    if planned.state != NoticeState.PLANNED:
        return planned
    try:
        pages = _hosted_pages(planned)
    except GatewayUnavailable as silence:
        return _wait_for_stripe(notice_id, str(silence), at=at)
    # Durable: what is about to be sent is on record when we are killed.
    with transaction.atomic(durable=True):
        notice = _locked(notice_id)
        if notice.state != NoticeState.PLANNED or not _write_down(notice, pages=pages, at=at):
            return notice
    outcome = hand_over(notice=notice)
    with transaction.atomic(durable=True):
        return _record(notice_id, outcome, at=at)


def _hosted_pages(notice: Notice) -> dict[int, HostedPage]:
    """Return where the invoices can be paid at Stripe; what it refuses has the portal's page alone. Raises GatewayUnavailable: nobody knows then what is paid."""
    pages = {}
    for invoice in _invoices(notice) if is_demanding(NoticeKind(notice.kind)) else ():
        try:
            pages[invoice.pk] = hosted_page(invoice=invoice)
        except GatewayRefused as problem:
            logger.warning("notice %s goes without Stripe's page of %s: %s", notice.pk, invoice, problem)
    return pages


def _wait_for_stripe(notice_id: int, why: str, *, at: datetime) -> Notice:
    """Put a notice that asks for money off until Stripe answers: it may have been paid there. No attempt is counted, for none was made."""
    with transaction.atomic(durable=True):
        notice = _locked(notice_id)
        if notice.state == NoticeState.PLANNED:
            notice.why, notice.next_attempt_at = why[:WHY_MAX], at + ASK_STRIPE_AGAIN_AFTER
            notice.save(update_fields=["why", "next_attempt_at"])
    return notice


def _write_down(notice: Notice, *, pages: dict[int, HostedPage], at: datetime) -> bool:
    """Write the mail into the notice and call it `sending`; False where it is not sent now, and the notice says why."""
    kind = NoticeKind(notice.kind)
    invoices = _invoices(notice)
    facts = with_instalment(facts=facts_of(kind=kind, invoices=invoices), notice=notice)
    if facts.why_not:
        return _end(notice, NoticeState.NOT_NEEDED, facts.why_not, at=at)
    step = step_of(notice=notice)
    outdated = _arranged(notice, kind, at=at) or superseded(step=step)
    if outdated:
        return _end(notice, NoticeState.NOT_NEEDED, outdated, at=at)
    waits_until = quiet_until(notice=notice, at=at) if is_demanding(kind) else None
    if waits_until is not None:
        notice.why, notice.next_attempt_at = QUIET, waits_until
        notice.save(update_fields=["why", "next_attempt_at"])
        return False
    paying = [invoice for invoice in invoices if pages.get(invoice.pk, NO_PAGE).is_under_way]
    if paying and kind not in TELLING_WHAT_WAS_DONE:
        notice.why = PAYING_AT_STRIPE.format(number=paying[0].number)
        notice.next_attempt_at = at + ASK_WHILE_PAYING_AFTER
        notice.save(update_fields=["why", "next_attempt_at"])
        return False
    paid = [invoice for invoice in invoices if pages.get(invoice.pk, NO_PAGE).is_paid and invoice.amount_due.amount > 0]
    notice.attempt_count += 1
    if paid:
        return _put_off(notice, PAID_AT_STRIPE.format(number=paid[0].number), at=at)
    hindrance = _hindrance(notice)
    if hindrance:
        return _end(notice, NoticeState.UNDELIVERABLE, hindrance, at=at)
    acts_on = day_to_name(notice=notice, step=step, at=at)
    _fill(notice, kind=kind, facts=facts, acts_on=acts_on, link=_link(notice, facts, invoices, pages), at=at)
    notice.save()
    return True


def _arranged(notice: Notice, kind: NoticeKind, *, at: datetime) -> str:
    """Return what was arranged since dunning asked for money; "" where nothing was, or where it tells of what was done."""
    if kind not in ASKING:
        return ""
    hold = hold_of(customer_id=notice.customer_id, at=at)
    if hold is not None:
        return f"held before it was sent: {hold}"
    if kind is NoticeKind.INSTALMENT_DUE:
        # It tells of the promise itself: whether that is open still, its figures say (`beside.py`).
        return ""
    is_promised = open_promises().filter(case__customer=notice.customer_id).exists()
    return "the customer promised to pay before it was sent" if is_promised else ""


def _hindrance(notice: Notice) -> str:
    """Return why a notice cannot be sent to its customer; "" where it can."""
    if not notice.customer.email:
        return "the customer has no e-mail address"
    if not _sender(notice.customer.legal_entity):
        return f"{notice.customer.legal_entity} has no e-mail address to send from (nor is MAIL_FROM set)"
    block = block_of(address=notice.customer.email)
    if block is not None:
        return f"{notice.customer.email}: {block.event.get_kind_display().lower()} on {block.blocked_at:%Y-%m-%d}"
    return ""


def _fill(notice: Notice, *, kind: NoticeKind, facts: Facts, acts_on: date | None, link: str, at: datetime) -> None:
    customer, seller = notice.customer, notice.customer.legal_entity
    wanted = language_for(customer=customer)
    version = words_for(kind=kind, language=wanted)
    if version is None:
        install_built_ins(at=at)
        version = words_for(kind=kind, language=wanted)
    assert version is not None, "every kind has built-in words in English"
    facts = with_charges(facts=facts, notice=notice, words=version.words, at=at)
    mail = render_mail(
        kind=kind,
        words=version.words,
        language=language_of(code=version.template.language),
        facts=facts,
        customer_name=customer.name,
        seller=seller,
        acts_on=acts_on,
        link=link,
    )
    sender = _sender(seller)
    notice.template_version = version
    notice.from_address = formataddr((short_name(seller.name), sender))
    notice.reply_to = "" if seller.email in ("", sender) else seller.email
    notice.to_address = customer.email
    notice.subject, notice.text, notice.html, notice.told = mail.subject, mail.text, mail.html, facts.as_told()
    # The same for every attempt: should it be sent twice after all, mail programs show it once.
    notice.message_id = f"<notice-{digest_of({'reference': notice.reference})[:40]}@{sender.rpartition('@')[2]}>"
    notice.state, notice.sending_at, notice.why = NoticeState.SENDING.value, at, ""


def _link(notice: Notice, facts: Facts, invoices: list[Invoice], pages: dict[int, HostedPage]) -> str:
    """Return where to pay: Stripe's page of the one invoice, or the portal at that invoice, or at all of them."""
    numbers = [one.number for one in facts.invoices]
    [number] = numbers if len(numbers) == 1 else [""]
    if number:
        [invoice] = [one for one in invoices if one.number == number]
        hosted = pages.get(invoice.pk, NO_PAGE).url
        # Stripe asks for all of it, what the customer objects to and later instalments included.
        if hosted and facts.total == invoice.amount_unpaid and facts.instalment in (None, facts.total):
            return hosted
    return invoice_link_for(customer_key=notice.customer.key, number=number, days=settings.NOTICE_LINK_DAYS)


def _record(notice_id: int, outcome: Handed | Refused | Lost, *, at: datetime) -> Notice:
    notice = _locked(notice_id)
    if notice.state != NoticeState.SENDING:
        # Somebody has said meanwhile what is known.
        return notice
    if isinstance(outcome, Lost):
        logger.error("nobody knows whether notice %s was sent: %s", notice.pk, outcome.said)
        notice.why = outcome.said
        notice.save(update_fields=["why"])
        return notice
    if isinstance(outcome, Refused):
        _note_refusal(notice, outcome, at=at)
        if outcome.is_final:
            _end(notice, NoticeState.UNDELIVERABLE, outcome.said, at=at)
        else:
            _put_off(notice, outcome.said, at=at)
        return notice
    notice.state, notice.settled_at, notice.provider_id = NoticeState.SENT.value, at, outcome.provider_id
    notice.save(update_fields=["state", "settled_at", "provider_id"])
    return notice


def _note_refusal(notice: Notice, outcome: Refused, *, at: datetime) -> None:
    MailEvent.objects.create(
        notice=notice,
        kind=MailEventKind.REFUSED,
        address=notice.to_address.lower(),
        key=digest_of({"notice": notice.pk, "attempt": notice.attempt_count}),
        said=outcome.said,
        occurred_at=at,
    )


def _end(notice: Notice, state: NoticeState, why: str, *, at: datetime) -> bool:
    notice.state, notice.why, notice.settled_at = state.value, why[:WHY_MAX], at
    notice.save(update_fields=["state", "why", "settled_at", "attempt_count"])
    return False


def _put_off(notice: Notice, why: str, *, at: datetime) -> bool:
    """Plan the next attempt; after many somebody has to look at it."""
    if is_given_up(attempt_count=notice.attempt_count):
        return _end(notice, NoticeState.UNDELIVERABLE, why, at=at)
    notice.state, notice.why = NoticeState.PLANNED.value, why[:WHY_MAX]
    notice.next_attempt_at = next_attempt_after(attempt_count=notice.attempt_count, at=at)
    notice.save(update_fields=["state", "why", "next_attempt_at", "attempt_count"])
    return False


def _locked(notice_id: int) -> Notice:
    return _LOCKED.get(notice=notice_id)


def _invoices(notice: Notice) -> list[Invoice]:
    return _INVOICES.all(notice=notice.pk)


# Asked for each mail: written once.
_NOTICE = WrittenObjects(lambda notice: Notice.objects.filter(pk=notice), notice=int)
_LOCKED = WrittenObjects(
    lambda notice: (
        Notice.objects.select_for_update(of=("self",)).select_related("customer__legal_entity").filter(pk=notice)
    ),
    notice=int,
)
_INVOICES = WrittenObjects(
    lambda notice: Invoice.objects.filter(notices__notice=notice).order_by("due_date", "id"), notice=int
)


def _sender(seller: LegalEntity) -> str:
    """Return the address that mail is sent from: that of the house's mail provider, or the seller's own."""
    return settings.MAIL_FROM or seller.email
