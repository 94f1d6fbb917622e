"""Who may see which customer's portal: a signed link opens a session for one customer."""

from django.conf import settings
from django.core import signing
from django.http import HttpRequest

from billing_site.kernel.errors import NotFound

SALT = "portal link"
SESSION_KEY = "portal_customer"


def link_for(*, customer_key: str) -> str:
    """Return an absolute link that opens the portal of a customer for settings.PORTAL_LINK_MAX_AGE."""
    token = signing.TimestampSigner(salt=SALT).sign_object({"customer": customer_key})
    return f"{settings.PUBLIC_URL}/portal/enter/{token}/"


def customer_of_link(*, token: str) -> str:
    """Return the customer key that a link's token was signed for; raises NotFound if it is forged or too old."""
    try:
        opened = signing.TimestampSigner(salt=SALT).unsign_object(token, max_age=settings.PORTAL_LINK_MAX_AGE)
    except signing.BadSignature:
        raise NotFound("this link is not valid any more: ask for a new one") from None
    return str(opened["customer"])


def signed_in_customer(*, request: HttpRequest) -> str:
    """Return the customer key of the portal session, or "" where there is none."""
    return str(request.session.get(SESSION_KEY, ""))
