"""Connections that are given up when the head of a request does not come."""

from __future__ import annotations

import asyncio

from dsnet.dependencies import needed

with needed("review", "the review of labels"):
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

# A browser sends a head at once, and opens connections ahead that it may never use.
SLOWEST_HEAD = 20.0  # seconds


class TimelyProtocol(H11Protocol):
    """uvicorn's HTTP, which alone waits for ever for the rest of a head.

    From the first byte of a request, or from when a connection is made, its head has
    `SLOWEST_HEAD` seconds; then the connection is closed. What follows it, the body, is waited for
    by `app.SLOWEST_BODY`.
    """

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport) -> None:
        """A client connects: it has something to ask."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:  # The head is not whole, of this one or a next one.
            self._wait()
        else:
            self._wait_no_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._wait_no_more()
        super().connection_lost(exc)

    def _wait(self) -> None:
        # The first byte's time counts, not the last one's.
        if self._late is None:
            self._late = self.loop.call_later(SLOWEST_HEAD, self._give_up)

    def _wait_no_more(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if not self.transport.is_closing():
            self.transport.close()
