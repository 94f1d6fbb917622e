"""What mail providers tell, by anymail's webhooks with their secret: bounces and complaints stop mail to an address until somebody lifts that."""

import json
from base64 import b64encode
from datetime import timedelta
from importlib import reload
from typing import Any

import pytest
from django.test import Client
from django.urls import clear_url_caches

import billing_site.urls
from billing_site.kernel.errors import Conflict, InvalidInput
from dunning.notices.decisions import lift_block, send_again
from dunning.notices.models import BlockedAddress, MailEvent
from dunning.notices.queries import block_of, blocked_addresses
from tests.dunning.notices.telling import NOW, an_open_invoice, planned, sent

pytestmark = pytest.mark.django_db
PATH = "/webhooks/mail/postmark/tracking/"


@pytest.fixture
def provider(settings: Any) -> Any:
    """A mail provider (Postmark) that knows the secret."""
    settings.MAIL_WEBHOOK_SECRET = "postmark:secret"
    settings.ANYMAIL = {"WEBHOOK_SECRET": "postmark:secret"}
    reload(billing_site.urls)
    clear_url_caches()
    yield Client(headers={"Authorization": f"Basic {b64encode(b'postmark:secret').decode()}"})
    settings.MAIL_WEBHOOK_SECRET = ""
    reload(billing_site.urls)
    clear_url_caches()


def tell(provider: Client, **members: Any) -> int:
    body = {
        "RecordType": "Bounce",
        "ID": 42,
        "Type": "HardBounce",
        "TypeCode": 1,
        "MessageID": "provider-1",
        "Email": "AP@acme.example",
        "BouncedAt": "2026-09-01T10:00:00Z",
        "Description": "The server was unable to deliver your message",
        "Details": "550 no such user",
        "Metadata": {},
        **members,
    }
    return provider.post(PATH, json.dumps(body), content_type="application/json").status_code


def test_a_hard_bounce_is_kept_once_and_the_address_is_not_written_to_any_more(provider: Client) -> None:
    invoice = an_open_invoice()
    first = sent(planned(invoice))

    assert [tell(provider, Metadata={"notice": str(first.pk)}) for _ in range(2)] == [200, 200]

    [event] = MailEvent.objects.all()
    assert (event.notice, event.kind, event.address) == (first, "bounce", "ap@acme.example")
    assert "550 no such user" in event.said
    second = sent(planned(invoice, reference="case 1, step 2"))
    assert second.state == "undeliverable"
    assert second.why == "ap@acme.example: bounced on 2026-09-01"


@pytest.mark.parametrize(
    ("members", "kind", "is_blocked"),
    [
        ({"Type": "SoftBounce", "TypeCode": 4096}, "soft_bounce", False),
        ({"RecordType": "SpamComplaint", "Type": "SpamComplaint", "TypeCode": 512}, "complaint", True),
        (
            {"RecordType": "Delivery", "Recipient": "ap@acme.example", "DeliveredAt": "2026-09-01T10:00:00Z"},
            "delivered",
            False,
        ),
    ],
)
def test_what_a_provider_tells_stands_beside_the_notice(
    provider: Client, members: dict[str, Any], kind: str, is_blocked: bool
) -> None:
    notice = sent(planned(an_open_invoice()))

    assert tell(provider, Metadata={"notice": str(notice.pk)}, **members) == 200

    assert [event.kind for event in notice.events.all()] == [kind]
    assert (block_of(address="ap@acme.example") is not None) == is_blocked


def test_who_does_not_know_the_secret_tells_nothing(provider: Client) -> None:
    assert tell(Client()) == 400
    assert tell(Client(headers={"Authorization": f"Basic {b64encode(b'postmark:wrong').decode()}"})) == 400

    assert not MailEvent.objects.exists()


def test_without_a_secret_there_is_no_such_address() -> None:
    assert tell(Client()) == 404


def test_of_a_mail_that_is_none_of_our_notices_the_address_is_blocked_all_the_same(provider: Client) -> None:
    notice = sent(planned(an_open_invoice()))

    tell(provider, Email="other@example.com", Metadata={"notice": str(notice.pk)})

    [event] = MailEvent.objects.all()
    assert event.notice is None
    assert [block.address for block in blocked_addresses()] == ["other@example.com"]


def test_somebody_lifts_it_with_a_reason_and_an_old_bounce_told_again_blocks_nothing(provider: Client) -> None:
    invoice = an_open_invoice()
    tell(provider)
    block = BlockedAddress.objects.get()
    notice = sent(planned(invoice))

    with pytest.raises(InvalidInput):
        lift_block(block_id=block.pk, at=NOW, actor="fiona", reason="")
    lift_block(block_id=block.pk, at=NOW + timedelta(days=1), actor="fiona", reason="their mailbox works again")
    tell(provider)

    assert block_of(address="ap@acme.example") is None
    send_again(notice_id=notice.pk, at=NOW, actor="fiona", reason="their mailbox works again")
    assert sent(notice).state == "sent"
    with pytest.raises(Conflict):
        lift_block(block_id=block.pk, at=NOW, actor="fiona", reason="once more")
