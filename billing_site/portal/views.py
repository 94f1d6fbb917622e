"""The portal's pages: each makes one query and shows it."""

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import translation
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from billing_site.display.downloads import bytes_file, document_file, lines_file, program_file
from billing_site.kernel import clock
from billing_site.kernel.errors import BillingError, Conflict, NotFound
from billing_site.portal.access import close_session, open_session, signed_in_customer
from billing_site.portal.forms import BudgetForm
from billing_site.portal.phrases import phrase
from billing_site.portal.queries.alerts import alerts_page
from billing_site.portal.queries.card import card_page
from billing_site.portal.queries.closed import closed_account
from billing_site.portal.queries.credit import credit_page
from billing_site.portal.queries.evidence import event_page
from billing_site.portal.queries.home import home_page
from billing_site.portal.queries.invoice_page import invoice_of, invoice_page
from billing_site.portal.queries.invoices import invoice_list, invoice_row
from billing_site.portal.queries.late_payment import late_payment
from billing_site.portal.queries.line_usage import line_usage_page
from billing_site.portal.queries.notices import letter_of, notice_list, notice_of, overdue_bar
from billing_site.portal.queries.parts import part_page, part_rows
from billing_site.portal.queries.paying import page_to_pay_on, refuse_if_objected
from billing_site.portal.queries.statement import statement_page
from dunning.notices.queries import language_for
from invoicing.checker import CHECKER
from invoicing.customers.models import Customer, SettlementChannel
from invoicing.customers.portal_links import opened_link
from invoicing.customers.queries import customer_by_key
from invoicing.entities.operations import first_entity
from invoicing.invoices.models import Invoice
from invoicing.payments.breaker import outage_now
from invoicing.payments.checkout import SESSION_ID
from invoicing.payments.hosted_page import hosted_page, page_kept
from invoicing.payments.hurry import somebody_waits
from invoicing.payments.outage import Outage
from invoicing.payments.queries import with_paid_back
from invoicing.payments.remote import CardDeclined, GatewayRefused, GatewayUnavailable, RailClosed
from invoicing.reports.tabular import CSV_TYPE
from invoicing.spend.models import SetBy
from invoicing.spend.operations import retire_budget
from invoicing.spend.queries import own_budget
from invoicing.workflows.customer_data import customer_data, last_statement
from invoicing.workflows.event_evidence import event_file, inclusion_document, proof_document
from invoicing.workflows.find_saving import find_saving
from invoicing.workflows.leave_card import begin_to_leave_card, follow_card
from invoicing.workflows.watch_spend import set_watched_budget

# The pages need nothing but our own stylesheet and icon: no script at all, and nobody may frame them.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

# A shorter outage is over before anybody has read of it.
OUTAGE_TOLD_AFTER = timedelta(minutes=5)
# The newest; each stands on its invoice's page too.
CREDIT_NOTES_SHOWN = 50


def _private(view: Callable[..., HttpResponseBase]) -> Any:
    """Keep a page out of every cache, and foreign code out of the page."""

    @wraps(view)
    def guarded(request: HttpRequest, **parts: str) -> HttpResponseBase:
        # Whose page it is is not known yet.
        with translation.override(settings.DOCUMENT_LANGUAGE):
            response = view(request, **parts)
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return response

    return never_cache(guarded)


def _for_customer(view: Callable[..., HttpResponseBase]) -> Any:
    """Call the view with the signed-in customer, or say that a link is needed; what is not theirs is not found."""

    @wraps(view)
    def guarded(request: HttpRequest, **parts: str) -> HttpResponseBase:
        try:
            customer = customer_by_key(key=signed_in_customer(request=request))
        except NotFound:
            return _page(request, "no_access.html", status=401)
        with translation.override(language_for(customer=customer)):
            try:
                return view(request, customer, **parts)
            except (NotFound, Conflict) as problem:
                told = {"customer": customer, "message": problem.message}
                if isinstance(problem, NotFound):
                    return _page(request, "not_found.html", told, status=404)
                return _page(request, "not_found.html", {**told, "heading": phrase("This is not possible")}, status=409)

    return _private(guarded)


