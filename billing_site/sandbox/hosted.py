"""The pages that Stripe would host, as plain forms: an invoice to be paid, and a card to be left. No card data, only the names of test cards."""

from dataclasses import dataclass, field

from django.db import transaction
from django.utils.html import escape

from billing_site.sandbox.stripe import checkout_sessions, collection, store
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.cards import CARDS
from billing_site.sandbox.stripe.errors import Declined, Refusal
from billing_site.sandbox.stripe.events import record_news
from billing_site.sandbox.stripe.forms import Params

# Which object each path shows.
PAGES = {"i": "invoice", "c": "checkout.session"}


@dataclass(frozen=True)
class Page:
    """What goes back to a browser; `location` sends it on."""

    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)


def is_page(path: str) -> bool:
    """Say whether a path is one of a page, which needs no key."""
    words = path.split("/")
    return len(words) > 2 and words[1] in PAGES


def page(*, method: str, path: str, card: str, base_url: str) -> Page:
    """Answer a browser: show an invoice or a checkout session, or do with a test card, by its token, what the page is for."""
    kind, object_id = PAGES[path.split("/")[1]], path.split("/")[2]
    if store.find(kind, object_id) is None:
        return Page(404, _document("Not found", "<p>The sandbox knows no such page.</p>"))
    told = ""
    if method == "POST":
        call = Call(Params({}), path, "req_page", None, base_url)
        location, told = _done(call, kind, object_id, card)
        if location:
            return Page(303, "", {"Location": location})
    return Page(200, _shown(kind, object_id, told))


def _done(call: Call, kind: str, object_id: str, card: str) -> tuple[str, str]:
    """Do it in one transaction with its events; returns where to go, or what to say."""
    try:
        with transaction.atomic():
            try:
                if kind == "checkout.session":
                    return checkout_sessions.complete(call, object_id, card=card), ""
                paying = Call(
                    Params({"payment_method": card}), call.path, call.request_id, None, call.base_url, call.news
                )
                collection.pay(paying, object_id)
            except Declined as declined:
                return "", str(declined)
            finally:
                record_news(call)
    except Refusal as refusal:
        return "", str(refusal)
    return "", "Thank you."


def _shown(kind: str, object_id: str, told: str) -> str:
    body = store.retrieve(kind, object_id)
    if kind == "invoice":
        due = f"{body['amount_remaining']} minor units of {body['currency'].upper()}"
        title, is_open = body["number"] or object_id, body["status"] in ("open", "uncollectible")
        about = f"Status: {escape(body['status'])}; still due: {escape(due)}."
    else:
        title, is_open = "Leave a card", body["status"] == "open"
        about = "Your card is kept for the invoices to come." if is_open else "A card was left here."
    buttons = "".join(
        f'<button name="card" value="{escape(card.token)}">{escape(card.number)}: {escape(_effect(card.code))}</button>'
        for card in CARDS
    )
    form = f'<form method="post">{buttons}</form>' if is_open else ""
    notice = f"<p role=status><strong>{escape(told)}</strong></p>" if told else ""
    return _document(title, f"{notice}<p>This is the sandbox, not Stripe. {about}</p>{form}")


def _effect(code: str) -> str:
    return code.replace("_", " ") if code else "succeeds"


def _document(title: str, body: str) -> str:
    style = (
        "body{font:16px system-ui;max-width:40rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
        "button{display:block;margin:.5rem 0;padding:.6rem 1rem;font:inherit}"
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(title)} (sandbox)</title><style>{style}</style><h1>{escape(title)}</h1>{body}</html>"
    )
