"""What commands open, they close; keys are those of the server."""

from proxy.commands.context import opened
from proxy.keys import KeyStore


async def test_keys_are_found_by_another_opening() -> None:
    async with opened(None) as context:
        keys = await context.keys()
        new = await keys.create()
        assert context.config.path is None
    async with opened(None) as context:
        store: KeyStore = await context.keys()
        assert await store.lookup(new.secret)
