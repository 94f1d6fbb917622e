"""What a customer is told beside the pages: what is overdue, on every page, and the notices that were sent to it."""

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from moneyed import Money

from billing_site.kernel.errors import NotFound
from billing_site.kernel.money import total
from billing_site.portal.phrases import phrase
from dunning.arrangements.queries import open_promises, paid_for
from dunning.cases.arrears import debts_of, owed
from dunning.cases.models import DunningCase
from dunning.core.notice_life import NoticeState
from dunning.handover.operations import ENDED
from dunning.notices.facts import objected_of
from dunning.notices.models import Notice
from invoicing.core.life_cycle import State
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.payments.queries import is_payable_online
from invoicing.workflows.customer_standing import standing_now

NOTICES_PER_PAGE = 24


@dataclass(frozen=True)
class OverdueBar:
    """What should have been paid by now: what is overdue, and what a card was refused for before its day; `before` is the day of the next step, where a notice has told of one.

    What is objected to of these invoices, `objected`, is no part of the amount; `agreed` is what is still to come of promised instalments. `is_payable_online` says of the only one that Stripe has a page for it.
    `service` says what has become of the service until it is paid: "suspended" or "restricted"; "" where it goes on as usual, or has ended.
    """

    amount: Money
    invoices: tuple[Invoice, ...]
    overdue_count: int
    before: date | None
    objected: Money
    agreed: tuple[tuple[date, Money], ...] = ()
    is_payable_online: bool = False
    service: str = ""

    @property
    def only(self) -> Invoice | None:
        """The one invoice that is late; None where there are several."""
        return self.invoices[0] if len(self.invoices) == 1 else None

    @property
    def is_overdue(self) -> bool:
        """Say whether all of it is past its due date: else the charge of some, or of all, was refused before."""
        return self.overdue_count == len(self.invoices)


@dataclass(frozen=True)
class Letter:
    """A notice to be read in the portal: its button stands where the plain text has a link, which led here.

    `invoice` is the only one that it is about; None where there are several.
    """

    before: str
    button: str
    after: str
    invoice: Invoice | None


def letter_of(*, notice: Notice) -> Letter:
    """Return a notice as it is read here; one whose text has no link stays whole."""
    about = [row.invoice for row in notice.about.select_related("invoice")]
    invoice = about[0] if len(about) == 1 else None
    paragraphs = notice.text.strip().split("\n\n")
    for place, paragraph in enumerate(paragraphs):
        words, _, link = paragraph.partition(":\n")
        if link.startswith(("https://", "http://")):
            before, after = paragraphs[:place], paragraphs[place + 1 :]
            return Letter("\n\n".join(before), words, "\n\n".join(after), invoice)
    return Letter(notice.text, "", "", invoice)


def overdue_bar(*, customer: Customer, at: datetime) -> OverdueBar | None:
    """Return what a customer is late with; None where nothing is, and for an account that another pays for."""
    if customer.billed_to_id is not None:
        return None
    # What is late is what dunning calls so: what the customer objects to is not asked for until that is decided, nor what a debit is about to pay.
    late_with = debts_of(customers=[customer.pk], at=at).get(customer.pk, [])
    debts = {one.invoice_id: one for one in late_with if not one.is_under_way}
    if not debts:
        return None
    late = tuple(customer.invoices.filter(pk__in=debts).order_by("due_date", "id"))
    objected = objected_of(invoices=late)
    today = at.astimezone(ZoneInfo(customer.timezone)).date()
    told = sent_notices(customer=customer).filter(acts_on__gt=today, about__invoice__status=InvoiceStatus.ISSUED)
    newest = told.order_by("-settled_at", "-id").values_list("acts_on", flat=True).first()
    if newest is not None and DunningCase.objects.filter(customer=customer, state__in=ENDED).exists():
        # Its steps are over: people decide, on no day that anybody was told.
        newest = None
    online = len(late) == 1 and is_payable_online(invoice=late[0])
    agreed = _agreed(customer)
    return OverdueBar(
        amount=owed(debts.values(), currency=customer.currency),
        invoices=late,
        overdue_count=sum(one.is_overdue for one in debts.values()),
        before=newest,
        objected=total(objected.values(), customer.currency),
        agreed=agreed,
        is_payable_online=online,
        service=_service_of(customer, at),
    )


def _service_of(customer: Customer, at: datetime) -> str:
    standing = standing_now(customer_id=customer.pk, at=at)
    if standing.state is State.SUSPENDED:
        return "suspended"
    return "restricted" if standing.restricted_since is not None and standing.state is not State.CHURNED else ""


def _agreed(customer: Customer) -> tuple[tuple[date, Money], ...]:
    """Return the days and amounts that are still to come of what a customer has promised; nothing where nobody waits for it."""
    promise = open_promises().filter(case__customer=customer).select_related("case__customer").first()
    if promise is None:
        return ()
    nothing, left, found = Money(0, customer.currency), paid_for(promise=promise), []
    for one in promise.instalments.order_by("number"):
        to_come, left = max(one.amount - left, nothing), max(left - one.amount, nothing)
        if to_come.amount:
            found.append((one.due_date, to_come))
    return tuple(found)


def sent_notices(*, customer: Customer) -> QuerySet[Notice]:
    """Return what was sent to a customer, newest first."""
    return customer.notices.filter(state=NoticeState.SENT.value).order_by("-settled_at", "-id")


def notice_list(*, customer: Customer, page_number: str) -> "Page[Notice]":
    """Return a page of the notices that were sent; a number that is no page gives the nearest one."""
    return Paginator(sent_notices(customer=customer), NOTICES_PER_PAGE).get_page(page_number)


def notice_of(*, customer: Customer, number: int) -> Notice:
    """Return one of the notices that were sent to a customer; raises NotFound for any other."""
    found = sent_notices(customer=customer).filter(pk=number).first()
    if found is None:
        raise NotFound(phrase("there is no such notice"), field="notice")
    return found
