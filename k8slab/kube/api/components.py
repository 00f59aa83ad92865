"""How the parts of the control plane are, asked at the moment of the question: ``kubectl get componentstatuses``."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Mapping
from typing import Final

import aiohttp

from k8slab.kube.api.meta import Object

SECONDS: Final = 2.0
LONGEST: Final = 200
SCHEDULER_PORT: Final = 10251
CONTROLLERS_PORT: Final = 10252


class Components:
    """``places``: the parts by name, each with the address that says whether it is well."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = dict(places)

    @classmethod
    def beside(cls, address: str, etcd: list[str]) -> Components:
        """The scheduler and the controllers on this server's own machine, where the original looks too, and etcd."""
        own = {
            "scheduler": f"http://{address}:{SCHEDULER_PORT}/healthz",
            "controller-manager": f"http://{address}:{CONTROLLERS_PORT}/healthz",
        }
        return cls({**own, **{f"etcd-{index}": f"{url.rstrip('/')}/health" for index, url in enumerate(etcd)}})

    async def look(self, name: str = "") -> list[Object]:
        """Of all parts, or of the one named; nothing for a name that is none."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS)) as http:
            chosen = [one for one in sorted(self._places) if name in ("", one)]
            return list(await asyncio.gather(*(self._ask(http, one) for one in chosen)))

    async def _ask(self, http: aiohttp.ClientSession, name: str) -> Object:
        url = self._places[name]
        condition: Object = {"type": "Healthy", "status": "True"}
        try:
            async with http.get(url if "://" in url else f"http://{url}") as answer:
                said = (await answer.content.read(LONGEST)).decode()
                well = answer.status == 200 and '"health":"false"' not in said
        except aiohttp.ClientConnectorError as trouble:
            why = os.strerror(trouble.os_error.errno or errno.ECONNREFUSED).lower()
            condition |= {"status": "False", "message": f"Get {url}: {why}"}
        except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError) as trouble:
            condition |= {"status": "False", "message": f"Get {url}: {str(trouble) or 'no answer in time'}"}
        else:
            condition["message"] = said
            if not well:
                condition |= {"status": "False", "error": answer.reason or ""}
        return {"metadata": {"name": name, "creationTimestamp": None}, "conditions": [condition]}
