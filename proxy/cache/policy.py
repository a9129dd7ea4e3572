"""Whether and how a request's answer may come from the cache: the configuration's word, then the
task's, the key's and the request's own, each over the ones before."""

from dataclasses import dataclass, replace
from functools import lru_cache

from proxy.cache.types import Directives
from proxy.config_types import CacheSection, SemanticSection, TaskCache
from proxy.types import OwnCache

NO_TASK = TaskCache()


@dataclass(frozen=True, slots=True)
class Meaning:
    """How far an answer may serve a question in other words.

    `temperature` is the highest that a request may ask for; `shadow` the share of hits that are
    checked against a fresh answer; `serves` False only reports what would have been served.
    """

    max_wrong: float
    floor: float
    shadow: float
    serves: bool
    temperature: float
    allow: frozenset[str]


@dataclass(frozen=True, slots=True)
class Policy:
    """`ttl` in seconds; `meaning` None where only the same request has the same answer."""

    enabled: bool
    ttl: float
    temperature: float
    epoch: str
    meaning: Meaning | None


@lru_cache(maxsize=1024)
def of_task(section: CacheSection, task: TaskCache) -> Policy:
    """What the configuration says of a task; of `NO_TASK`, of all others."""
    meaning = _semantic_of_task(section.semantic, task)
    on = section.semantic.enabled if task.semantic is None else task.semantic
    return Policy(
        enabled=section.enabled if task.enabled is None else task.enabled,
        ttl=section.ttl if task.ttl is None else task.ttl,
        temperature=section.temperature,
        epoch=section.epoch,
        meaning=meaning if on else None,
    )


def _semantic_of_task(section: SemanticSection, task: TaskCache) -> Meaning:
    """How meaning serves where it is on: said too where it is off, for keys that turn it on."""
    return Meaning(
        max_wrong=section.max_wrong if task.max_wrong is None else task.max_wrong,
        floor=section.floor,
        shadow=section.shadow,
        serves=section.serve,
        temperature=section.temperature,
        allow=frozenset(section.allow),
    )


def resolve(
    section: CacheSection, task: TaskCache, own: OwnCache | None, said: Directives
) -> Policy:
    """What holds for one request.

    A request may turn meaning off, and where it is on ask for it whatever its temperature; to
    turn it on is the operator's: for all, for a task, for a key.
    """
    policy = of_task(section, task)
    if own is None and said.semantic is None:
        return policy
    meaning = policy.meaning
    base = _semantic_of_task(section.semantic, task)
    if own is not None:
        if own.enabled is not None:
            policy = replace(policy, enabled=policy.enabled and own.enabled)
        if own.semantic is not None:
            meaning = (meaning or base) if own.semantic else None
    if said.semantic is False:
        meaning = None
    elif said.semantic and meaning is not None:
        meaning = replace(meaning, temperature=2.0)
    return replace(policy, meaning=meaning)
