"""Tasks of the protocol (extension SEP-2663 of revision 2026-07-28): a run as a task, for clients that declare it.

A call whose run does not end within its wait is answered with a task instead of a text about its state; `tasks/get`
gives the state and at the end the result, `tasks/cancel` stops the run. The identifier is the run's, so that
`get_run` finds it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, CallToolRequestParams, CallToolResult, RequestParams, TextContent
from pydantic import Field

from imaging.errors import Cancelled, RestoreError
from server.mcp.runs import Run, RunUnderWay
from server.mcp.tool_registration import for_a_model

if TYPE_CHECKING:
    from server.mcp.service import Service

TASKS = "io.modelcontextprotocol/tasks"
REVISIONS = frozenset({"2026-07-28"})
POLL_MS = 2000
MOST_ID = 100


class TaskParams(RequestParams):
    """The parameters of all methods of tasks; runs request no input, so responses in `tasks/update` are ignored."""

    task_id: str = Field(max_length=MOST_ID)


class Tasks(Extension):
    """Answers with tasks, and serves their methods."""

    identifier = TASKS

    def __init__(self, service: Service) -> None:
        self._service = service

    def methods(self) -> Sequence[MethodBinding]:
        """`tasks/get`, `tasks/update` and `tasks/cancel`."""
        handlers = {"tasks/get": self._get, "tasks/update": self._update, "tasks/cancel": self._cancel}
        return [MethodBinding(name, TaskParams, handler, REVISIONS) for name, handler in handlers.items()]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """A task in place of the state of a run under way, if the client declares tasks in this very request."""
        result = await call_next(ctx)
        declared = ctx.session.client_capabilities
        knows_tasks = bool(declared and declared.extensions and TASKS in declared.extensions)
        if ctx.protocol_version not in REVISIONS or not knows_tasks or not isinstance(result, RunUnderWay):
            return result
        return {"resultType": "task", **task_of(result.run)}

    async def _get(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        return task_of(self._find(params))

    async def _update(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        self._find(params)
        return {}

    async def _cancel(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        run = self._find(params)
        if not run.over.is_set():
            await self._service.runs.cancel(run)
        return {}

    def _find(self, params: TaskParams) -> Run:
        run = self._service.runs.find(params.task_id)
        if run is None:
            raise MCPError(INVALID_PARAMS, f"there is no task {params.task_id!r}; list_runs lists earlier runs")
        return run


def task_of(run: Run) -> dict[str, Any]:
    """A run as the protocol's task, with its result if it has one."""
    status = run.status
    task: dict[str, Any] = {
        "taskId": run.id,
        "status": "working",
        "statusMessage": f"queued, position {status.position}" if status.position else status.message,
        "createdAt": run.begun.isoformat(),
        "lastUpdatedAt": (run.ended or datetime.now(UTC)).isoformat(),
        "ttlMs": None,
        "pollIntervalMs": POLL_MS,
    }
    if isinstance(run.error, Cancelled):
        return {**task, "status": "cancelled"}
    if run.reply or run.error:
        result = run.reply.result if run.reply else _failed(run)
        return {
            **task,
            "status": "completed",
            "result": result.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
    return task


def _failed(run: Run) -> CallToolResult:
    """The error of a run as the error of its tool, without the text of an unexpected one."""
    why = for_a_model(str(run.error)) if isinstance(run.error, RestoreError) else "an unexpected error"
    text = f"Error executing tool {run.tool}: {why}"
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)
