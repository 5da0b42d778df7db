"""Whether a pod is injected, for which generation, and what each of its containers is given: one table, read downwards.

1. a pod with the skip label is left alone;
2. an association goes before an annotation, and the annotation before the ConfigMap (`precedence`);
3. pods on the node's network are left alone where the operator says so;
4. a pod that no agent can serve falls back to IRSA, if it is annotated;
5. an empty audience is refused, and a volume by the token's name that holds something else;
6. container by container: never what is there already, never half of a pair (`containers`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from rolecall.core.frozen import frozen
from rolecall.core.injection import Generation, Injection, Place
from rolecall.core.names import Region
from rolecall.daemons.webhook.asked import Asked, Role
from rolecall.daemons.webhook.containers import Change, Wanted, change, door_hosts
from rolecall.daemons.webhook.nodes import on_windows, without_agent
from rolecall.daemons.webhook.precedence import prefer
from rolecall.daemons.webhook.rules import INJECT_LABEL, POD_IDENTITY_LABEL, REQUIRED, SKIP_LABEL, Facts, Rules
from rolecall.daemons.webhook.wire import Container, Pod, Volume
from rolecall.daemons.webhook.words import NOTES, REASONS, Note
from rolecall.mechanisms.irsa import inject as irsa
from rolecall.mechanisms.pod_identity import inject as pod_identity

Dice = Callable[[], float]
"""A number from 0 up to, but not including, 1."""
_WHOLE_DAY = 86_400
_MOST_UNKNOWN = 8
_NO_LABELS: Mapping[str, str] = {}


@frozen
class Additions:
    """What is added to a pod, and nothing is taken away: containers in the order of AWS's webhook."""

    injection: Injection
    label: bool
    volume: bool
    fs_group: int | None
    containers: tuple[Change, ...]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to add."""
        if self.label or self.volume or self.fs_group is not None:
            return False
        return not any(one.env or one.from_field or one.longer or one.mount for one in self.containers)


@frozen
class Verdict:
    """How a review ends: the reason's word and detail, a sentence, notes, and what is added.

    `because` names what gave the pod its role.
    """

    word: str
    sentence: str
    detail: str = ""
    because: str = ""
    generation: Generation | None = None
    notes: tuple[Note, ...] = ()
    additions: Additions | None = None
    allowed: bool = True

    @property
    def reason(self) -> str:
        """The word and its detail, such as ``already-set:AWS_ROLE_ARN``."""
        return f"{self.word}:{self.detail}" if self.detail else self.word


def decide(pod: Pod, account: str, facts: Facts, rules: Rules, dice: Dice) -> Verdict:
    """Return what happens to a pod of the service account, which messages call by the words `account`.

    A pod with the label ``rolecall.dev/inject: required`` is refused where any of its containers would go without.
    """
    labels = pod.metadata.labels or _NO_LABELS
    verdict = _judge(pod, account, facts, rules, dice, labels)
    if labels.get(INJECT_LABEL) != REQUIRED:
        return verdict
    lacking = [verdict.sentence] if REASONS[verdict.word].costs else []
    lacking += [note.sentence for note in verdict.notes if NOTES[note.word].costs]
    if not lacking:
        return verdict
    sentence = f"the label {INJECT_LABEL}={REQUIRED} lets no pod run without its role: {'; '.join(lacking)}"
    return Verdict(verdict.word, sentence, verdict.detail, verdict.because, notes=verdict.notes, allowed=False)


def _judge(pod: Pod, account: str, facts: Facts, rules: Rules, dice: Dice, labels: Mapping[str, str]) -> Verdict:
    if SKIP_LABEL in labels:
        return Verdict("skipped-by-label", f"the pod has the label {SKIP_LABEL}")
    notes: list[Note] = []
    asked = Asked(pod.metadata.annotations or _NO_LABELS, facts, rules, notes)
    role = asked.role()
    generation = prefer(association=facts.association_id is not None, annotated=role is not None)
    if generation is None:
        return _nothing(account, facts, rules)
    if pod.spec.host_network:
        if rules.skip_host_network:
            return Verdict("host-network-skipped", "the pod uses the node's network, and such pods are skipped here")
        notes.append(_on_host_network())
    if generation == "pod-identity" and (where := without_agent(pod)):
        if role is None:
            return _no_agent(account, where, rules)
        generation = "irsa"
        notes.append(Note("no-agent-possible", where, f"no agent serves {where}: the role is {role.because}'s"))
    if generation == "irsa" and role is not None:
        if not role.audience.strip():
            return _empty_audience(account, rules)
        injection = _irsa(pod, role, asked, rules)
    else:
        injection = _pod_identity(facts.association_id or "", asked, rules, dice)
    return _additions(pod, injection, asked, rules, labels)


def _irsa(pod: Pod, role: Role, asked: Asked, rules: Rules) -> Injection:
    if fault := role.fault():
        # Without a role in its environment an SDK would go on to the node's own, in silence: with this one STS says no.
        asked.notes.append(Note("bad-role-arn", "", f"STS will refuse the role of {role.because}: {fault}"))
    injection = _irsa_injection(
        role, asked.region(), asked.sts_regional(), mount_path=rules.mount_path, expiration=asked.expiration()
    )
    return _with_windows_path(injection) if on_windows(pod.spec) else injection


@lru_cache(1024)
def _irsa_injection(
    role: Role, region: Region | None, sts_regional: bool, *, mount_path: str, expiration: int
) -> Injection:
    """All pods of a service account are given the same."""
    return irsa.injection(
        role.arn,
        Place(region, sts_regional),
        audience=role.audience,
        mount_path=mount_path,
        expiration=expiration,
        because=role.because,
    )


def _with_windows_path(injection: Injection) -> Injection:
    """Return it with the token's path as Windows writes it; it is mounted by the other one, as AWS's webhook does."""
    *others, (name, path) = injection.env
    env = (*others, (name, "C:" + path.replace("/", "\\")))
    return Injection(injection.generation, env, injection.token, injection.because)


def _pod_identity(association_id: str, asked: Asked, rules: Rules, dice: Dice) -> Injection:
    expiration = asked.expiration()
    if expiration == _WHOLE_DAY and rules.expiration_jitter:
        # Pods that start together do not renew together.
        expiration -= int(dice() * (rules.expiration_jitter + 1))
    full_uri = rules.full_uri
    if asked.loopback():
        full_uri = rules.loopback_uri or full_uri
        if rules.loopback_uri is None:
            asked.notes.append(Note("no-loopback", "", f"no loopback address is set here: the pod is told {full_uri}"))
    return pod_identity.inject(
        association_id,
        Place(asked.region(), asked.sts_regional()),
        full_uri=full_uri,
        mount_path=rules.pod_identity_mount_path,
        volume=rules.pod_identity_volume,
        file=rules.pod_identity_token_path,
        audience=rules.pod_identity_audience,
        expiration=expiration,
    )


def _additions(pod: Pod, injection: Injection, asked: Asked, rules: Rules, labels: Mapping[str, str]) -> Verdict:
    spec, token = pod.spec, injection.token
    there = [volume for volume in spec.volumes or () if volume.name == token.volume]
    if there and not any(_projects(volume, injection) for volume in there):
        sentence = f"volume {token.volume} of the pod is not a token for {token.audience}: rename it, or remove it"
        return Verdict("volume-name-taken", sentence, token.volume, injection.because, injection.generation)
    chosen = _chosen(pod, asked)
    if not chosen:
        return Verdict("skipped-containers", "its annotations leave no container to inject", notes=tuple(asked.notes))
    is_irsa = injection.generation == "irsa"
    wanted = Wanted(
        injection,
        session_from_pod_name=is_irsa and asked.session_name() and _names_a_session(pod, asked.notes),
        door_hosts=door_hosts(injection.pair[0][1]) if rules.no_proxy and not is_irsa else (),
    )
    changes = tuple(change(path, container, wanted, asked.notes) for path, container in chosen)
    additions = Additions(
        injection,
        label=not is_irsa and POD_IDENTITY_LABEL not in labels,
        volume=not there,
        fs_group=None if spec.security_context and spec.security_context.fs_group is not None else asked.fs_group(),
        containers=changes,
    )
    return _ending(additions, tuple(asked.notes))


def _ending(additions: Additions, notes: tuple[Note, ...]) -> Verdict:
    """Return the verdict by what became of the containers."""
    injection = additions.injection
    outcomes = {one.outcome for one in additions.containers}
    if "given" in outcomes:
        word, sentence, detail = "injected", f"injected for {_called(injection)}", ""
    elif "already" in outcomes:
        word, sentence, detail = "already-injected", "the pod has everything already", ""
    elif "own" in outcomes:
        detail = next(one.key for one in additions.containers if one.outcome == "own")
        word, sentence = "already-set", f"its containers set {detail} themselves and keep it"
    else:
        word, sentence, detail = "mount-path-taken", f"something else is mounted at {injection.token.mount_path}", ""
        return Verdict(word, sentence, detail, injection.because, injection.generation, notes)
    return Verdict(
        word,
        sentence,
        detail,
        injection.because,
        injection.generation,
        notes,
        None if additions.empty else additions,
    )


def _chosen(pod: Pod, asked: Asked) -> list[tuple[str, Container]]:
    """Return paths and containers that are to be injected, as AWS's webhook orders them in its patch."""
    everyone = [
        (f"/spec/{kind}/{index}", container)
        for kind, containers in (("containers", pod.spec.containers), ("initContainers", pod.spec.init_containers))
        for index, container in enumerate(containers or ())
    ]
    skip, include = asked.containers("skip-containers"), asked.containers("include-containers")
    if not skip and not include:
        return everyone
    unknown = (skip | include) - {container.name for _, container in everyone}
    asked.notes.extend(
        Note("unknown-container", name, f"the pod has no container {name!r}, which its annotations name")
        for name in sorted(unknown)[:_MOST_UNKNOWN]
    )
    return [
        (path, container)
        for path, container in everyone
        if container.name not in skip and (not include or container.name in include)
    ]


