"""Django's index of this app's models; each lives in its slice."""

from billing_site.kernel.history import guard_history
from dunning.arrangements.models import Hold, Instalment, Promise
from dunning.cases.models import CaseStep, DunningCase
from dunning.notices.models import BlockedAddress, MailEvent, Notice, NoticeDecision, NoticeInvoice
from dunning.notices.templates import NoticeTemplate, TemplateVersion
from dunning.policies.models import PolicyAssignment, PolicyVersion

__all__ = [
    "BlockedAddress",
    "CaseStep",
    "DunningCase",
    "Hold",
    "Instalment",
    "MailEvent",
    "Notice",
    "NoticeDecision",
    "NoticeInvoice",
    "NoticeTemplate",
    "PolicyAssignment",
    "PolicyVersion",
    "Promise",
    "TemplateVersion",
]

guard_history(TemplateVersion, DunningCase)
