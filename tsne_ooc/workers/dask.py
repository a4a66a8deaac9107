"""The workers of a Dask cluster, asked so that each question ends, whatever becomes of a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, InvalidStateError
from contextlib import suppress
from typing import Any


class DaskExecutor(Executor):
    """Asks the workers of a Dask client.

    `distributed`'s own executor (2026.8) fetches a result, and looks at the state of its future afterwards: where the
    worker has died by then, it takes the result for an error. Where a result cannot be fetched, its future never ends.
    Here a future has the result, or the error that fetching it met.

    Parameters
    ----------
    client : distributed.Client
    options : dict
        What `Client.submit` is given with each call.
    """

    def __init__(self, client: Any, **options: Any) -> None:
        self._client = client
        self._options = options

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        asked = self._client.submit(function, *arguments, **self._options, **named)
        future: Future[Any] = Future()

        def forget(future: Future[Any]) -> None:
            if future.cancelled():
                asked.cancel()

        future.add_done_callback(forget)
        self._client.loop.add_callback(self._fetch, asked, future)
        return future

    async def _fetch(self, asked: Any, future: Future[Any]) -> None:
        # Nobody waits any more for one that was cancelled meanwhile.
        with suppress(InvalidStateError):
            try:
                found = await self._client.gather(asked, asynchronous=True)
            except (CancelledError, asyncio.CancelledError) as error:
                future.set_exception(CancelledError(str(error)))
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(found)


def ending(executor: Executor) -> Executor:
    """The executor, or, for one of a Dask client, a `DaskExecutor` of that client."""
    if type(executor).__module__ != "distributed.cfexecutor":
        return executor
    given: Any = executor
    return DaskExecutor(given._client, **given._kwargs)
