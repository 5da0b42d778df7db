"""What is asked of the node's own service at the start, where nobody has said it; imported only where it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rolecall.core.names import Region
from rolecall.daemons.agent.config import AgentConfig


def find_region(environment: Mapping[str, str]) -> Region:
    """Return the instance's region; raises `Misconfigured`."""
    from rolecall.daemons.agent.region import region_of_instance

    return region_of_instance(environment)


def complete(config: AgentConfig) -> AgentConfig:
    """Return the settings with what the metadata door is to find out; raises `Misconfigured`."""
    if config.metadata is None or not config.metadata.discover_base:
        return config
    from rolecall.daemons.agent.metadata.discover import discovered

    return replace(config, metadata=discovered(config.metadata, config.environment))
