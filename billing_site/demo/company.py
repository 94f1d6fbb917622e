"""Who the demo company's customers are: their terms, their plan, and the usage that is typical of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

GOOD_CARDS = ("pm_card_visa", "pm_card_mastercard", "pm_card_visa_debit", "pm_card_amex")
FAILS_WHEN_CHARGED = "pm_card_chargeCustomerFail"
DECLINED_AT_ONCE = "pm_card_chargeDeclined"
ASKS_THE_CUSTOMER = "pm_card_threeDSecure2Required"
BY_TRANSFER = "manual"

# Sells to some customers in the United States; to all others the company that the settings name.
AMERICAN: dict[str, Any] = {
    "key": "us",
    "name": "Example Inference Inc.",
    "address": "1 Example Plaza\nNew York, NY 10001\nUnited States",
    "email": "billing@example.com",
    "registration": "Delaware corporation 1234567",
    "bank": "Example Bank N.A.\nRouting 000000000, account 123456789",
    "invoice_prefix": "US",
    "credit_note_prefix": "US-CN",
}

LONG_NAME = (
    "Vereinigte Ostwestfälisch-Lippische Gesellschaft für angewandte Sprachmodelle, Prozessautomatisierung und "
    "nachhaltige Rechenzentrumstechnik mbH & Co. Kommanditgesellschaft auf Aktien"
)
LONG_PLACE = "Industriestraße 114 b\n33602 Bielefeld\nGermany"


@dataclass(frozen=True)
class DemoCustomer:
    """One customer; `events_per_day` is its usage on an ordinary working day at the end.

    `starts_on_day` counts from the first day of the demo, `ends_on_day` likewise (None: never).
    `bad_card` replaces the card before the last closed month is billed. `size` scales quantities. `billed_to` is the key of who pays for it.
    """

    slug: str
    name: str
    currency: str
    timezone: str
    plan: str
    events_per_day: int
    size: int = 1
    address: str = ""
    anchor: str = "calendar"
    starts_on_day: int = 0
    ends_on_day: int | None = None
    channel: str = "stripe"
    bad_card: str = ""
    seller: str = "main"
    billed_to: str = ""

    @property
    def key(self) -> str:
        """The customer's key, as on usage events."""
        return f"cust_{self.slug}"

    @property
    def email(self) -> str:
        """Where invoices go."""
        return f"billing@{self.slug.replace('_', '-')}.example"

    def started_at(self, *, first_day: datetime) -> datetime:
        """When its subscription starts: midnight of its time zone on the demo's first day, or in the morning of a later one."""
        midnight = first_day.replace(tzinfo=ZoneInfo(self.timezone))
        if self.starts_on_day:
            return (midnight + timedelta(days=self.starts_on_day, hours=9, minutes=30)).astimezone(UTC)
        return midnight.astimezone(UTC)

    def ended_at(self, *, first_day: datetime) -> datetime | None:
        """When its subscription ends: midnight of its time zone, or never."""
        if self.ends_on_day is None:
            return None
        return (first_day.replace(tzinfo=ZoneInfo(self.timezone)) + timedelta(days=self.ends_on_day)).astimezone(UTC)


def _c(slug: str, name: str, terms: str, plan: str, events: int, size: int = 1, **more: object) -> DemoCustomer:
    currency, timezone = terms.split(" ")
    return DemoCustomer(slug, name, currency, timezone, plan, events, size, **more)  # type: ignore[arg-type]