@require_safe
@_private
def enter(request: HttpRequest, token: str) -> HttpResponse:
    """Open the session that a signed link stands for, and go where it leads."""
    try:
        opened = opened_link(token=token)
    except NotFound as problem:
        return _page(request, "no_access.html", {"message": problem.message}, status=404)
    open_session(request=request, customer_key=opened.customer_key)
    return redirect(opened.path)


@require_POST
@_private
def leave(request: HttpRequest) -> HttpResponse:
    """End the portal session."""
    close_session(request=request)
    return redirect("portal:left")


@require_safe
@_private
def left(request: HttpRequest) -> HttpResponse:
    """Say that the session has ended."""
    return _page(request, "left.html")


@require_safe
@_for_customer
def home(request: HttpRequest, customer: Customer) -> HttpResponse:
    """Show usage this period, what it will cost, and the newest invoices."""
    page, zone = home_page(customer=customer, at=clock.now()), ZoneInfo(customer.timezone)
    context = {"customer": customer, "page": page, "zone": zone, "here": "home"}
    return _page(request, "home.html", {**context, "closed": closed_account(customer=customer, at=clock.now())})


@require_safe
@_for_customer
def credit(request: HttpRequest, customer: Customer) -> HttpResponse:
    """Show what credit is left, what it may pay for, and what became of it."""
    page, zone = credit_page(customer=customer, at=clock.now()), ZoneInfo(customer.timezone)
    return _page(request, "credit_page.html", {"customer": customer, "page": page, "zone": zone, "here": "credit"})


@require_http_methods(["GET", "HEAD", "POST"])
@_for_customer
def alerts(request: HttpRequest, customer: Customer) -> HttpResponse:
    """Show what is watched, take a budget of the customer's own, or let go of one."""
    at, who = clock.now(), {"actor": f"customer {customer.key}", "reason": "in the portal"}
    if request.method == "POST" and "retire" in request.POST:
        retire_budget(budget=own_budget(customer=customer, key=request.POST["retire"]), at=at, **who)
        return redirect("portal:alerts")
    form = BudgetForm(request.POST if request.method == "POST" else None, customer=customer)
    if form.is_valid():
        try:
            set_watched_budget(customer=customer, set_by=SetBy.CUSTOMER.value, at=at, **form.cleaned_data, **who)
            return redirect("portal:alerts")
        except BillingError as problem:
            form.tell(problem)
    page, zone = alerts_page(customer=customer), ZoneInfo(customer.timezone)
    return _page(
        request, "alerts.html", {"customer": customer, "page": page, "form": form, "zone": zone, "here": "alerts"}
    )


@require_safe
@_for_customer
def saving(request: HttpRequest, customer: Customer) -> HttpResponse:
    """Say whether the last invoices would have come to less on another plan (S3-048)."""
    found = find_saving(customer=customer, at=clock.now())
    rows = [invoice_row(invoice=invoice, at=clock.now()) for invoice in found.invoices]
    return _page(request, "saving.html", {"customer": customer, "saving": found, "rows": rows, "here": "home"})


@require_safe
@_for_customer
def invoices(request: HttpRequest, customer: Customer) -> HttpResponse:
    """List all invoices, newest first, page by page; for an account what those of who pays charge for it."""
    if customer.billed_to_id is not None:
        parts = part_rows(account=customer)
        return _page(request, "parts.html", {"customer": customer, "parts": parts, "here": "invoices"})
    found = invoice_list(customer=customer, page_number=request.GET.get("page", "1"), at=clock.now())
    noted = with_paid_back(notes=customer.credit_notes.select_related("invoice"))
    notes = noted.order_by("-id")[:CREDIT_NOTES_SHOWN]
    context = {"customer": customer, "list": found, "notes": notes, "zone": ZoneInfo(customer.timezone)}
    return _page(request, "invoices.html", {**context, "here": "invoices"})


@require_safe
@_for_customer
def statement_of_a_year(request: HttpRequest, customer: Customer) -> HttpResponse:
    """Show what was charged and paid in a year, what is owed after each, and what is on account; an account owes nothing itself."""
    if customer.billed_to_id is not None:
        return redirect("portal:invoices")
    page = statement_page(customer=customer, at=clock.now())
    return _page(request, "statement.html", {"customer": customer, "page": page, "here": "invoices"})


