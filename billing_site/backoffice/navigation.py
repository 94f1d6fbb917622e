"""What stands in the sidebar, and who may see it."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

# The group that is never folded.
WORK = "Work"


@dataclass(frozen=True)
class Item:
    """One entry: where it leads (a view of the admin) and the permission that shows it ("" for everyone)."""

    title: str
    icon: str
    view: str
    permission: str = ""


def _list(title: str, icon: str, app: str, model: str) -> Item:
    return Item(title, icon, f"{app}_{model}_changelist", f"{app}.view_{model}")


def _mirror(title: str, model: str) -> Item:
    """Return the list of a kind of Stripe's objects, as they were told: for whoever sees Stripe's notices."""
    return Item(title, "sync_alt", f"djstripe_{model}_changelist", "invoicing.view_stripenotice")


# In the order of a day: what waits for somebody, what is sent and paid, what is chased; what is set up once stands last.
GROUPS: tuple[tuple[str, tuple[Item, ...]], ...] = (
    (
        WORK,
        (
            Item("Needs you", "inbox", "index"),
            _list("Approvals", "approval", "invoicing", "approval"),
            Item("Search", "search", "backoffice_search"),
            Item("Changes", "history", "backoffice_changes"),
        ),
    ),
    (
        "Invoices",
        (
            _list("Invoices", "receipt_long", "invoicing", "invoice"),
            _list("Held invoices", "front_hand", "invoicing", "invoicehold"),
            _list("Changes of drafts", "edit_note", "invoicing", "lineedit"),
            _list("Proposed runs", "draw", "invoicing", "runproposal"),
            _list("Billing runs", "playlist_play", "invoicing", "billingrun"),
            _list("Credit notes", "receipt", "invoicing", "creditnote"),
            _list("Write-offs", "money_off", "invoicing", "writeoff"),
            _list("Documents not printed", "print_disabled", "invoicing", "renderingfailure"),
            Item("Checks before issue", "fact_check", "invoicing_gate_checks", "invoicing.view_invoicehold"),
            _list("Approval limits", "group", "invoicing", "approvallimit"),
        ),
    ),
    (
        "Money in",
        (
            _list("Payments", "payments", "invoicing", "payment"),
            _list("Payment failures", "credit_card_off", "invoicing", "paymentfailure"),
            _list("Disputed payments", "gavel", "invoicing", "dispute"),
            _list("Bank lines", "account_balance_wallet", "invoicing", "bankline"),
            _list("Bank statements", "description", "invoicing", "bankstatement"),
            _list("Allocations of bank lines", "rule", "invoicing", "bankallocation"),
            _list("Payouts of Stripe", "move_to_inbox", "invoicing", "payout"),
            _list("Stripe's balance", "swap_vert", "invoicing", "stripetransaction"),
            Item("Bank and books", "balance", "invoicing_bank_reconciliation", "invoicing.view_bankstatement"),
        ),
    ),
    (
        "Dunning",
        (
            _list("Cases", "notifications_active", "dunning", "dunningcase"),
            Item("Who gets what tomorrow", "upcoming", "dunning_dunningcase_rehearsal", "dunning.view_dunningcase"),
            Item("Figures", "monitoring", "dunning_dunningcase_figures", "dunning.view_dunningcase"),
            _list("Notices", "outgoing_mail", "dunning", "notice"),
            _list("Blocked addresses", "unsubscribe", "dunning", "blockedaddress"),
            _list("Templates of notices", "edit_note", "dunning", "noticetemplate"),
            _list("Versions of templates", "history_edu", "dunning", "templateversion"),
            _list("Policies", "stairs", "dunning", "policyversion"),
            _list("Policy assignments", "rule", "dunning", "policyassignment"),
            _list("Terms of late payment", "request_quote", "dunning", "overdueterms"),
            _list("Charges for late payment", "add_card", "dunning", "overduecharge"),
        ),
    ),
    (
        "Customers",
        (
            _list("Customers", "groups", "invoicing", "customer"),
            _list("Subscriptions", "event_repeat", "invoicing", "subscription"),
            _list("Discounts", "percent", "invoicing", "discount"),
            _list("Credit grants", "savings", "invoicing", "creditgrant"),
            _list("Top-ups", "add_card", "invoicing", "topup"),
            _list("Top-up rules", "autorenew", "invoicing", "topuprule"),
            _list("Progressive thresholds", "speed", "invoicing", "progressivethreshold"),
            _list("Budgets and limits", "savings", "invoicing", "budget"),
            _list("Spend this period", "monitoring", "invoicing", "spendwatch"),
            _list("Spend notices", "notifications", "invoicing", "spendnotice"),
            _list("Unusual usage", "troubleshoot", "invoicing", "usageanomaly"),
        ),
    ),
    (
        "Usage",
        (
            _list("Usage events", "data_object", "metering", "usageevent"),
            Item(
                "Late-event desk", "history_toggle_off", "invoicing_late_usage_desk", "invoicing.view_usagecorrection"
            ),
            _list("Events in no window", "filter_alt_off", "metering", "unappliedevent"),
            _list("Contradicting events", "compare_arrows", "metering", "eventconflict"),
            _list("Dead letters", "drafts", "metering", "deadletter"),
            _list("Usage corrections", "rule", "invoicing", "usagecorrection"),
            _list("Backfills", "upload_file", "invoicing", "backfill"),
            _list("Meters", "speed", "metering", "meter"),
            _list("Usage by hour", "view_timeline", "metering", "usagewindow"),
            _list("Archived days", "inventory_2", "metering", "eventarchive"),
        ),
    ),
    (
        "Month and books",
        (
            _list("Months", "calendar_month", "invoicing", "monthclose"),
            _list("Journal", "menu_book", "invoicing", "journalentry"),
            _list("Recognised revenue", "event_available", "invoicing", "recognisedrevenue"),
            _list("Accounts", "account_tree", "invoicing", "account"),
            _list("Lines that rate otherwise", "difference", "invoicing", "reratingfinding"),
            _list("Nightly re-rating", "nights_stay", "invoicing", "reratingrun"),
            _list("Anchors", "anchor", "invoicing", "anchor"),
        ),
    ),
    (
        "Reports",
        (
            Item("Aged receivables", "hourglass_bottom", "backoffice_aged_receivables", "invoicing.view_posting"),
            Item("Open invoices", "pending", "backoffice_open_invoices", "invoicing.view_posting"),
            Item("Customer statement", "contact_page", "backoffice_statement", "invoicing.view_posting"),
            Item("Trial balance", "balance", "backoffice_trial_balance", "invoicing.view_posting"),
            Item("Account movements", "swap_vert", "backoffice_account_movements", "invoicing.view_posting"),
            Item("General ledger", "receipt", "backoffice_general_ledger", "invoicing.view_posting"),
            Item("Deferred revenue", "event_upcoming", "backoffice_deferred_revenue", "invoicing.view_posting"),
            Item("Recurring revenue", "autorenew", "backoffice_mrr", "invoicing.view_posting"),
            Item("Recurring by customer", "person_search", "backoffice_mrr_by_customer", "invoicing.view_posting"),
            Item("Tax report", "request_quote", "backoffice_tax", "invoicing.view_posting"),
            Item("EC sales list", "euro", "backoffice_ec_sales_list", "invoicing.view_posting"),
            Item("Journal export", "download", "backoffice_journal_export", "invoicing.view_posting"),
            _list("Account mapping", "compare_arrows", "invoicing", "accountmapping"),
        ),
    ),
    (
        "Plans and prices",
        (
            _list("Plans", "sell", "invoicing", "plan"),
            _list("Versions of plans", "layers", "invoicing", "planversion"),
            _list("Prices", "price_change", "invoicing", "price"),
            _list("Products", "category", "invoicing", "product"),
            _list("Coupons", "confirmation_number", "invoicing", "coupon"),
            _list("What if", "query_stats", "invoicing", "whatif"),
            Item("Who is on which version", "lists", "invoicing_plan_in_force", "invoicing.view_plan"),
            _list("Bulk migrations", "move_group", "invoicing", "planmigration"),
        ),
    ),
    (
        "Sellers and tax",
        (
            _list("Legal entities", "domain", "invoicing", "legalentity"),
            _list("How tax is charged", "account_balance", "invoicing", "sellertax"),
            _list("Registrations", "assignment", "invoicing", "taxregistration"),
            _list("Tax rates", "percent", "invoicing", "taxrate"),
            _list("Where customers are", "public", "invoicing", "customertax"),
            _list("Tax exemptions", "verified", "invoicing", "taxexemption"),
            _list("Answers of Stripe Tax", "quiz", "invoicing", "taxanswer"),
        ),
    ),
    (
        "Stripe",
        (
            Item("Stripe", "cell_tower", "invoicing_stripe_status", "invoicing.view_outage"),
            _list("Invoices sent to Stripe", "upload", "invoicing", "pushintent"),
            _list("Charge attempts", "credit_card", "invoicing", "chargeattempt"),
            _list("Refunds", "undo", "invoicing", "refund"),
            _list("Withdrawals at Stripe", "block", "invoicing", "withdrawal"),
            _list("Stripe notices", "webhook", "invoicing", "stripenotice"),
            _list("Outages", "cloud_off", "invoicing", "outage"),
            _list("Repair cases", "build", "invoicing", "repaircase"),
            _list("Settled by Stripe", "cloud_upload", "invoicing", "meterreporting"),
            _list("Reports to Stripe", "outbox", "invoicing", "meterreport"),
            _list("Contradicting subscriptions", "sync_problem", "invoicing", "subscriptionmismatch"),
            _list("Subscriptions at Stripe", "sync_alt", "invoicing", "stripesubscription"),
            _mirror("Mirror: invoices", "invoice"),
            _mirror("Mirror: customers", "customer"),
            _mirror("Mirror: payment intents", "paymentintent"),
            _mirror("Mirror: charges", "charge"),
            _mirror("Mirror: payment methods", "paymentmethod"),
            _mirror("Mirror: subscriptions", "subscription"),
            _mirror("Mirror: prices", "price"),
            _mirror("Mirror: disputes", "dispute"),
            _mirror("Mirror: balance", "balancetransaction"),
        ),
    ),
    (
        "System",
        (
            _list("Jobs that failed", "error", "django_q", "failure"),
            _list("Jobs waiting", "pending_actions", "django_q", "ormq"),
            _list("Jobs that are done", "task_alt", "django_q", "success"),
            _list("Job schedule", "schedule", "django_q", "schedule"),
            _list("API keys", "key", "api", "apikey"),
            _list("People", "person", "auth", "user"),
            _list("Roles", "shield_person", "auth", "group"),
        ),
    ),
)


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sidebar of the signed-in person: the groups that hold something for them."""
    groups = []
    for title, items in GROUPS:
        allowed = [item for item in items if not item.permission or request.user.has_perm(item.permission)]
        entries = [entry for item in allowed for entry in _entry(item)]
        if entries:
            groups.append({"title": title, "items": entries, "is_open": title == WORK})
    return _with_the_present_one(groups, path=request.path)


def _with_the_present_one(groups: list[dict[str, Any]], *, path: str) -> list[dict[str, Any]]:
    """Mark the entry whose address is the longest beginning of the page's own, and open its group; the index only on itself."""
    index = reverse("admin:index")
    entries = [entry for group in groups for entry in group["items"]]
    matching = [
        one["link"] for one in entries if path == one["link"] or (one["link"] != index and path.startswith(one["link"]))
    ]
    present = max(matching, key=len, default="")
    for group in groups:
        for entry in group["items"]:
            entry["active"] = entry["link"] == present
            group["is_open"] |= entry["active"]
    return groups


def _entry(item: Item) -> list[dict[str, Any]]:
    """Return the entry, or nothing where the app behind it brings no admin (a test says which are there)."""
    try:
        return [{"title": item.title, "icon": item.icon, "link": reverse(f"admin:{item.view}")}]
    except NoReverseMatch:
        return []