CUSTOMERS: Sequence[DemoCustomer] = (
    _c("northwind", "Northwind Analytics Inc.", "USD America/New_York", "search-enterprise", 140, 900,
       address="200 Harbor Street\nBoston, MA 02210\nUnited States"),
    _c("lumen_health", "Lumen Health Systems", "USD America/Chicago", "search-pro", 90, 110,
       address="1450 Lakeview Avenue\nChicago, IL 60614\nUnited States"),
    _c("brightpath", "Brightpath Learning", "USD America/Los_Angeles", "search-pro", 110, 140),
    _c("cobalt_legal", "Cobalt Legal LLP", "USD America/New_York", "search-starter", 24, 40, channel=BY_TRANSFER),
    _c("pinecone_retail", "Pine & Cone Retail", "USD America/Denver", "search-starter", 18, 55),
    _c("harbor_freight", "Harborline Freight", "USD America/Los_Angeles", "search-starter", 30, 27,
       anchor="anniversary", starts_on_day=11),
    _c("quill", "Quill Publishing House", "USD Europe/London", "search-pro", 60, 180, channel=BY_TRANSFER),
    _c("orbital", "Orbital Weather Co.", "USD America/Anchorage", "search-enterprise", 120, 700),
    _c("atelier_brune", "Atelier Brune SARL", "EUR Europe/Paris", "search-starter", 22, 26,
       address="18 rue des Tanneurs\n69001 Lyon\nFrance", channel=BY_TRANSFER),
    _c("isar_werke", "Isar Werke AG", "EUR Europe/Berlin", "search-enterprise", 110, 800, channel=BY_TRANSFER,
       address="Leopoldstraße 44\n80802 München\nGermany"),
    _c("fjord_data", "Fjord Data AS", "EUR Europe/Oslo", "search-pro", 70, 120, channel=BY_TRANSFER),
    _c("mistral_logistik", "Mistral Logistik GmbH", "EUR Europe/Vienna", "search-pro", 55, 160,
       bad_card=FAILS_WHEN_CHARGED),
    _c("sakura_denki", "Sakura Denki K.K.", "JPY Asia/Tokyo", "search-pro", 65, 150,
       address="1-2-3 Marunouchi\nChiyoda-ku, Tokyo 100-0005\nJapan"),
    _c("kumo_systems", "Kumo Systems K.K. 雲システム株式会社", "JPY Asia/Tokyo", "search-enterprise", 95, 620),
    _c("hikari_mobile", "Hikari Mobile", "JPY Asia/Tokyo", "search-starter", 20, 30,
       anchor="anniversary", starts_on_day=17),
    _c("vantage_ai", "Vantage AI Labs", "USD America/Los_Angeles", "inference-scale", 330, 5),
    _c("deepfield", "Deepfield Robotics", "USD America/New_York", "inference-scale", 260, 4),
    _c("copperleaf", "Copperleaf Bank N.A.", "USD America/New_York", "inference-scale", 200, 6, channel=BY_TRANSFER,
       address="1 Exchange Plaza\nNew York, NY 10005\nUnited States"),
    _c("parlance", "Parlance Voice Assistants", "USD America/Toronto", "inference-on-demand", 180, 2),
    _c("tinker_school", "Tinker School", "USD America/Chicago", "inference-on-demand", 12),
    _c("redwood_bio", "Redwood Bioinformatics", "USD America/Los_Angeles", "inference-on-demand", 140, 3,
       anchor="anniversary", starts_on_day=22),
    _c("owl", "Owl", "USD UTC", "inference-on-demand", 30, channel=BY_TRANSFER),
    _c("lippe", LONG_NAME, "EUR Europe/Berlin", "inference-scale", 210, 4, address=LONG_PLACE, channel=BY_TRANSFER),
    _c("nimbus_iberica", "Nimbus Ibérica S.L.", "EUR Europe/Madrid", "inference-on-demand", 130, 2),
    _c("dunkelblau", "Dunkelblau Verlag GmbH", "EUR Europe/Berlin", "inference-on-demand", 80, 2,
       bad_card=DECLINED_AT_ONCE),
    _c("polder", "Polder Mobility B.V.", "EUR Europe/Amsterdam", "inference-scale", 190, 3),
    _c("akari_ai", "Akari AI K.K.", "JPY Asia/Tokyo", "inference-on-demand", 150, 2),
    _c("meridian", "Meridian Insurance Group", "USD America/New_York", "workflow-team", 160, 900,
       seller="us"),
    _c("gridline", "Gridline Utilities", "USD America/Chicago", "workflow-team", 200, 9000, seller="us", channel=BY_TRANSFER),
    _c("cascade", "Cascade Claims", "USD America/Los_Angeles", "workflow-volume", 110, 1600, seller="us"),
    _c("tessera", "Tessera S.p.A.", "EUR Europe/Rome", "workflow-team", 120, 1500),
    _c("baltika", "Baltika Shipping OÜ", "EUR Europe/Tallinn", "workflow-volume", 90, 4500,
       anchor="anniversary", starts_on_day=6),
    _c("helvetia_pay", "Alpenpay Dienste", "EUR Europe/Zurich", "workflow-team", 75, 700, bad_card=ASKS_THE_CUSTOMER),
    _c("sundial", "Sundial Travel", "USD Australia/Sydney", "workflow-volume", 70, 800, starts_on_day=40),
    _c("pixelforge", "Pixelforge Games", "USD America/Los_Angeles", "studio", 130, 3),
    _c("kino_lab", "Kino Lab GmbH", "EUR Europe/Berlin", "studio", 85, 2, channel=BY_TRANSFER),
    _c("manga_works", "Manga Works", "JPY Asia/Tokyo", "studio", 95, 2),
    _c("postcard", "Postcard & Sons", "EUR Europe/Dublin", "studio", 25, ends_on_day=74),
    _c("agora", "Agora Agents", "USD America/New_York", "agent-partner", 40, 2, channel=BY_TRANSFER),
    _c("lisboa_labs", "Lisboa Labs Lda.", "EUR Europe/Lisbon", "agent-partner", 28, 1, starts_on_day=14, channel=BY_TRANSFER),
    _c("bazaar", "Bazaar of Bots", "USD Asia/Kolkata", "agent-partner-plus", 60, 2),
    _c("tessera_energia", "Tessera Energia S.r.l.", "EUR Europe/Rome", "workflow-team", 45, 600,
       billed_to="cust_tessera"),
    _c("tessera_moda", "Tessera Moda S.r.l.", "EUR Europe/Rome", "search-starter", 20, 30, billed_to="cust_tessera"),
)  # fmt: skip
