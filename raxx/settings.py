"""Settings: everything comes from the environment, through helpers that refuse bad values.

Nothing is needed on one machine: without DATABASE_URL and REDIS_URL the embedded servers are used,
and demo secrets are made for them. Every variable is listed in README.md.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django_stubs_ext
import structlog

from raxx.kernel import embedded, env, log_lines, money

django_stubs_ext.monkeypatch()
money.forbid_floats()

BASE_DIR = Path(__file__).resolve().parent.parent

# -- where the servers are ------------------------------------------------------------------------
_URLS = embedded.urls()
DATABASES = {"default": env.database("DATABASE_URL", default=_URLS.database_url)}
DATABASES["default"]["CONN_MAX_AGE"] = None  # the engine and one-shot commands keep their connection
DATABASES["default"].setdefault("OPTIONS", {}).update(
    # Waits end with an error long before a user or a router gives up.
    options="-c lock_timeout=5s -c statement_timeout=30s -c idle_in_transaction_session_timeout=60s -c timezone=UTC",
    # Measured: statements that PostgreSQL knows already, an order costs it a third less.
    server_side_binding=True,
    prepare_threshold=2,
)
if env.flag("RAXX_DB_POOL", default=False):  # web processes set it: raxx/asgi.py
    DATABASES["default"]["CONN_MAX_AGE"] = 0
    DATABASES["default"]["OPTIONS"]["pool"] = {
        "min_size": 0,
        "max_size": env.whole("RAXX_DB_POOL_SIZE", default=4, minimum=1, maximum=50),
    }
REDIS_URL = env.url("REDIS_URL", default=_URLS.redis_url)
REDIS_TLS_INSECURE = env.flag("RAXX_REDIS_TLS_INSECURE", default=False)

# -- secrets --------------------------------------------------------------------------------------
_DEMO = embedded.demo_secrets()
SECRET_KEY = env.secret("DJANGO_SECRET_KEY", default=_DEMO.django_secret_key)
RAXX_FIELD_KEY = env.secret("RAXX_FIELD_KEY", default=_DEMO.field_key)

# -- the audit record -----------------------------------------------------------------------------
# Unset: a development key is made in the state directory. docs/audit.md
RAXX_AUDIT_KEY: str = (
    env.secret("RAXX_AUDIT_KEY") if env.given("RAXX_AUDIT_KEY") or env.given("RAXX_AUDIT_KEY_FILE") else ""
)
RAXX_AUDIT_PUBLIC_KEYS: str = env.given("RAXX_AUDIT_PUBLIC_KEYS") or ""
RAXX_AUDIT_CHECKPOINTS: str = env.given("RAXX_AUDIT_CHECKPOINTS") or str(
    embedded.state.state_path() / "audit-checkpoints.jsonl"
)

# -- the market -----------------------------------------------------------------------------------
RAXX_FEED = env.choice("RAXX_FEED", options=("simulated", "replay"), default="simulated")
RAXX_FEED_SEED = env.whole("RAXX_FEED_SEED", default=1, minimum=0, maximum=2**31 - 1)
RAXX_TAPES = env.text("RAXX_TAPES", default=str(BASE_DIR.parent / "shared" / "data"))

# -- Django ---------------------------------------------------------------------------------------
DEBUG = False
ALLOWED_HOSTS = env.text("RAXX_HOSTS", default="localhost,127.0.0.1,[::1]").split(",")
INSTALLED_APPS = [
    "raxx.kernel",
    "audit",
    "console",
    "raxx.identity",
    "raxx.market",
    "mbt",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "rest_framework",
]
MIDDLEWARE = [
    "raxx.kernel.api.request_id.RequestIdMiddleware",
    "raxx.identity.middleware.RateHeadersMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "console.status.middleware.StatusFirst",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "console.middleware.OperatorMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "raxx.urls"
APPEND_SLASH = False
AUTH_USER_MODEL = "identity.User"
AUTHENTICATION_BACKENDS = ["console.backends.OperatorBackend"]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = True  # one machine needs no collectstatic
WHITENOISE_ALLOW_ALL_ORIGINS = False  # by default it lets every site read our files
with suppress(OSError):  # whitenoise warns when it is missing
    STATIC_ROOT.mkdir(exist_ok=True)
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

_TLS = env.flag("RAXX_TLS", default=False)  # behind a router that ends TLS and says so
# Where browsers find us, with commas: passkeys and cookies are taken from there only. Unset: localhost.
RAXX_ORIGINS: tuple[str, ...] = tuple(
    filter(None, (env.given("RAXX_ORIGINS") or "").replace(" ", "").split(","))
)
RAXX_RP_ID: str = env.text(
    "RAXX_RP_ID", (urlsplit(RAXX_ORIGINS[0]).hostname if RAXX_ORIGINS else "") or "localhost"
)
RAXX_RATE_FACTOR = env.whole("RAXX_RATE_FACTOR", default=1, minimum=1, maximum=100_000)  # for load tests
# How many proxies of ours stand before us: so many addresses from the right of X-Forwarded-For are believed.
RAXX_PROXY_DEPTH = env.whole("RAXX_PROXY_DEPTH", default=1 if _TLS else 0, minimum=0, maximum=5)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _TLS else None
SECURE_SSL_REDIRECT = _TLS
SECURE_HSTS_SECONDS = 31_536_000 if _TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = _TLS
# There are no sessions of Django's: operators come in as everybody does. The operator site's messages obey these too.
SILENCED_SYSTEM_CHECKS = ["admin.E410"]
MESSAGE_STORAGE = "console.one_time_messages.HostCookieStorage"
CSRF_COOKIE_NAME = "__Host-raxx-csrf"
# Browsers take Secure cookies from http://localhost too. Those of the session: raxx/identity/cookies.py.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Strict"
# Django sets these on its own responses; raxx/kernel/api/security_headers.py all of them on every response.
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# Mail to people about their accounts. Without a server nothing is sent; the page of the account shows it all.
RAXX_MAIL_FROM: str | None = None
if env.given("RAXX_MAIL_URL"):
    RAXX_MAIL_FROM = env.text("RAXX_MAIL_FROM")
    globals().update(env.mail_server("RAXX_MAIL_URL"))
EMAIL_TIMEOUT = 20  # s

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "raxx.identity.api.authentication.ApiKeyAuthentication",
        "raxx.identity.api.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["raxx.kernel.api.json_body.StrictJsonParser"],
    "DEFAULT_RENDERER_CLASSES": ["raxx.kernel.api.envelope.EnvelopeRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_METADATA_CLASS": None,  # what a path takes is in /api/schema/
    "EXCEPTION_HANDLER": "raxx.kernel.api.errors.handle",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Raxx",
    "DESCRIPTION": "Simulated trading of US stocks and options. Every order can be explained.",
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.0",
    "POSTPROCESSING_HOOKS": ["raxx.kernel.api.schema.hoist"],
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

# -- jobs -----------------------------------------------------------------------------------------
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1)
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_TIME_LIMIT = 120
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CONCURRENCY = 2
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # Measured: with the defaults a killed worker's job came back after 84 s.
    "visibility_timeout": 300,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "socket_timeout": 30,
    "socket_connect_timeout": 5,
}
CELERY_BEAT_SCHEDULE = {
    "console-data-requests": {"task": "console.data_requests", "schedule": 60.0, "options": {"expires": 60}},
    "console-purge": {"task": "console.purge", "schedule": 86_400.0, "options": {"expires": 3_600}},
    "console-heartbeat": {"task": "console.heartbeat", "schedule": 30.0, "options": {"expires": 30}},
    "outbox-sweep": {"task": "kernel.outbox_sweep", "schedule": 5.0, "options": {"expires": 5}},
    "identity-notices": {"task": "identity.mail_notices", "schedule": 10.0, "options": {"expires": 10}},
    "audit-seal": {"task": "audit.seal", "schedule": 1.0, "options": {"expires": 5}},
    "audit-checkpoint": {"task": "audit.checkpoint", "schedule": 60.0, "options": {"expires": 60}},
    "audit-purge": {"task": "audit.purge", "schedule": 86_400.0, "options": {"expires": 3_600}},
}

# -- logs: one line each, JSON on a server, plain for people ---------------------------------------
_LOG_STYLE = env.choice("RAXX_LOG", options=("plain", "json"), default="plain")
_PRE: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": structlog.stdlib.ProcessorFormatter,
            "foreign_pre_chain": _PRE,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                log_lines.one_line,
                structlog.processors.JSONRenderer()
                if _LOG_STYLE == "json"
                else structlog.dev.ConsoleRenderer(colors=False),
            ],
        },
    },
    "handlers": {
        "stdout": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stdout"}
    },
    "root": {
        "handlers": ["stdout"],
        "level": env.choice("RAXX_LOG_LEVEL", options=("DEBUG", "INFO", "WARNING", "ERROR"), default="INFO"),
    },
    "loggers": {"exchange_calendars": {"level": "WARNING"}, "celery": {"level": "WARNING"}},
}
structlog.configure(
    processors=[*_PRE, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=True,
)
