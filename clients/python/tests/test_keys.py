"""Keys as they come from files."""

from fake_http import answering

from fanfare_client.bridge import Bridge


async def test_a_bridges_key_is_read_as_from_a_file():
    with answering() as (url, requests):
        async with Bridge(url, key="secret\n") as bridge:
            assert await bridge.push("alice", {})
        async with Bridge(url, key=" \n") as bridge:
            assert await bridge.push("alice", {})
    heads = [head for heads in requests for head in heads]
    assert ["Authorization: Bearer secret" in head for head in heads] == [True, False]
