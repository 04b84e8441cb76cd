"""A profile: where to run. One YAML file in `cluster_profiles/`; `local` needs none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from launcher.model.phase import STRICT, ResourceRequest
from launcher.model.units import Price, Size, Time


@dataclass(frozen=True)
class Limits:
    """What a submit to this profile may not go beyond; None: no limit."""

    __pydantic_config__ = STRICT
    gpus: Optional[int] = None
    cpus: Optional[int] = None
    memory: Optional[Size] = None
    time: Optional[Time] = None
    tasks: Optional[int] = None
    budget: Optional[float] = None  # dollars for one job


@dataclass(frozen=True)
class Defaults:
    """Used where the phase says nothing."""

    __pydantic_config__ = STRICT
    resources: ResourceRequest = field(default_factory=ResourceRequest)
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Profile:
    """`store` and `workspace` are folders; relative ones are taken from the project's folder. `price` is dollars per hour
    of one allocation, for cost."""

    __pydantic_config__ = STRICT
    executor: str
    description: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    store: Optional[str] = None
    workspace: Optional[str] = None
    price: Optional[Price] = None
    limits: Limits = field(default_factory=Limits)
    defaults: Defaults = field(default_factory=Defaults)


LOCAL = Profile(executor="local", description="this machine")
