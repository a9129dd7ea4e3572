"""What commands open, they close; keys are those of the server."""

from proxy.commands.context import opened
from proxy.keys import KeyStore


async def test_keys_are_found_by_another_opening() -> None:
    async with opened(None) as context:
        new = await context.keys().create()
        assert context.config.path is None
    async with opened(None) as context:
        store: KeyStore = context.keys()
        assert await store.lookup(new.secret)
