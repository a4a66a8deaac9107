"""What is asked of a Dask cluster ends, whatever becomes of the worker that had it: with a client in its place."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError

import pytest

from tsne_ooc.workers.asking import Piece, answers
from tsne_ooc.workers.dask import DaskExecutor, ending

WAIT = 20


class Asked:
    """A future of Dask, whose worker is lost as soon as its result is fetched."""

    def __init__(self, call):
        self.call, self.status, self.given_up = call, "finished", threading.Event()

    def cancel(self):
        self.given_up.set()


class Client:
    """In the place of a Dask client: fetches results as `fetched` does, in a loop of its own thread."""

    def __init__(self, fetched):
        self.fetched, self.options, self.loop = fetched, [], self
        self.own = asyncio.new_event_loop()
        threading.Thread(target=self.own.run_forever, daemon=True).start()

    def submit(self, function, *arguments, **options):
        self.options.append(options)
        return Asked(lambda: function(*arguments))

    async def gather(self, asked, *, asynchronous):
        assert asynchronous
        asked.status = "lost"
        return await self.fetched(asked)

    def add_callback(self, function, *arguments):
        asyncio.run_coroutine_threadsafe(function(*arguments), self.own)


async def at_once(asked):
    return asked.call()


def raising(error):
    async def fetched(asked):
        raise error

    return fetched


def test_a_result_counts_though_its_worker_is_gone():
    """With `distributed`'s own executor: "not enough values to unpack (expected 3, got 2)"."""
    client = Client(at_once)
    executor = DaskExecutor(client, pure=False, retries=2)
    assert executor.submit(divmod, 7, 2).result(WAIT) == (3, 1)
    assert client.options == [{"pure": False, "retries": 2}]


@pytest.mark.parametrize("error", [CancelledError("lost"), asyncio.CancelledError("lost")], ids=["futures", "asyncio"])
def test_what_cannot_be_fetched_is_cancelled(error):
    """Its future never ended."""
    with pytest.raises(CancelledError, match="lost"):
        DaskExecutor(Client(raising(error))).submit(int).result(WAIT)


def test_an_error_of_a_worker_is_the_future_s():
    with pytest.raises(KeyError, match="row"):
        DaskExecutor(Client(raising(KeyError("row")))).submit(int).result(WAIT)
    with pytest.raises(ZeroDivisionError):
        DaskExecutor(Client(at_once)).submit(divmod, 1, 0).result(WAIT)


def test_nobody_waits_for_what_was_cancelled():
    begun, go_on, kept = threading.Event(), threading.Event(), []

    async def slowly(asked):
        kept.append(asked)
        begun.set()
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        return asked.call()

    client = Client(slowly)
    executor = DaskExecutor(client)
    future = executor.submit(int)
    assert begun.wait(WAIT) and future.cancel() and kept[0].given_up.is_set()
    go_on.set()
    # The loop goes on afterwards.
    assert executor.submit(int).result(WAIT) == 0 and future.cancelled()


def test_a_block_that_was_lost_is_asked_for_again():
    """Two of its results cannot be fetched; the third one is there."""
    lost = [CancelledError("lost"), asyncio.CancelledError("lost")]

    async def fetched(asked):
        if lost:
            raise lost.pop()
        return asked.call()

    pieces = [Piece(0, 5, dict, ()), Piece(5, 9, dict, ())]
    found = [answer for some in answers(pieces, DaskExecutor(Client(fetched)), 2) for answer in some]
    assert sorted(found) == [(0, 5, {}), (5, 4, {})] and not lost


def test_an_executor_of_a_client_is_replaced_and_others_are_not():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as plain:
        assert ending(plain) is plain
    own = DaskExecutor(Client(at_once))
    assert ending(own) is own
    cfexecutor = pytest.importorskip("distributed.cfexecutor")
    client = Client(at_once)
    found = ending(cfexecutor.ClientExecutor(client, pure=False, retries=1))
    assert isinstance(found, DaskExecutor) and found.submit(int).result(WAIT) == 0
    assert client.options == [{"pure": False, "retries": 1}]
