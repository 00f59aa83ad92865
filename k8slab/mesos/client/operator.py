"""An operator's side: questions and orders to masters and agents, and the stream of what happens in a cluster."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson

from k8slab.mesos.authentication import Credentials
from k8slab.mesos.client.detector import MasterDetector, with_port
from k8slab.mesos.client.errors import MesosError
from k8slab.mesos.client.stream import CONNECT_SECONDS, JSON_HEADERS, Event, Moved, Subscription, decode_bytes

log = logging.getLogger(__name__)

ANSWER_SECONDS = 10.0
LEADER_SECONDS = 10.0
RETRY_SECONDS = 0.2
SILENT_HEARTBEATS = 5
HEARTBEAT_SECONDS = 15.0
AGENT_PORT = 5051


class Unreached(MesosError):
    """Nobody listens there: the call was certainly not heard."""


class OperatorClient(ABC):
    """What masters and agents have in common: the operator API ``/api/v1`` and JSON routes. Raises MesosError."""

    def __init__(self, credentials: Credentials | None = None) -> None:
        self._credentials = credentials
        self._session: aiohttp.ClientSession | None = None

    @abstractmethod
    async def _send(self, method: str, path: str, body: bytes | None) -> bytes: ...

    async def call(self, type: str, payload: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the call ``type`` answers: of ``{"type": "GET_X", "get_x": {…}}`` the inner part; ``{}`` of an order."""
        call: dict[str, Any] = {"type": type}
        if payload is not None:
            call[type.lower()] = dict(payload)
        text = await self._send("POST", "/api/v1", orjson.dumps(call))
        answer = _json(type, text) if text else {}
        return dict(answer.get(type.lower()) or {})

    async def get(self, route: str, **query: Any) -> Any:
        """The JSON that a route answers."""
        asked = f"{route}?{urlencode(query)}" if query else route
        return _json(route, await self._send("GET", asked, None))

    async def state(self) -> dict[str, Any]:
        """``/state``, in the older API's names."""
        return dict(await self.get("/state"))

    async def _ask(self, address: str, method: str, path: str, body: bytes | None) -> bytes:
        """One request to one address. Raises MesosError, and Moved when a follower answers."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout)
        url = f"http://{address}{path}"
        headers = {
            **(JSON_HEADERS if body is not None else {}),
            **(self._credentials.headers if self._credentials else {}),
        }
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                text = await response.read()
        except aiohttp.ClientConnectorError as error:
            raise Unreached(0, f"{url}: {error}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise MesosError(0, f"{url}: {type(error).__name__} {error}") from error
        if response.status == 307:
            raise Moved(response.headers.get("Location", ""))
        if response.status // 100 != 2:
            raise MesosError(response.status, text.decode(errors="replace") or str(response.reason))
        return text

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class MasterClient(OperatorClient):
    """The leading master, whoever that is at the moment. ``master``: ``zk://…`` or ``host:port,…``."""

    def __init__(
        self,
        master: str,
        *,
        patience: float = LEADER_SECONDS,
        session_timeout: float = 10.0,
        credentials: Credentials | None = None,
    ) -> None:
        """``patience``: seconds to look for a leader that answers. Raises ValueError for what is no address."""
        super().__init__(credentials)
        self.detector = MasterDetector(master, session_timeout=session_timeout)
        self._patience = patience
        self._closed = False

    async def _send(self, method: str, path: str, body: bytes | None) -> bytes:
        """Ask until one that leads answers. An order that one may have heard is not given twice."""
        problem = "no master is known to lead"
        try:
            async with asyncio.timeout(self._patience):
                while True:
                    leader = await self.detector.leader()
                    try:
                        return await self._ask(leader, method, path, body)
                    except Moved as moved:
                        problem = f"{leader} does not lead"
                        self.detector.redirect(moved.location)
                    except MesosError as error:
                        if not (
                            error.status == 503
                            or isinstance(error, Unreached)
                            or (error.status == 0 and method == "GET")
                        ):
                            raise
                        problem = error.text
                        self.detector.give_up(leader)
                    await asyncio.sleep(RETRY_SECONDS)
        except TimeoutError as error:
            raise MesosError(503, problem) from error

    async def events(self) -> AsyncIterator[Event]:
        """The operator events, heartbeats left out, from every leader in turn; ``{"type": "DISCONNECTED"}`` between.

        Each subscription begins with SUBSCRIBED, which has the whole state: what was missed meanwhile is in it.
        """
        while not self._closed:
            leader = await self.detector.leader()
            subscription = Subscription(f"http://{leader}/api/v1", self._credentials)
            subscribed = False
            try:
                silence = HEARTBEAT_SECONDS * SILENT_HEARTBEATS
                async for event in subscription.open({"type": "SUBSCRIBE"}, silence=silence):
                    subscribed = subscribed or event["type"] == "SUBSCRIBED"
                    if event["type"] != "HEARTBEAT":
                        yield event
            except Moved as moved:
                self.detector.redirect(moved.location)
            except MesosError as error:
                if error.status not in (0, 503):
                    raise
                log.info("no events from %s: %s", leader, error)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                log.info("events of %s: %s %s", leader, type(error).__name__, error)
            finally:
                await subscription.close()
            if subscribed:
                yield {"type": "DISCONNECTED"}
            elif not self._closed:
                self.detector.give_up(leader)
                # Masters that send us from one to the other are not asked in a hurry.
                await asyncio.sleep(RETRY_SECONDS)
            await self.detector.moved_within(leader, RETRY_SECONDS)

    async def teardown(self, framework_id: str) -> None:
        """End a framework: its tasks are killed and its id is barred."""
        await self.call("TEARDOWN", {"framework_id": {"value": framework_id}})

    async def mark_agent_gone(self, agent_id: str) -> None:
        """Declare that an agent never returns: its tasks count as gone, and it is told to end if it still lives."""
        await self.call("MARK_AGENT_GONE", {"agent_id": {"value": agent_id}})

    async def weights(self) -> dict[str, float]:
        """Those that were set; every other role weighs 1."""
        found = (await self.call("GET_WEIGHTS")).get("weight_infos", ())
        return {info["role"]: info["weight"] for info in found}

    async def update_weights(self, weights: Mapping[str, float]) -> None:
        infos = [{"role": role, "weight": weight} for role, weight in weights.items()]
        await self.call("UPDATE_WEIGHTS", {"weight_infos": infos})

    async def reserve(self, agent_id: str, resources: Sequence[Mapping[str, Any]]) -> None:
        await self.call("RESERVE_RESOURCES", {"agent_id": {"value": agent_id}, "resources": list(resources)})

    async def unreserve(self, agent_id: str, resources: Sequence[Mapping[str, Any]]) -> None:
        await self.call("UNRESERVE_RESOURCES", {"agent_id": {"value": agent_id}, "resources": list(resources)})

    async def close(self) -> None:
        self._closed = True
        await super().close()
        await self.detector.close()


class AgentClient(OperatorClient):
    """One agent, by ``host[:port]``, or by its pid as ``/state`` of a master has it: ``slave(1)@host:port``."""

    def __init__(self, address: str, *, credentials: Credentials | None = None) -> None:
        """Raises ValueError for what is no address."""
        super().__init__(credentials)
        self.address = with_port(address.rpartition("@")[2], AGENT_PORT)

    async def _send(self, method: str, path: str, body: bytes | None) -> bytes:
        return await self._ask(self.address, method, path, body)

    async def containers(self) -> list[dict[str, Any]]:
        return list((await self.call("GET_CONTAINERS")).get("containers", ()))

    async def read_file(self, path: str, *, offset: int = 0, length: int = 65_536) -> bytes:
        """What a file of a sandbox, such as ``DIRECTORY/stdout``, has from ``offset`` on; b"" at its end.

        The agent may hand out less than ``length`` bytes.
        """
        answer = await self.call("READ_FILE", {"path": path, "offset": offset, "length": length})
        return decode_bytes(answer.get("data", ""))


def _json(asked: str, text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MesosError(0, f"{asked} is answered with no JSON: {error}") from error
