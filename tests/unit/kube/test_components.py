"""What the parts of the control plane say of themselves."""

from __future__ import annotations

import asyncio

from aiohttp import web

from k8slab.kube.api.components import LONGEST, Components


async def test_a_part_that_never_ends_what_it_says_is_heard_all_the_same() -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"o" * 1000)

    server = await asyncio.get_running_loop().create_server(web.Server(handle), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    [found] = await Components({"scheduler": f"http://127.0.0.1:{port}/healthz"}).look()
    [condition] = found["conditions"]
    assert (condition["status"], condition["message"]) == ("True", "o" * LONGEST)
    server.close()
