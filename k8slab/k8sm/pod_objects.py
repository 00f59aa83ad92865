"""The end of a pod's object in the API, once nothing of the pod runs any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 4.0


async def delete_object(client: KubeClient, pod: Mapping[str, Any]) -> bool:
    """Take it away at once, however long the API takes to answer. False when the API will not have it deleted."""
    meta, pause = pod["metadata"], FIRST_PAUSE
    name = f"{meta['namespace']}/{meta['name']}"
    while True:
        try:
            await client.delete("pods", meta["name"], meta["namespace"], grace_period_seconds=0, uid=meta["uid"])
            return True
        except ApiUnavailable as trouble:
            log.info("the object of pod %s waits for its end: %s", name, trouble)
        except ApiError as error:
            # Gone already, or another pod has its name.
            if error.is_not_found or error.is_conflict:
                return True
            if not error.is_temporary:
                log.warning("the object of pod %s is not deleted: %s", name, error)
                return False
            log.info("the object of pod %s waits for its end: %s", name, error)
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)
