"""The logos of sellers: each is kept under its digest, so that an invoice is printed with the one that it was issued with."""

from hashlib import sha256

from django.db import models
from django.db.models import F, Func, Q, Value

from billing_site.kernel.model import append_only

DIGEST_OF_CONTENT = Func(Func(F("content"), function="sha256"), Value("hex"), function="encode")


class SellerLogo(models.Model):
    """A picture that invoices name by its digest."""

    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the file.")
    content = models.BinaryField(help_text="PNG or JPEG.")

    objects = models.Manager["SellerLogo"]()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(digest=DIGEST_OF_CONTENT), name="logo_has_its_digest")]
        triggers = append_only(noun="logos")

    def __str__(self) -> str:
        return self.digest[:12]


def keep_logo(*, content: bytes) -> str:
    """Keep a picture and return the digest under which it is kept; "" for no picture."""
    if not content:
        return ""
    digest = sha256(content).hexdigest()
    SellerLogo.objects.bulk_create([SellerLogo(digest=digest, content=content)], ignore_conflicts=True)
    return digest
