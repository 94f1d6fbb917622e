"""Who may see which customer's portal: a signed link opens a session for one customer."""

from django.conf import settings
from django.contrib.auth import SESSION_KEY as STAFF_SESSION_KEY
from django.core import signing
from django.http import HttpRequest
from django.urls import reverse

from billing_site.kernel.errors import NotFound

SALT = "portal link"
# The PDF of an invoice asks for the same name (invoicing.api.pdf).
SESSION_KEY = "portal_customer"


def link_for(*, customer_key: str) -> str:
    """Return an absolute link that opens the portal of a customer for settings.PORTAL_LINK_MAX_AGE."""
    token = signing.TimestampSigner(salt=SALT).sign_object({"customer": customer_key})
    return f"{settings.PUBLIC_URL}{reverse('portal:enter', args=[token])}"


def customer_of_link(*, token: str) -> str:
    """Return the customer key that a link's token was signed for; raises NotFound if it is forged or too old."""
    try:
        opened = signing.TimestampSigner(salt=SALT).unsign_object(token, max_age=settings.PORTAL_LINK_MAX_AGE)
    except signing.BadSignature:
        raise NotFound("this link is not valid any more") from None
    return str(opened["customer"])


def open_session(*, request: HttpRequest, customer_key: str) -> None:
    """Sign a customer in, under a new session key: one that somebody planted before opens nothing.

    The session ends as long after this moment as a link does after its making; that of staff who
    look at a customer's portal in the same browser keeps its own end.
    """
    request.session.cycle_key()
    request.session[SESSION_KEY] = customer_key
    if STAFF_SESSION_KEY not in request.session:
        request.session.set_expiry(settings.PORTAL_LINK_MAX_AGE)


def close_session(*, request: HttpRequest) -> None:
    """Sign the customer out; staff who are signed in beside stay so."""
    request.session.pop(SESSION_KEY, None)
    if STAFF_SESSION_KEY in request.session:
        request.session.cycle_key()
    else:
        request.session.flush()


def signed_in_customer(*, request: HttpRequest) -> str:
    """Return the customer key of the portal session, or "" where there is none."""
    return str(request.session.get(SESSION_KEY, ""))