@require_safe
@_for_customer
def invoice(request: HttpRequest, customer: Customer, number: str) -> HttpResponse:
    """Show one invoice: its lines down to the usage of each day, checked again, and what happened to it; an account sees its own lines."""
    if customer.billed_to_id is not None:
        part = part_page(account=customer, number=number, at=clock.now())
        return _page(request, "part.html", {"customer": customer, "page": part, "here": "invoices"})
    page = invoice_page(customer=customer, number=number, at=clock.now())
    late = late_payment(customer=customer, invoice=page.row.invoice, at=clock.now())
    return _page(request, "invoice.html", {"customer": customer, "page": page, "late": late, "here": "invoices"})


@require_safe
@_for_customer
def pay(request: HttpRequest, customer: Customer, number: str) -> HttpResponse:
    """Go on to Stripe's page of an invoice, where it is paid, or a payment confirmed that the bank asks about."""
    owed = invoice_of(customer=customer, number=number)
    refuse_if_objected(invoice=owed)
    try:
        with somebody_waits():
            hosted = hosted_page(invoice=owed)
    except (GatewayUnavailable, GatewayRefused) as problem:
        if kept := _page_instead(owed, problem):
            return redirect(kept)
        return _page(request, "no_stripe.html", {"customer": customer, "invoice": owed, "here": "invoices"}, status=503)
    return redirect(page_to_pay_on(invoice=owed, hosted=hosted))


def _page_instead(owed: Invoice, problem: BillingError) -> str:
    """Return where an invoice can be paid although Stripe did not answer us in time; "" where it is known to be out, or we were told not to use it."""
    if isinstance(problem, RailClosed) or not isinstance(problem, GatewayUnavailable):
        return ""
    return page_kept(invoice=owed, at=clock.now())


@require_safe
@_for_customer
def card(request: HttpRequest, customer: Customer) -> HttpResponse:
    """Show which card is charged; whoever comes back from Stripe's page sees the one that was left there."""
    told = ""
    if session := request.GET.get("session", "")[:255]:
        before = customer.payment_method
        try:
            with somebody_waits():
                follow_card(session=session, of_customer=customer.pk)
        except GatewayUnavailable:
            told = phrase("It takes a moment until your card is shown here.")
        except CardDeclined as declined:
            told = phrase("Your bank does not let us keep this card: {why}", why=declined.message)
        except GatewayRefused:
            told = ""
        customer.refresh_from_db()
        if customer.payment_method != before:
            told = phrase("Thank you. Your next invoices are charged to this card.")
    page = card_page(customer=customer)
    context = {"customer": customer, "card": page, "told": told, "here": "card"}
    return _page(request, "card.html", context)


@require_safe
@_for_customer
def leave_card(request: HttpRequest, customer: Customer) -> HttpResponse:
    """Go on to Stripe's page on which a card is left; it changes nothing before the customer does."""
    page = f"{settings.PUBLIC_URL.rstrip('/')}{reverse('portal:card')}"
    try:
        with somebody_waits():
            left_at = begin_to_leave_card(customer=customer, return_url=f"{page}?session={SESSION_ID}", cancel_url=page)
        return redirect(left_at)
    except (GatewayUnavailable, GatewayRefused):
        return _page(request, "no_stripe.html", {"customer": customer, "here": "card"}, status=503)


@require_safe
@_for_customer
def notices(request: HttpRequest, customer: Customer) -> HttpResponse:
    """List what was written to the customer about its invoices, newest first."""
    found, zone = notice_list(customer=customer, page_number=request.GET.get("page", "1")), ZoneInfo(customer.timezone)
    return _page(request, "notices.html", {"customer": customer, "list": found, "zone": zone, "here": "notices"})


@require_safe
@_for_customer
def notice(request: HttpRequest, customer: Customer, number: int) -> HttpResponse:
    """Show one notice as it was sent, its link as a button."""
    found, zone = notice_of(customer=customer, number=number), ZoneInfo(customer.timezone)
    told = {"customer": customer, "notice": found, "letter": letter_of(notice=found), "zone": zone, "here": "notices"}
    return _page(request, "notice.html", told)


