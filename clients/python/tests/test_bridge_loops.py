"""A bridge that is used on several event loops, one after the other."""

import asyncio
import gc
import warnings

from fake_http import answering

from fanfare_client.bridge import Bridge


def test_a_connection_is_not_used_again_on_another_loop():
    async def push(times):
        return [await bridge.push("alice", {"n": n}) for n in range(times)]

    # What asyncio says of connections that their loop has left open is not of interest.
    with answering() as (url, requests), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        bridge = Bridge(url)
        assert asyncio.run(push(2)) == [True, True]
        assert asyncio.run(push(3)) == [True, True, True]
        bridge.close()
        gc.collect()
    assert [len(heads) for heads in requests] == [2, 3]
