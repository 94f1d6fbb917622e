"""Who may see which customer's portal: a signed link (`invoicing/customers/portal_links.py`) opens a session for one customer."""

from django.conf import settings
from django.contrib.auth import SESSION_KEY as STAFF_SESSION_KEY
from django.http import HttpRequest

# The PDF of an invoice asks for the same name (invoicing.api.pdf).
SESSION_KEY = "portal_customer"


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
