"""A server of a review: its socket, its address, a browser that shows it."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from urllib.parse import quote

from dsnet.console import warn
from dsnet.dependencies import needed
from dsnet.reviewing.app import make_app
from dsnet.reviewing.guard import LOOPBACK
from dsnet.reviewing.review import Review

LEAST_TOKEN = 16
# Between two looks at the store; without a change each is a `stat` of two files.
LOOK_SECONDS = 3.0
# A page keeps what the server did not confirm yet by its address, which so stays the same.
PORT, TRIES = 8477, 20


def checked_token(token: str | None, host: str) -> str:
    """The token of an address, made where none is given and the host is this machine alone.

    Raises
    ------
    ValueError
        When another host has none, or it is short or not plain.
    """
    if token is None:
        if host not in LOOPBACK:
            raise ValueError(f"--host {host} needs --token: others can reach that address")
        return secrets.token_urlsafe(24)
    plain = token.isascii() and all(c.isalnum() or c in "-_.~" for c in token)
    if len(token) < LEAST_TOKEN or not plain:
        raise ValueError(
            f"--token must be at least {LEAST_TOKEN} letters, digits and -_.~, got {len(token)}"
            " characters"
        )
    return token


def bound(host: str, port: int, *, tries: int = 1) -> socket.socket:
    """A socket that listens at an address; port 0 takes a free one.

    Raises
    ------
    OSError
        When neither it nor the next `tries` - 1 ports are to be had; names it.
    """
    for other in range(port, port + tries):
        try:
            return _bound(host, other)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and other < port + tries - 1:
                continue
            ports = f"port {other}" if other == port else f"ports {port} to {other}"
            raise OSError(f"cannot listen at {host}, {ports}: {error.strerror or error}") from error
    raise ValueError(f"tries must be at least 1, got {tries}")


def _bound(host: str, port: int) -> socket.socket:
    family, kind, proto, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, proto)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening


def address_of(host: str, port: int, token: str, reader: str | None = None) -> str:
    """The page's address, with what it needs."""
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()  # Every address of this machine: its name is one.
    shown = f"[{host}]" if ":" in host else host
    more = f"&reader={quote(reader, safe='')}" if reader else ""
    return f"http://{shown}:{port}/?token={token}{more}"


def serve(
    review: Review,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    token: str | None = None,
    reader: str | None = None,
    browser: bool = True,
    tell: Callable[[str], None] | None = None,
) -> None:
    """Serve a review until Ctrl-C or SIGTERM; prints its address first.

    Parameters
    ----------
    review : Review
    host : str
    port : int, optional
        0 takes a free one. By default `PORT`, or the next of `TRIES` that is free.
    token : str, optional
        See `checked_token`.
    reader : str, optional
        Whom the page takes its reader for, until he says otherwise.
    browser : bool
        Open the address, where there is a browser with a window.
    tell : callable, optional
        Is told, without the token, where this server is.

    Raises
    ------
    ValueError, OSError
        As `checked_token` and `bound`.
    """
    with needed("review", "the review of labels"):
        import uvicorn

        from dsnet.reviewing.timely import TimelyProtocol
    token = checked_token(token, host)
    listening = bound(host, PORT if port is None else port, tries=TRIES if port is None else 1)
    local = host in LOOPBACK
    hosts = LOOPBACK if local else (*LOOPBACK, host, socket.gethostname(), socket.getfqdn())
    app = make_app(review, token, hosts, any_address=not local)
    config = uvicorn.Config(
        app,
        http=TimelyProtocol,
        log_level="warning",
        access_log=False,  # It would hold the token.
        server_header=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        timeout_graceful_shutdown=3,
    )
    address = address_of(host, listening.getsockname()[1], token, reader)
    if tell is not None:
        place = address.partition("/?")[0]
        tell(f"{place} (process {os.getpid()} on {socket.gethostname()})")
    print(address, flush=True)
    ended = threading.Event()
    threading.Thread(target=_watch, args=(review, ended), daemon=True).start()
    if browser and has_window():
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    try:
        with listening:
            uvicorn.Server(config).run(sockets=[listening])
    finally:
        ended.set()


def _watch(review: Review, ended: threading.Event) -> None:
    """Take in what a run appends to the store meanwhile."""
    while not ended.wait(LOOK_SECONDS):
        try:
            review.look()
        except Exception as error:  # The pages go on with what is known.
            warn(f"the store cannot be read anew: {error}")


def has_window() -> bool:
    """Whether a browser could show a window here: one in the terminal would take that over."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
