"""Django's index of this app's models; each lives in its slice."""

from billing_site.kernel.history import guard_history
from dunning.arrangements.models import Hold, Instalment, Promise
from dunning.cases.models import CaseStep, DunningCase
from dunning.handover.models import Escalation, HandOverDownload, HandOverFile
from dunning.notices.models import BlockedAddress, MailEvent, Notice, NoticeDecision, NoticeInvoice
from dunning.notices.templates import NoticeTemplate, TemplateVersion
from dunning.overdue.models import OverdueCharge, OverdueTerms
from dunning.policies.models import PolicyAssignment, PolicyVersion

__all__ = [
    "BlockedAddress",
    "CaseStep",
    "DunningCase",
    "Escalation",
    "HandOverDownload",
    "HandOverFile",
    "Hold",
    "Instalment",
    "MailEvent",
    "Notice",
    "NoticeDecision",
    "NoticeInvoice",
    "NoticeTemplate",
    "OverdueCharge",
    "OverdueTerms",
    "PolicyAssignment",
    "PolicyVersion",
    "Promise",
    "TemplateVersion",
]

guard_history(TemplateVersion, DunningCase)
