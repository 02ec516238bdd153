from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "raxx.identity.api.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:  # noqa: ANN401 - as its base has it
        return {
            "type": "http",
            "scheme": "basic",
            "description": "An API key: the key id as the user name, the secret as the password.",
        }


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "raxx.identity.api.authentication.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:  # noqa: ANN401 - as its base has it
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": "__Host-raxx",
            "description": "A browser's session. Writes also need the header X-Raxx-CSRF: 1, Content-Type:"
            " application/json, and an Origin or Sec-Fetch-Site that is this site.",
        }
