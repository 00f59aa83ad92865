"""A framework made of pymesos' own drivers, each half a program: ``executor`` and
``scheduler MASTER COMMAND [PRINCIPAL SECRET]``.

The scheduler is told what to do by lines on stdin (``launch NAME COUNT``, ``send HEX``, ``finish TASK…``,
``kill TASK``, ``stop``) and tells what it hears as JSON lines on stdout. The executor runs any number of tasks at once:
one ends when the framework sends ``finish TASK``, all other messages come back reversed.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from typing import Any

from pymesos import (
    Executor,
    MesosExecutorDriver,
    MesosSchedulerDriver,
    Scheduler,
    decode_data,
    encode_data,
)

Json = dict[str, Any]
EXECUTOR_ID = "pymesos"
REFUSE_SECONDS = 0.5


def tell(kind: str, **fields: Any) -> None:
    print(json.dumps({"event": kind, **fields}), flush=True)


def scalar(name: str, value: float) -> Json:
    return {"name": name, "type": "SCALAR", "scalar": {"value": value}}


class Teller(Scheduler):
    """Launches what waits on whatever is offered and remembers the agents it has executors on."""

    def __init__(self, command: Json) -> None:
        self.command = command
        self.waiting: list[str] = []
        self.agents: dict[str, Json] = {}
        self.turn = threading.Lock()

    def registered(self, driver: Any, framework_id: Json, master: Json) -> None:
        tell("registered", framework_id=framework_id["value"], master=f"{master['hostname']}:{master['port']}")

    def reregistered(self, driver: Any, master: Json) -> None:
        tell("reregistered", master=f"{master['hostname']}:{master['port']}")

    def disconnected(self, driver: Any) -> None:
        tell("disconnected")

    def resourceOffers(self, driver: Any, offers: list[Json]) -> None:
        for offer in offers:
            # No offer takes everything: both agents are to have some of the tasks.
            with self.turn:
                chosen, self.waiting = self.waiting[:10], self.waiting[10:]
            if not chosen:
                driver.declineOffer(offer["id"], filters={"refuse_seconds": REFUSE_SECONDS})
                continue
            agent = self.agents[offer["agent_id"]["value"]] = offer["agent_id"]
            tasks = [self.task(name, agent) for name in chosen]
            driver.launchTasks(offer["id"], tasks, filters={"refuse_seconds": REFUSE_SECONDS})

    def task(self, name: str, agent: Json) -> Json:
        return {
            "name": name,
            "task_id": {"value": name},
            "agent_id": agent,
            "resources": [scalar("cpus", 0.02), scalar("mem", 8)],
            "executor": {
                "executor_id": {"value": EXECUTOR_ID},
                "name": "pymesos executor",
                "command": self.command,
                "resources": [scalar("cpus", 0.1), scalar("mem", 32)],
            },
            "data": encode_data(bytes(range(256))),
        }

    def statusUpdate(self, driver: Any, update: Json) -> None:
        tell(
            "status",
            task=update["task_id"]["value"],
            agent=update["agent_id"]["value"],
            state=update["state"],
            uuid=update.get("uuid"),
            data=decode_data(update.get("data", "")).hex(),
            message=update.get("message", ""),
        )

    def frameworkMessage(self, driver: Any, executor_id: Json, agent_id: Json, message: str) -> None:
        tell("message", agent=agent_id["value"], data=decode_data(message).hex())

    def slaveLost(self, driver: Any, agent_id: Json) -> None:
        tell("agent lost", agent=agent_id["value"])

    def executorLost(self, driver: Any, executor_id: Json, agent_id: Json, status: int) -> None:
        tell("executor lost", agent=agent_id["value"], status=status)

    def error(self, driver: Any, message: str) -> None:
        tell("error", message=message)

    def send(self, driver: Any, data: bytes) -> None:
        for agent in list(self.agents.values()):
            driver.sendFrameworkMessage({"value": EXECUTOR_ID}, agent, encode_data(data))


def schedule(master: str, command: Json, principal: str | None = None, secret: str | None = None) -> None:
    framework = {
        "user": "root",
        "name": "pymesos framework",
        "failover_timeout": 60.0,
        "checkpoint": True,
        "capabilities": [{"type": "PARTITION_AWARE"}],
    }
    if principal is not None:
        framework["principal"] = principal
    scheduler = Teller(command)
    driver = MesosSchedulerDriver(scheduler, framework, master, principal=principal, secret=secret)
    driver.start()
    for line in sys.stdin:
        word, *rest = line.split()
        match word:
            case "launch":
                with scheduler.turn:
                    scheduler.waiting += [f"{rest[0]}-{number}" for number in range(int(rest[1]))]
                driver.reviveOffers()
            case "send":
                scheduler.send(driver, bytes.fromhex(rest[0]))
            case "finish":
                for task in rest:
                    scheduler.send(driver, b"finish " + task.encode())
            case "kill":
                driver.killTask({"value": rest[0]})
            case "reconcile":
                driver.reconcileTasks([{"task_id": {"value": task}} for task in rest])
            case "stop":
                break
    driver.stop()
    driver.join()
    tell("stopped")


class Runner(Executor):
    """Tasks are names in a set."""

    def __init__(self) -> None:
        self.running: set[str] = set()

    def launchTask(self, driver: Any, task: Json) -> None:
        name = task["task_id"]["value"]
        self.running.add(name)
        self.report(driver, name, "TASK_RUNNING", decode_data(task["data"])[::-1])

    def frameworkMessage(self, driver: Any, message: str) -> None:
        data = decode_data(message)
        if not data.startswith(b"finish "):
            driver.sendFrameworkMessage(encode_data(data[::-1]))
        elif (name := data[7:].decode()) in self.running:
            self.end(driver, name, "TASK_FINISHED")

    def killTask(self, driver: Any, task_id: Json) -> None:
        self.end(driver, task_id["value"], "TASK_KILLED")

    def end(self, driver: Any, name: str, state: str) -> None:
        self.running.discard(name)
        self.report(driver, name, state)

    def report(self, driver: Any, name: str, state: str, data: bytes = b"") -> None:
        status = {"task_id": {"value": name}, "state": state, "timestamp": time.time()}
        driver.sendStatusUpdate(status | ({"data": encode_data(data)} if data else {}))


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    if sys.argv[1] == "executor":
        MesosExecutorDriver(Runner()).run()
    else:
        schedule(sys.argv[2], json.loads(sys.argv[3]), *sys.argv[4:6])
