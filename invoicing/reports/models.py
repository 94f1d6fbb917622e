"""What our accounts are called in the books of others: rows that finance keeps."""

from django.db import models
from django.db.models import Q

from billing_site.kernel.history import tracked
from billing_site.kernel.model import stays
from invoicing.ledger.models import Account


class BookkeepingSystem(models.TextChoices):
    """Whose accounts a journal export names."""

    DATEV = "datev", "DATEV"
    XERO = "xero", "Xero"
    QUICKBOOKS = "quickbooks", "QuickBooks Online"
    BEANCOUNT = "beancount", "beancount"


class AccountMapping(models.Model):
    """What one of our accounts is called in another system; without a row it has that system's default, or none."""

    system = models.CharField(max_length=20, choices=BookkeepingSystem)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="mappings")
    code = models.CharField(max_length=100, help_text="DATEV, Xero: a number. QuickBooks, beancount: a name.")
    history = tracked()

    objects = models.Manager["AccountMapping"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["system", "account"], name="account_is_mapped_once_a_system"),
            models.CheckConstraint(
                condition=Q(system__in=BookkeepingSystem.values), name="account_mapping_system_is_known"
            ),
            models.CheckConstraint(condition=~Q(code=""), name="account_mapping_has_a_code"),
            models.CheckConstraint(
                condition=~Q(system="datev") | Q(code__regex=r"^[0-9]{4,8}$"),
                name="account_mapping_of_datev_is_a_number",
            ),
        ]
        triggers = [stays(noun="account mapping", columns=["system", "account_id"])]

    def __str__(self) -> str:
        return f"{self.account_id} in {self.system}: {self.code}"
