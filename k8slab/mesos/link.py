"""The wire between agent and master: one POST to ``/api/v1/agent`` that stays open, RecordIO both ways.

The original speaks libprocess here, which no client of Mesos sees; this is ours, and readable. The agent sends calls in
the request's body, the master events in the answer's; records are JSON objects with a ``type``. A broken connection is
what tells each side that the other is gone; PINGs find those that hang. A master that does not lead answers 307 (or 503
while nobody does), as to a framework.

Calls, agent → master. The first is REGISTER or REREGISTER.

| type | beside it |
|---|---|
| REGISTER | agent_info, pid, version |
| REREGISTER | the same, with agent_info.id, and frameworks [FrameworkInfo], executors [{framework_id, role, executor_info}], tasks [{framework_id, task_id, name, executor_id, role, state, statuses, resources, info}] |
| UPDATE | framework_id, status (TaskStatus with uuid), latest_state |
| MESSAGE | framework_id, executor_id, data |
| EXECUTOR_EXITED | framework_id, executor_id, status (as from wait, -1 unknown) |
| PONG | |
| UNREGISTER | |

Events, master → agent.

| type | beside it |
|---|---|
| REGISTERED, REREGISTERED | agent_id, total_ping_timeout_seconds |
| RUN_TASK | framework_info, task (TaskInfo), role |
| RUN_TASK_GROUP | framework_info, executor (ExecutorInfo), task_group {tasks}, role |
| KILL_TASK | framework_id, task_id, kill_policy?, partition_aware: what a task that is not there is called |
| ACKNOWLEDGE | framework_id, task_id, agent_id, uuid |
| MESSAGE | framework_id, executor_id, data |
| RECONCILE_TASK | framework_id, task_id, partition_aware: the master knows this task, does the agent? |
| SHUTDOWN_EXECUTOR | framework_id, executor_id |
| SHUTDOWN_FRAMEWORK | framework_id |
| CHECKPOINT_RESOURCES | resources: all the agent has, with what was reserved since; kept, and told in REREGISTER as checkpointed_resources |
| SHUTDOWN | message: the agent counts as gone; it ends its executors and itself, and forgets its id |
| PING | |
"""  # noqa: E501

PATH = "/api/v1/agent"
CONTENT_TYPE = "application/recordio"
