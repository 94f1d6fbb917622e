"""What may be asked about notices: the words in force, what waits for people, which addresses are not written to."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce

from billing_site.kernel.written_query import WrittenObjects
from dunning.core.calendar import QUIET
from dunning.core.notice_kinds import NoticeKind
from dunning.core.notice_life import NoticeState
from dunning.notices.models import BlockedAddress, Notice
from dunning.notices.templates import TemplateVersion, VersionState
from invoicing.core.languages import ENGLISH
from invoicing.customers.models import Customer

# A mail is handed over in seconds: what is said to be on its way for so long was left there by somebody who died.
SENDING_LASTS = timedelta(minutes=10)
# So long what is in the way of a mail may go away by itself.
WAITS_FOR = timedelta(days=1)


def language_for(*, customer: Customer) -> str:
    """Return the language in which a customer is written to: its own, or the house's."""
    return customer.language or settings.DOCUMENT_LANGUAGE


def version_in_force(*, kind: NoticeKind, language: str) -> TemplateVersion | None:
    """Return the newest approved words of a kind in a language, a house's own before those of the product; None where there are none."""
    return _IN_FORCE.first(kind=kind.value, language=language)


_IN_FORCE = WrittenObjects(
    lambda kind, language: (
        TemplateVersion.objects.filter(template__kind=kind, template__language=language, state=VersionState.APPROVED)
        .select_related("template")
        .order_by("is_built_in", "-number")[:1]
    ),
    kind=str,
    language=str,
)


def words_for(*, kind: NoticeKind, language: str) -> TemplateVersion | None:
    """Return the words in force in a language, otherwise those in English."""
    return version_in_force(kind=kind, language=language) or version_in_force(kind=kind, language=ENGLISH.code)


def versions_to_approve() -> QuerySet[TemplateVersion]:
    """Return the versions that wait for somebody to approve them, oldest first."""
    waiting = TemplateVersion.objects.filter(state=VersionState.ASKED).select_related("template")
    return waiting.order_by("asked_at", "id")


def maybe_sent(*, at: datetime) -> QuerySet[Notice]:
    """Return the notices of which nobody knows whether they were sent, oldest first."""
    lost = Q(sending_at__lte=at - SENDING_LASTS) | ~Q(why="")
    sending = Notice.objects.filter(lost, state=NoticeState.SENDING.value)
    return sending.select_related("customer").order_by("sending_at", "id")


def undelivered(*, at: datetime) -> QuerySet[Notice]:
    """Return the notices that wait for somebody, oldest first: not deliverable, or in vain for longer than a day, as where Stripe does not answer."""
    in_vain = Q(state=NoticeState.PLANNED.value, planned_at__lte=at - WAITS_FOR) & ~Q(why__in=("", QUIET))
    waiting = Notice.objects.filter(Q(state=NoticeState.UNDELIVERABLE.value) | in_vain)
    return waiting.select_related("customer").order_by(Coalesce("settled_at", "planned_at"), "id")


def blocked_addresses() -> QuerySet[BlockedAddress]:
    """Return the addresses that are not written to, longest first."""
    blocked = BlockedAddress.objects.filter(lifted_at__isnull=True).select_related("event")
    return blocked.order_by("blocked_at", "id")


def block_of(*, address: str) -> BlockedAddress | None:
    """Return why an address is not written to; None where it is."""
    return _BLOCK.first(address=address.lower())


_BLOCK = WrittenObjects(lambda address: blocked_addresses().filter(address=address)[:1], address=str)
