"""Django's index of this app's models; each lives in its slice."""

from billing_site.kernel.history import guard_history
from dunning.notices.models import BlockedAddress, MailEvent, Notice, NoticeDecision, NoticeInvoice
from dunning.notices.templates import NoticeTemplate, TemplateVersion

__all__ = [
    "BlockedAddress",
    "MailEvent",
    "Notice",
    "NoticeDecision",
    "NoticeInvoice",
    "NoticeTemplate",
    "TemplateVersion",
]

guard_history(TemplateVersion)
