"""What identity writes into the record. Rows name people by pseudonym only, and hold no secret."""

from audit.events import EventType, register

USER_REGISTERED = "identity.user.registered"
USER_RECOVERED = "identity.user.recovered"
USER_LOCKED = "identity.user.locked"
API_KEY_ISSUED = "identity.api_key.issued"
API_KEY_REVOKED = "identity.api_key.revoked"
PASSKEY_ENROLLED = "identity.passkey.enrolled"
PASSKEY_RENAMED = "identity.passkey.renamed"
PASSKEY_REMOVED = "identity.passkey.removed"
PASSKEY_SUSPECTED = "identity.passkey.suspected"
CODES_RENEWED = "identity.recovery_codes.renewed"
CODE_USED = "identity.recovery_codes.used"
SESSION_STARTED = "identity.session.started"
SESSION_REVOKED = "identity.session.revoked"
SESSION_REFRESH_REUSED = "identity.session.refresh_reused"
STEP_UP_GRANTED = "identity.step_up.granted"
STEP_UP_USED = "identity.step_up.used"


def register_all() -> None:
    """Called once, when the app starts."""
    register(
        EventType(USER_REGISTERED, "2y", "A user was made."),
        EventType(
            USER_RECOVERED, "2y", "A user came back by a recovery code or a link and enrolled a passkey."
        ),
        EventType(USER_LOCKED, "2y", "An operator's sign-in was locked after failed ceremonies."),
        EventType(API_KEY_ISSUED, "2y", "An API key was made; its secret was shown once."),
        EventType(API_KEY_REVOKED, "2y", "An API key stopped working."),
        EventType(PASSKEY_ENROLLED, "2y", "A passkey was added."),
        EventType(PASSKEY_RENAMED, "2y", "A passkey got another name."),
        EventType(PASSKEY_REMOVED, "2y", "A passkey was removed."),
        EventType(PASSKEY_SUSPECTED, "2y", "A passkey that looks cloned or changed was refused."),
        EventType(CODES_RENEWED, "2y", "Ten recovery codes were made; older ones are dead."),
        EventType(CODE_USED, "2y", "A recovery code was used up."),
        EventType(SESSION_STARTED, "2y", "Somebody signed in."),
        EventType(SESSION_REVOKED, "2y", "A session was ended."),
        EventType(SESSION_REFRESH_REUSED, "2y", "A used refresh token came again; its session was ended."),
        EventType(STEP_UP_GRANTED, "7y", "A person confirmed one action with a passkey."),
        EventType(STEP_UP_USED, "7y", "A confirmed action was done."),
    )