@require_safe
@_for_customer
def data(request: HttpRequest, customer: Customer) -> HttpResponse:
    """Offer what a customer can take along."""
    return _page(request, "data.html", {"customer": customer, "here": "data"})


@require_safe
@_for_customer
def statement(request: HttpRequest, customer: Customer) -> HttpResponse:
    """Hand out the statement since the first invoice."""
    content = last_statement(customer=customer, at=clock.now()).encode()
    return bytes_file(content=content, content_type=CSV_TYPE, name="statement.csv")


@require_safe
@_for_customer
def export(request: HttpRequest, customer: Customer) -> HttpResponse:
    """Hand out all that is kept of the customer."""
    content = customer_data(customer=customer, at=clock.now())
    return bytes_file(content=content, content_type="application/zip", name="account.zip")


@require_safe
@_for_customer
def proof(request: HttpRequest, customer: Customer, number: str) -> HttpResponse:
    """Hand out what the checker reads of an invoice."""
    document = proof_document(invoice=invoice_of(customer=customer, number=number))
    return document_file(document=document, name=f"{number}-proof.json")


@require_safe
@_for_customer
def events(request: HttpRequest, customer: Customer, number: str) -> HttpResponseBase:
    """Hand out the events that an invoice counts."""
    lines = event_file(invoice=invoice_of(customer=customer, number=number))
    return lines_file(lines=lines, name=f"{number}-events.ndjson")


@require_safe
@_for_customer
def event(request: HttpRequest, customer: Customer, number: str) -> HttpResponse:
    """Show whether an invoice counts one event, and its way to the root."""
    page = event_page(customer=customer, number=number, key=request.GET.get("key", "")[:255])
    return _page(request, "event.html", {"customer": customer, **vars(page), "here": "invoices"})


@require_safe
@_for_customer
def line_usage(request: HttpRequest, customer: Customer, number: str, position: int) -> HttpResponse:
    """Show what was counted behind a line: in which hour, and event by event."""
    page = line_usage_page(customer=customer, number=number, position=position, after=request.GET.get("after", ""))
    return _page(request, "line_usage.html", {"customer": customer, "page": page, "here": "invoices"})


@require_safe
@_for_customer
def inclusion(request: HttpRequest, customer: Customer, number: str) -> HttpResponse:
    """Hand out the way of one event to the root, for the checker."""
    invoice = invoice_of(customer=customer, number=number)
    line, place = (_number(request.GET.get(name, "")) for name in ("line", "event"))
    document = inclusion_document(invoice=invoice, position=line, number=place)
    return document_file(document=document, name=f"{number}-inclusion.json")


@require_safe
@_for_customer
def checker(request: HttpRequest, customer: Customer) -> HttpResponse:
    """Hand out the checker itself."""
    return program_file(path=CHECKER)


def _number(text: str) -> int:
    """Return a number out of an address; 0, which no line and no event has, for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def _outage_told(customer: Customer) -> Outage | None:
    """Return the outage that is told to a customer who pays through Stripe: one by hand, or one that lasts for some minutes already."""
    if customer.settlement_channel != SettlementChannel.STRIPE or customer.billed_to_id is not None:
        return None
    outage = outage_now()
    if outage is None or (not outage.is_by_hand and outage.opened_at > clock.now() - OUTAGE_TOLD_AFTER):
        return None
    return outage


def _page(
    request: HttpRequest, template: str, context: dict[str, Any] | None = None, *, status: int = 200
) -> HttpResponse:
    told = context or {}
    # Whose page it is nobody knows before a link is opened: the house's first legal entity answers then.
    customer = told.get("customer")
    seller = customer.legal_entity if customer else first_entity()
    # Only who is signed in is told: to others nothing of it is of use.
    beside = (
        {
            "outage": _outage_told(customer),
            "zone": ZoneInfo(customer.timezone),
            "overdue": overdue_bar(customer=customer, at=clock.now()),
        }
        if customer
        else {}
    )
    return render(request, f"portal/{template}", {"seller": seller, **beside, **told}, status=status)
