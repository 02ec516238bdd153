"""The checks of what every installation stands on. Registered in apps.py; the apps above add their own."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import psycopg
from django.conf import settings
from django.core.checks import ERROR, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseProblem
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from redis.exceptions import RedisError

from audit import signing
from audit.services import sealing
from console.doctor import Finding, fail, ok, register, warn
from console.models import Job
from console.services import data_requests
from console.services.jobs import HEARTBEAT
from raxx.kernel import clock, embedded, env, keys, valkey

POSTGRESQL_MIN, VALKEY_MIN = 15, 7
CONNECTIONS_USED_PERCENT_MAX = 80
CLOCK_DIFFERENCE_S_WARN, CLOCK_DIFFERENCE_S_FAIL = 1, 5
OUTBOX_WAITING_MAX = timedelta(seconds=30)
HEARTBEAT_AGE_MAX = timedelta(minutes=2)
_START_JOBS = "Start the jobs: celery -A raxx worker, and celery -A raxx beat."
_CONNECT_TIMEOUT_S = 3
_LOCAL = {"localhost", "127.0.0.1", "[::1]"}


def register_all() -> None:
    register("settings", settings_are_sound)
    register("keys", keys_are_sound)
    register("database", database_answers)
    register("redis", redis_answers)
    register("migrations", migrations_are_applied, needs=("database",))
    register("clock", clocks_agree, needs=("database",))
    register("outbox", outbox_is_announced, needs=("database", "migrations"))
    register("record", record_is_sealed, needs=("database", "migrations"))


def settings_are_sound(now: datetime) -> Finding:
    if settings.DEBUG:
        return fail("DEBUG is on, which shows internals to visitors", remedy="Set DEBUG to False.")
    public = [host for host in settings.ALLOWED_HOSTS if host not in _LOCAL]
    if "*" in public:
        return fail(
            "any Host header is accepted",
            remedy="Set RAXX_HOSTS to the names under which the site is reached, with commas between them.",
        )
    if public and not settings.SECURE_SSL_REDIRECT:
        return fail(
            f"{public[0]} is served without TLS: cookies and API keys travel in clear text",
            remedy="Put a router in front that ends TLS and says so in X-Forwarded-Proto, then set RAXX_TLS=1.",
        )
    problems = [issue for issue in run_checks() if issue.level >= ERROR and not issue.is_silenced()]
    if problems:
        return fail(
            f"{problems[0].id}: {problems[0].msg}",
            remedy=problems[0].hint or "Run python manage.py check and follow what it says.",
        )
    where = ", ".join(settings.ALLOWED_HOSTS)
    return ok(f"served as {where} {'over TLS' if settings.SECURE_SSL_REDIRECT else 'on this machine only'}")


def keys_are_sound(now: datetime) -> Finding:
    generate = "Generate one with `openssl rand -hex 32`"
    for name, value in (
        ("DJANGO_SECRET_KEY", settings.SECRET_KEY),
        ("RAXX_FIELD_KEY", settings.RAXX_FIELD_KEY),
    ):
        if len(value) < keys.ROOT_LENGTH_MIN or len(set(value)) < 8:
            return fail(
                f"{name} is too short or too plain to be a key", remedy=f"{generate} and set {name} to it."
            )
    if settings.SECRET_KEY == settings.RAXX_FIELD_KEY:
        return fail(
            "DJANGO_SECRET_KEY and RAXX_FIELD_KEY are the same",
            remedy=f"{generate} and set DJANGO_SECRET_KEY to it; never change RAXX_FIELD_KEY.",
        )
    try:
        keys.derive("doctor")
    except ImproperlyConfigured as problem:
        return fail(str(problem), remedy=f"{generate} and set RAXX_FIELD_KEY to it.")
    if env.given("DATABASE_URL") is None or embedded.demo_secrets().field_key == settings.RAXX_FIELD_KEY:
        return ok("those of this machine's own embedded database")
    return ok("two different ones, both long enough")


def database_answers(now: datetime) -> Finding:
    """By a connection of its own, which a full pool does not hold up."""
    try:
        version, used, allowed = _ask_database()
    except (psycopg.Error, DatabaseProblem) as problem:
        return fail(
            f"PostgreSQL does not answer ({type(problem).__name__})",
            remedy="See that PostgreSQL runs and that DATABASE_URL names it.",
        )
    if version // 10_000 < POSTGRESQL_MIN:
        return fail(
            f"PostgreSQL {version // 10_000} is too old",
            remedy=f"Upgrade to PostgreSQL {POSTGRESQL_MIN} or newer.",
        )
    facts = f"PostgreSQL {version // 10_000} answers; {used} of {allowed} connections are in use"
    if used * 100 > allowed * CONNECTIONS_USED_PERCENT_MAX:
        return warn(facts, remedy="Run fewer web processes (WEB_CONCURRENCY), or lower RAXX_DB_POOL_SIZE.")
    return ok(facts)


def _ask_database() -> tuple[int, int, int]:
    # The pool is a matter of Django's connection, not of this one.
    known: dict[str, Any] = {k: v for k, v in connection.get_connection_params().items() if k != "pool"}
    for ours in ("cursor_factory", "context", "server_side_binding", "prepare_threshold"):
        known.pop(ours, None)
    with psycopg.connect(**{**known, "connect_timeout": _CONNECT_TIMEOUT_S}) as direct:
        row = direct.execute(
            "SELECT current_setting('server_version_num')::int,"
            " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
            " current_setting('max_connections')::int"
        ).fetchone()
    return cast(tuple[int, int, int], row)


def redis_answers(now: datetime) -> Finding:
    try:
        facts = valkey.shared().info()
    except RedisError as problem:
        return fail(
            f"Valkey or Redis does not answer ({type(problem).__name__}): nobody can sign in, and no orders are taken",
            remedy="See that it runs and that REDIS_URL names it.",
        )
    version = str(facts.get("valkey_version") or facts.get("redis_version") or "0")
    if int(version.partition(".")[0]) < VALKEY_MIN:
        return fail(f"Redis {version} is too old", remedy=f"Upgrade to Redis {VALKEY_MIN} or any Valkey.")
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        return warn(
            f"when memory runs out it drops keys ({policy}), sessions among them",
            remedy="Set maxmemory-policy to noeviction.",
        )
    name = "Valkey" if "valkey_version" in facts else "Redis"
    return ok(f"{name} {version} answers and holds {facts.get('used_memory_human', '?')}")


def migrations_are_applied(now: datetime) -> Finding:
    loader = MigrationLoader(connection)
    conflicts = loader.detect_conflicts()
    if conflicts:
        return fail(
            f"migrations of {', '.join(sorted(conflicts))} do not form one line",
            remedy="Deploy a version whose migrations do: this one was merged by mistake.",
        )
    missing = sorted(set(loader.graph.nodes) - set(loader.applied_migrations))
    if missing:
        return fail(
            f"{len(missing)} not applied, the first is {'.'.join(missing[0])}",
            remedy="Run python manage.py migrate.",
        )
    return ok(f"all {len(loader.applied_migrations)} applied")


def clocks_agree(now: datetime) -> Finding:
    """The clock of this machine against those of the database and of Valkey."""
    try:
        seconds, micros = valkey.shared().time()
        redis_s = seconds + micros / 1_000_000 - clock.now().timestamp()
    except RedisError:
        redis_s = 0.0
    differences = {"PostgreSQL": _database_clock(), "Valkey": redis_s}
    name, worst_s = max(differences.items(), key=lambda item: abs(item[1]))
    facts = f"{name} is {worst_s:+.3f} s off this machine's clock"
    remedy = "Start time synchronisation (chrony or systemd-timesyncd) on this machine and on the servers."
    if abs(worst_s) > CLOCK_DIFFERENCE_S_FAIL:
        return fail(facts, remedy=remedy)
    if abs(worst_s) > CLOCK_DIFFERENCE_S_WARN:
        return warn(facts, remedy=remedy)
    return ok(f"within {max(abs(worst_s), 0.001):.3f} s of each other")


def _database_clock() -> float:
    """Seconds by which PostgreSQL is ahead, to within the time that asking takes."""
    with connection.cursor() as cursor:
        before = clock.now()
        cursor.execute("SELECT clock_timestamp()")
        theirs = cast(datetime, cursor.fetchone()[0]).astimezone(UTC)
        after = clock.now()
    return (theirs - (before + (after - before) / 2)).total_seconds()


def outbox_is_announced(now: datetime) -> Finding:
    """What was stored and not announced: the jobs that see to it do not run."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), min(created_at) FROM outbox WHERE published_at IS NULL")
        waiting, oldest = cursor.fetchone()
    if oldest is None or now - oldest < OUTBOX_WAITING_MAX:
        return ok(f"{waiting} event{'' if waiting == 1 else 's'} on the way")
    return fail(
        f"{waiting} events wait, the oldest for {(now - oldest).total_seconds():.0f} s",
        remedy=_START_JOBS,
    )


