from datetime import datetime
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Length, Lower, Now
from django.db.models.lookups import Exact

from raxx.kernel.ids import new_id


class Tier(models.TextChoices):
    FREE = "free", "Free"
    PRO = "pro", "Pro"
    PRO_PLUS = "pro_plus", "Pro+"


class Scope(models.TextChoices):
    """What an API key may do. Keys are for paper accounts only: there is no live scope to give."""

    PAPER_TRADE = "paper:trade", "Trade on the paper account"
    PAPER_READ = "paper:read", "Read the paper account"


class UserManager(BaseUserManager["User"]):
    def create_user(self, *, email: str, **fields: Any) -> "User":  # noqa: ANN401 - any column
        """A user without any way to sign in yet. The address is kept in lower case."""
        return self.create(email=email.strip().lower(), **fields)

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=(username or "").strip().lower())


class User(AbstractBaseUser, PermissionsMixin):
    """A person. There are no passwords: the columns that Django brings for them are taken out."""

    password = None  # type: ignore[assignment]
    last_login = None

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    email = models.EmailField(max_length=254, unique=True)
    tier = models.CharField(max_length=8, choices=Tier, default=Tier.FREE)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())

    objects = UserManager()

    USERNAME_FIELD = "email"

    class Meta:
        db_table = "users"
        constraints = [
            models.CheckConstraint(condition=Q(email=Lower("email")), name="user_email_lower_case"),
            models.CheckConstraint(condition=Q(tier__in=Tier.values), name="user_tier_known"),
        ]

    def __str__(self) -> str:
        return self.email

    def has_usable_password(self) -> bool:
        return False

    def set_password(self, raw_password: str | None) -> None:
        raise NotImplementedError("there are no passwords")

    def check_password(self, raw_password: str | None) -> bool:
        return False


class ApiKey(models.Model):
    """A program's way in: a public id and a secret that is kept as a keyed hash only."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    key_id = models.CharField(max_length=20, unique=True)
    secret_hash = models.BinaryField(max_length=32)
    name = models.CharField(max_length=64)
    scopes = ArrayField(models.CharField(max_length=20))
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)  # to the minute

    class Meta:
        db_table = "api_keys"
        verbose_name = "API key"
        constraints = [
            models.CheckConstraint(
                condition=Exact(Length("secret_hash"), 32), name="api_key_hash_is_32_bytes"
            ),
            models.CheckConstraint(
                condition=Q(scopes__len__gt=0, scopes__contained_by=Scope.values), name="api_key_scopes_known"
            ),
            models.CheckConstraint(
                condition=Q(expires_at__isnull=True) | Q(expires_at__gt=F("created_at")),
                name="api_key_expires_later",
            ),
        ]

    def __str__(self) -> str:
        return self.key_id

    def works_at(self, now: datetime) -> bool:
        """Whether it is neither revoked nor expired; its user may still be inactive."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)
