"""Who does what: the groups of staff and the processes that they share, as one table for their permissions, docs/roles.md and tests.

Of each process somebody is responsible (may do its deeds), somebody accountable (approves what is asked for in it, never their own); who is consulted or
informed sees what it is about. Deeds are codenames of permissions with their app, `seconded` those of who is accountable beside approvals; `edited` says that whoever is responsible also keeps
customers, contracts, catalog and tax data.
"""

from dataclasses import dataclass
from enum import StrEnum

from invoicing.approvals.models import ApprovedDeed


class Role(StrEnum):
    """A group of staff."""

    FINANCE = "Finance"
    APPROVERS = "Approvers"
    PLATFORM = "Platform"
    SRE = "SRE"
    BACKEND = "Backend"
    LEGAL = "Legal"
    SECURITY = "Security"
    SUPPORT = "Support"
    AUDITORS = "Auditors"


@dataclass(frozen=True)
class Process:
    """Something that is done together, and who takes which part in it; `seen` are the apps whose rows all of them see."""

    name: str
    requirement: str
    what: str
    responsible: Role
    accountable: Role
    consulted: tuple[Role, ...]
    informed: tuple[Role, ...]
    deeds: tuple[str, ...]
    approved: tuple[ApprovedDeed, ...]
    seen: tuple[str, ...]
    edited: bool = False
    seconded: tuple[str, ...] = ()

    @property
    def roles(self) -> tuple[Role, ...]:
        """Everybody who sees what it is about."""
        return (self.responsible, self.accountable, *self.consulted, *self.informed)


BUSINESS = ("invoicing", "metering", "dunning", "marketplaces")
# What moves money, or decides what is charged.
MONEY_DEEDS = (
    "invoicing.move_customer",
    "invoicing.issue_invoice",
    "invoicing.edit_draft",
    "invoicing.release_invoicehold",
    "invoicing.set_gatesetting",
    "invoicing.record_transfer",
    "invoicing.issue_creditnote",
    "invoicing.write_off_invoice",
    "invoicing.record_refund",
    "invoicing.settle_dispute",
    "invoicing.retry_push",
    "invoicing.report_usage",
    "invoicing.stop_stripe",
    "invoicing.publish_planversion",
    "invoicing.migrate_subscribers",
    "invoicing.review_usageanomaly",
    "invoicing.review_reratingfinding",
    "invoicing.ask_whatif",
    "invoicing.close_month",
    "invoicing.decide_late_usage",
    "invoicing.backfill_usage",
    "metering.correct_usageevent",
    "metering.backdate_meter",
    "metering.replay_deadletter",
    "dunning.arrange_dunningcase",
    "dunning.download_handoverfile",
)
PROCESSES = (
    Process(
        name="Invoices, prices and books",
        requirement="",
        what="Contracts and prices are kept, invoices issued, corrected and collected; what is large takes two people.",
        responsible=Role.FINANCE,
        accountable=Role.APPROVERS,
        consulted=(Role.LEGAL,),
        informed=(Role.SUPPORT, Role.AUDITORS),
        deeds=MONEY_DEEDS,
        approved=tuple(ApprovedDeed),
        seen=BUSINESS,
        edited=True,
    ),
    Process(
        name="Billing job reliability",
        requirement="S2-027",
        what="Runs, pushes and collectors do their work, and again after a failure; a run that was proposed is signed.",
        responsible=Role.PLATFORM,
        accountable=Role.SRE,
        consulted=(Role.BACKEND,),
        informed=(Role.FINANCE,),
        deeds=(
            "invoicing.retry_push",
            "invoicing.stop_stripe",
            "invoicing.backfill_usage",
            "metering.replay_deadletter",
        ),
        approved=(ApprovedDeed.BILLING_RUN,),
        seen=(*BUSINESS, "django_q"),
    ),
    Process(
        name="Dunning templates and process",
        requirement="S2-029",
        what="What customers are told about what they owe is drafted by one and approved by another; what could not be told is mended.",
        responsible=Role.FINANCE,
        accountable=Role.LEGAL,
        consulted=(Role.PLATFORM,),
        informed=(),
        deeds=("dunning.draft_templateversion", "dunning.decide_notice", "dunning.lift_blockedaddress"),
        approved=(),
        seen=("dunning",),
        seconded=("dunning.approve_templateversion",),
    ),
    Process(
        name="Keys of services",
        requirement="S2-028",
        what="Keys of the API are made and revoked; that of Stripe is a setting of the installation, and is rotated there.",
        responsible=Role.PLATFORM,
        accountable=Role.SECURITY,
        consulted=(Role.FINANCE,),
        informed=(Role.AUDITORS,),
        deeds=("api.add_apikey", "api.change_apikey"),
        approved=(),
        seen=("api",),
    ),
    Process(
        name="People and their roles",
        requirement="",
        what="Who may do what: an administrator makes people and puts them into groups.",
        responsible=Role.SECURITY,
        accountable=Role.SECURITY,
        consulted=(),
        informed=(Role.AUDITORS,),
        deeds=(),
        approved=(),
        seen=("auth",),
    ),
)


def decides(deed: str) -> str:
    """Return the permission to approve and refuse one deed."""
    return f"invoicing.decide_{deed}"


def roles_page() -> str:
    """Return the table as the page docs/roles.md."""
    rows = [
        "| process | requirement | responsible: does | accountable: approves | consulted: sees | informed: sees |",
        "|---|---|---|---|---|---|",
        *(
            f"| **{one.name}** {one.what} | {one.requirement or '–'} | {one.responsible}: {_listed(one.deeds) or 'nothing here'}"
            f" | {one.accountable}: {_approves(one) or 'nothing here'}"
            f" | {', '.join(one.consulted) or '–'} | {', '.join(one.informed) or '–'} |"
            for one in PROCESSES
        ),
    ]
    return "\n".join(
        [
            "# Who does what",
            "",
            "Made of `billing_site/backoffice/responsibilities.py` by `manage.py roles`; a test compares. `serve` makes the groups with these permissions.",
            "Whoever is in several groups has the permissions of all, and still never approves what he asked for. *Approvers* also set the limits.",
            "",
            *rows,
            "",
        ]
    )


def _listed(deeds: tuple[str, ...]) -> str:
    return ", ".join(f"`{deed}`" for deed in deeds)


def _approves(process: Process) -> str:
    return ", ".join([*(deed.label.lower() for deed in process.approved), *(f"`{deed}`" for deed in process.seconded)])
