from raxx.kernel.errors import RaxxError


class EmbeddedServerFailed(RaxxError):
    """An embedded server cannot run here. `details` holds `remedy` and, where there is one, `log`:
    the last lines of the server's log."""

    code = "EMBEDDED_SERVER_FAILED"
    http_status = 503

    def __init__(self, message: str, *, remedy: str, log: str | None = None) -> None:
        super().__init__(f"{message} {remedy}", remedy=remedy, log=log)
