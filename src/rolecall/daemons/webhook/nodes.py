"""Where a pod will run, as far as its spec says: Windows, Fargate, or a node that an agent may serve."""

from __future__ import annotations

from rolecall.daemons.webhook.wire import Pod, Requirement, Spec

_OS_LABELS = ("kubernetes.io/os", "beta.kubernetes.io/os")
_FARGATE_LABEL = "eks.amazonaws.com/fargate-profile"
_FARGATE_SCHEDULER = "fargate-scheduler"
_COMPUTE_TYPE = "eks.amazonaws.com/compute-type"


def without_agent(pod: Pod) -> str:
    """Return what kind of node it is that no agent can serve, or an empty text."""
    spec = pod.spec
    if on_windows(spec):
        return "Windows"
    labels, selector = pod.metadata.labels or {}, spec.node_selector or {}
    fargate = (
        _FARGATE_LABEL in labels
        or spec.scheduler_name == _FARGATE_SCHEDULER
        or selector.get(_COMPUTE_TYPE) == "fargate"
    )
    return "Fargate" if fargate else ""


def on_windows(spec: Spec) -> bool:
    """Return whether the pod can run on Windows alone: by its OS, node selector or required node affinity."""
    if spec.os is not None and spec.os.name:
        return spec.os.name == "windows"
    selector = spec.node_selector
    if selector and any(selector.get(label) == "windows" for label in _OS_LABELS):
        return True
    affinity = spec.affinity and spec.affinity.node_affinity
    required = affinity and affinity.required_during_scheduling_ignored_during_execution
    terms = (required and required.node_selector_terms) or []
    # Terms are or-ed: each of them has to ask for Windows.
    return bool(terms) and all(any(map(_asks_for_windows, term.match_expressions or [])) for term in terms)


def _asks_for_windows(asked: Requirement) -> bool:
    return asked.key in _OS_LABELS and asked.operator == "In" and asked.values == ["windows"]