def record_is_sealed(now: datetime) -> Finding:
    """Rows of the audit record that wait for their seal, and whose key signs them. Not whether they are sound:
    that is `audit_verify`."""
    oldest = sealing.oldest_unsealed()
    waiting_s = 0.0 if oldest is None else (now - oldest).total_seconds()
    if waiting_s > sealing.LATE_S:
        return fail(f"audit rows wait for their seal, the oldest for {waiting_s:.0f} s", remedy=_START_JOBS)
    if not signing.has_own_key() and settings.SECURE_SSL_REDIRECT:
        return warn(
            "checkpoints of the audit record are signed with a development key",
            remedy="Set RAXX_AUDIT_KEY, for instance to the output of `openssl rand -hex 32`.",
        )
    return ok("every audit row older than a moment is sealed")


def jobs_run(now: datetime) -> Finding:
    """By the heartbeat, a job that does nothing but come through twice a minute."""
    beat = Job.objects.filter(name=HEARTBEAT).first()
    if beat is None or beat.succeeded_at is None:
        return fail("no job has ever run here", remedy=_START_JOBS)
    silent = now - beat.succeeded_at
    if silent > HEARTBEAT_AGE_MAX:
        return fail(f"no job has run for {silent.total_seconds():.0f} s", remedy=_START_JOBS)
    troubled = Job.objects.filter(failures__gt=0).order_by("name").first()
    if troubled is not None:
        return warn(
            f"{troubled.name} failed {troubled.failures} times, the last time by {troubled.problem}",
            remedy="Look it up in the log, then acknowledge it on the operator site's home page.",
        )
    return ok(f"the last heartbeat came through {max(silent.total_seconds(), 0):.0f} s ago")


def data_requests_are_answered(now: datetime) -> Finding:
    """In time, which is a month by law."""
    urgent = data_requests.urgent(now)
    if not urgent:
        return ok("none is near its due date")
    first = urgent[0]
    facts = f"{len(urgent)} to see to; the first is {data_requests.due_in_words(first.due_at, now)}"
    remedy = "Open the operator site's home page, which lists them, and read the log for why they wait."
    overdue = any(request.due_at < now for request in urgent)
    return fail(facts, remedy=remedy) if overdue else warn(facts, remedy=remedy)
