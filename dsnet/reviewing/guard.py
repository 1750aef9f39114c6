"""Who may ask: a page of this machine's own, with the token; nothing else gets an answer."""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Iterable
from typing import Any

# Nothing but what this server itself sends is run, shown or asked; no other page frames it, no
# address that the page links to learns the token.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
LOOPBACK = ("localhost", "127.0.0.1", "::1")
TOKEN = "x-dsnet-token"
API = "/api/"


class Guard:
    """An ASGI application before another one: checks host, origin and token, adds `HEADERS`.

    Parameters
    ----------
    app : ASGI application
    token : str
        What everything below `/api/` needs in its header `X-DSNet-Token`.
    hosts : iterable of str
        Names that a browser may know this server by: a page of another name that was made to
        lead here (DNS rebinding) is refused.
    any_address : bool
        Numeric addresses are good, too: no name leads there.
    """

    def __init__(
        self, app: Any, token: str, hosts: Iterable[str] = LOOPBACK, *, any_address: bool = False
    ) -> None:
        self._app, self._token = app, token.encode()
        self._hosts = {host.lower().rstrip(".") for host in hosts}
        self._any_address = any_address

    async def __call__(self, scope, receive, send) -> None:
        """Answer, or hand on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # There is no web socket.
            return

        async def guarded(message) -> None:
            if message["type"] == "http.response.start":
                own = [(n.lower().encode(), v.encode()) for n, v in HEADERS.items()]
                names = {name for name, _ in own}
                kept = [pair for pair in message.get("headers", []) if pair[0] not in names]
                message = {**message, "headers": [*kept, *own]}
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, guarded)
            return
        status, text = refusal
        body = json.dumps({"error": text}).encode()
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await guarded({"type": "http.response.start", "status": status, "headers": head})
        await guarded({"type": "http.response.body", "body": body})

    def _refusal(self, scope) -> tuple[int, str] | None:
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        hosts = headers.get(b"host", [])
        if len(hosts) != 1 or not self._is_own(hosts[0].decode("latin-1")):
            return 421, "host must be an address of this server's"
        for origin in headers.get(b"origin", []):
            if origin.partition(b"://")[2] != hosts[0] or b"://" not in origin:
                return 403, "origin must be this server's own page"
        for site in headers.get(b"sec-fetch-site", []):
            if scope["path"].startswith(API) and site not in (b"same-origin", b"none"):
                return 403, "origin must be this server's own page"
        if scope["path"].startswith(API):
            given = headers.get(TOKEN.encode(), [])
            if len(given) != 1 or not hmac.compare_digest(given[0], self._token):
                return 401, "token must be the one of the address that the server printed"
        return None

    def _is_own(self, host: str) -> bool:
        name = host.lower()
        if name.startswith("["):
            name, _, rest = name[1:].partition("]")
        else:
            name, _, rest = name.partition(":")
            rest = f":{rest}" if rest else ""
        if rest and not (rest.startswith(":") and rest[1:].isdigit()):
            return False
        if name.rstrip(".") in self._hosts:
            return True
        if not self._any_address:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
