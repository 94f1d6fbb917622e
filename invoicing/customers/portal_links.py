"""Links that open a customer's portal: signed, for a while, and where they are for a page, at that page."""

import re
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.core import signing
from django.urls import reverse

from billing_site.kernel.errors import NotFound

SALT = "portal link"


@dataclass(frozen=True)
class OpenedLink:
    """For whom a link was signed, and the path of the portal that it leads to."""

    customer_key: str
    path: str


def link_for(*, customer_key: str) -> str:
    """Return an absolute link that opens the portal of a customer for settings.PORTAL_LINK_MAX_AGE."""
    return _signed({"customer": customer_key})


def invoice_link_for(*, customer_key: str, number: str = "", days: int) -> str:
    """Return an absolute link that opens a customer's portal for so many days, at one invoice, or without a number at the list of all."""
    path = reverse("portal:invoice", args=[number]) if number else reverse("portal:invoices")
    return _signed({"customer": customer_key, "path": path, "days": str(days)})


def opened_link(*, token: str) -> OpenedLink:
    """Return what a link's token was signed for; raises NotFound if it is forged or too old."""
    signer = signing.TimestampSigner(salt=SALT)
    try:
        stated = signer.unsign_object(token)
        max_age = timedelta(days=int(stated["days"])) if "days" in stated else settings.PORTAL_LINK_MAX_AGE
        opened = signer.unsign_object(token, max_age=max_age)
    except signing.BadSignature:
        raise NotFound("this link is not valid any more") from None
    return OpenedLink(customer_key=str(opened["customer"]), path=str(opened.get("path", reverse("portal:home"))))


def without_entry(*, text: str) -> str:
    """Return a text whose links open nobody's portal: for readers who are not the customer to whom it was written."""
    enter = reverse("portal:enter", args=["-"]).removesuffix("-/")
    return re.sub(rf"{re.escape(enter)}[^\s/]+/", reverse("portal:home"), text)


def _signed(stated: dict[str, str]) -> str:
    token = signing.TimestampSigner(salt=SALT).sign_object(stated)
    return f"{settings.PUBLIC_URL}{reverse('portal:enter', args=[token])}"
