import secrets
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Length, Lower, Now
from django.db.models.lookups import Exact, GreaterThan, LessThan

from raxx.kernel.ids import new_id

HANDLE_BYTES = 64
CREDENTIAL_ID_BYTES_MAX = 1_023


def new_handle() -> bytes:
    """What a passkey knows its user by: random, because it is shown to whoever holds the device."""
    return secrets.token_bytes(HANDLE_BYTES)


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
    handle = models.BinaryField(max_length=HANDLE_BYTES, unique=True, default=new_handle, editable=False)
    tier = models.CharField(max_length=8, choices=Tier, default=Tier.FREE)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())
    recovered_at = models.DateTimeField(
        null=True
    )  # last came back by a recovery code: no live trading for a day
    locked_until = models.DateTimeField(null=True)  # operators only: services/lockout.py

    objects = UserManager()

    USERNAME_FIELD = "email"

    class Meta:
        db_table = "users"
        constraints = [
            models.CheckConstraint(condition=Q(email=Lower("email")), name="user_email_lower_case"),
            models.CheckConstraint(condition=Q(tier__in=Tier.values), name="user_tier_known"),
            models.CheckConstraint(condition=Exact(Length("handle"), 64), name="user_handle_is_64_bytes"),
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


class Passkey(models.Model):
    """A person's way in: a public key whose other half never leaves their device or password manager."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="passkeys")
    credential_id = models.BinaryField(max_length=CREDENTIAL_ID_BYTES_MAX, unique=True)
    public_key = models.BinaryField(max_length=2_048)
    sign_count = models.BigIntegerField()  # stays 0 for passkeys that are synced between devices
    backup_eligible = models.BooleanField()  # never changes
    backup_state = models.BooleanField()
    transports = ArrayField(models.CharField(max_length=20), default=list)
    aaguid = models.UUIDField()
    name = models.CharField(max_length=64)
    created_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "passkeys"
        constraints = [
            models.CheckConstraint(
                condition=Q(sign_count__gte=0, sign_count__lt=2**32), name="passkey_count_is_32_bits"
            ),
            models.CheckConstraint(
                condition=Q(backup_eligible=True) | Q(backup_state=False),
                name="passkey_backed_up_if_eligible",
            ),
            models.CheckConstraint(
                condition=GreaterThan(Length("credential_id"), 0)
                & LessThan(Length("credential_id"), CREDENTIAL_ID_BYTES_MAX + 1),
                name="passkey_id_length",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class RecoveryCode(models.Model):
    """One of ten ways back for who has lost every passkey: kept as a keyed hash, works once."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="recovery_codes")
    code_hash = models.BinaryField(max_length=32, unique=True)
    created_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "recovery_codes"
        constraints = [
            models.CheckConstraint(
                condition=Exact(Length("code_hash"), 32), name="recovery_code_hash_is_32_bytes"
            ),
        ]

    def __str__(self) -> str:
        return "recovery code"


class SessionKind(models.TextChoices):
    FULL = "full", "Full"
    RECOVERY = "recovery", "Recovery"  # can enrol a passkey and nothing else


class Session(models.Model):
    """A signed-in browser. It lives while this row is not revoked *and* its row in Valkey exists."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sessions")
    sid_hash = models.BinaryField(max_length=32, unique=True)  # SHA-256 of the 256 random bits in the cookie
    kind = models.CharField(max_length=8, choices=SessionKind)
    generation = models.IntegerField(default=1)  # each step-up begins a new one; older tokens are dead
    label = models.CharField(max_length=80)  # such as "Firefox on Windows"
    created_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()  # to the minute
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    revoked_why = models.CharField(max_length=40, blank=True, default="")

    class Meta:
        db_table = "sessions"
        indexes = [models.Index(fields=["user", "-created_at"], name="sessions_of_user")]
        constraints = [
            models.CheckConstraint(condition=Exact(Length("sid_hash"), 32), name="session_hash_is_32_bytes"),
            models.CheckConstraint(condition=Q(kind__in=SessionKind.values), name="session_kind_known"),
            models.CheckConstraint(condition=Q(expires_at__gt=F("created_at")), name="session_expires_later"),
        ]

    def __str__(self) -> str:
        return self.label


class RefreshToken(models.Model):
    """One link of the chain of a session's refresh tokens: single use; its reuse ends the session."""

    token_hash = models.BinaryField(primary_key=True, max_length=32)
    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="refresh_tokens")
    issued_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "refresh_tokens"
        constraints = [
            models.CheckConstraint(
                condition=Exact(Length("token_hash"), 32), name="refresh_hash_is_32_bytes"
            ),
        ]

    def __str__(self) -> str:
        return "refresh token"


class StepUpGrant(models.Model):
    """The right to do one named thing, with these very parameters, once, in this session, soon."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="step_ups")
    action = models.CharField(max_length=64)
    parameters_hash = models.BinaryField(max_length=32)
    granted_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "step_up_grants"
        indexes = [models.Index(fields=["session", "action"], name="step_ups_of_session")]
        constraints = [
            models.CheckConstraint(
                condition=Exact(Length("parameters_hash"), 32), name="step_up_hash_is_32_bytes"
            ),
            # No action may ever be granted for longer: 300 s.
            models.CheckConstraint(
                condition=Q(expires_at__gt=F("granted_at"))
                & Q(expires_at__lte=F("granted_at") + timedelta(seconds=300)),
                name="step_up_is_short",
            ),
        ]

    def __str__(self) -> str:
        return self.action


class Notice(models.Model):
    """Something about their account that a person was told, and whether by mail too."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="notices")
    what = models.CharField(max_length=64)  # the code of the event in the record
    sentence = models.CharField(max_length=200)
    at = models.DateTimeField()
    mail_after = models.DateTimeField()
    mail_tries = models.PositiveSmallIntegerField(default=0)
    mailed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "notices"
        indexes = [
            models.Index(fields=["user", "-at"], name="notices_of_user"),
            models.Index(fields=["mail_after"], condition=Q(mailed_at=None), name="notices_to_mail"),
        ]

    def __str__(self) -> str:
        return self.sentence
