"""The tool for a whole restoration."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult
from pydantic import BeforeValidator, WithJsonSchema

from server.mcp.inputs import (
    DescriptionArgument,
    DetailArgument,
    ExpertRunsArgument,
    ExpertsArgument,
    FindingsArgument,
    ImageArgument,
    OrderArgument,
    OutputArgument,
    ProfileArgument,
    RegionArgument,
    SecondsArgument,
    StrengthArgument,
    StripArgument,
    WaitArgument,
)
from server.mcp.masks import mask_image
from server.mcp.notices import Notices
from server.mcp.restoring import RestoreOptions, restoration
from server.mcp.run_calls import run_or_join
from server.mcp.service import Service
from server.mcp.tool_registration import REPEATABLE, add_tool
from server.mcp.view import SHOWN_IN_VIEW
from server.target_size import TargetSize, parse_size

SizeArgument = Annotated[
    TargetSize | None,
    BeforeValidator(lambda given: None if given in (None, "") else parse_size(given)),
    WithJsonSchema(
        {
            "type": "string",
            "description": "4K (default), 8K, 2x, 1.5x, 1920 (longer side), width 900, 12 MP, 1200x800 crop, "
            "A4 at 300 dpi.",
        }
    ),
]
"""The size of one result."""


def add_restore_tool(server: MCPServer[Any], service: Service) -> None:
    """Register `restore_to_4k`."""

    async def restore_to_4k(
        image: ImageArgument,
        context: Context[Any, Any],
        size: SizeArgument = None,
        profile: ProfileArgument = "default",
        strength: StrengthArgument = 1.0,
        region: RegionArgument = None,
        output: OutputArgument = None,
        findings: FindingsArgument = None,
        description: DescriptionArgument = None,
        plan: OrderArgument = None,
        experts: ExpertsArgument = None,
        max_seconds: SecondsArgument = None,
        max_expert_runs: ExpertRunsArgument = None,
        detail: DetailArgument = None,
        strip_metadata: StripArgument = False,
        wait_seconds: WaitArgument = None,
    ) -> CallToolResult:
        options = RestoreOptions(
            size=size,
            profile=profile,
            strength=strength,
            region=region,
            output=output,
            findings=findings,
            description=description,
            plan=plan,
            experts=experts,
            max_seconds=max_seconds,
            max_expert_runs=max_expert_runs,
            detail=detail,
            strip_metadata=strip_metadata,
        )
        return await run_or_join(
            service,
            context,
            "restore_to_4k",
            {"image": image, "options": options, "mask": mask_image(region)},
            restoration(service, image, options, Notices.here(service.bus)),
            wait_seconds,
        )

    add_tool(
        server,
        restore_to_4k,
        title="Restore to 4K",
        description=(
            "Restore and enlarge one photo in one call: measures, plans, runs several experts per step, keeps the "
            "best result or the input. Use it unless the user wants one particular step. Seconds "
            "to many minutes; after wait_seconds the reply has a run id for get_run, and the same call joins it."
        ),
        annotations=REPEATABLE,
        meta=SHOWN_IN_VIEW,
    )