def _projects(volume: Volume, injection: Injection) -> bool:
    """Return whether a volume holds the token that we would project; its lifetime does not matter."""
    ours = (injection.token.audience, injection.token.file)
    tokens = (source.service_account_token for source in (volume.projected and volume.projected.sources) or ())
    return any(token is not None and (token.audience, token.path) == ours for token in tokens)


_LONGEST_SESSION_NAME = 64


def _names_a_session(pod: Pod, notes: list[Note]) -> bool:
    """Return whether the pod's name can be a role session name.

    Its characters always can; a name that the API server will generate has 6 to 63 of them.
    """
    name = pod.metadata.name
    if not name or 2 <= len(name) <= _LONGEST_SESSION_NAME:
        return True
    sentence = f"the pod's name has {len(name)} characters, a role session name has 2 to {_LONGEST_SESSION_NAME}"
    notes.append(Note("session-name-unusable", "", f"{sentence}: the SDK makes one up"))
    return False


def _called(injection: Injection) -> str:
    name = "Pod Identity" if injection.generation == "pod-identity" else "IRSA"
    return f"{name}: {injection.because}"


def _nothing(account: str, facts: Facts, rules: Rules) -> Verdict:
    if facts.annotations is None:
        return Verdict("no-service-account", f"service account {account} is not known here, nor has it an association")
    return Verdict(
        "neither", f"service account {account} has neither an association nor the annotation {rules.prefix}/role-arn"
    )


def _no_agent(account: str, where: str, rules: Rules) -> Verdict:
    sentence = (
        f"no agent serves {where}: for IRSA give service account {account} the annotation {rules.prefix}/role-arn"
    )
    return Verdict("no-agent-possible", sentence, where)


def _empty_audience(account: str, rules: Rules) -> Verdict:
    sentence = f"annotation {rules.prefix}/audience of service account {account} is empty: remove it"
    return Verdict("empty-audience", f"{sentence} (such a token would open the Kubernetes API itself)")


def _on_host_network() -> Note:
    return Note("host-network", "", "the pod uses the node's network: it may reach the node's own role too")
