"""Decides what a channel offers next, and finds the release that a person means. Pure functions over a verified state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from edgeproof_edge.bundle import BundleError, open_bundle
from edgeproof_edge.updating.channel import NAME, RESERVED_NAMES, ChannelError, Pointer, pointer_path
from tuf.api.metadata import TargetFile, Targets

from releases.archive import ARCHIVE, Release, last_sequence, releases, sequence_of
from releases.errors import ReleaseError
from releases.trust.keys import ONLINE
from releases.trust.metadata import State, text_of

#: Steps of the way back that a channel remembers.
KEPT_PREVIOUS = 5


def check_channel_names(channels: Sequence[str]) -> None:
    """Refuses names that are no part of a URL, or that the repository has for itself."""
    for channel in channels:
        if not NAME.fullmatch(channel) or channel in RESERVED_NAMES or channel == ONLINE:
            raise ReleaseError(
                f"{channel!r} cannot be the name of a channel: use a-z, 0-9 and hyphens, and none of "
                f"{', '.join(sorted(RESERVED_NAMES | {ONLINE}))}."
            )


def pointer_in(role: Targets, channel: str, model: str) -> Pointer | None:
    """What a channel offers of a model; None before the first promotion."""
    target = role.targets.get(pointer_path(channel, model))
    return None if target is None else Pointer.from_custom(target.custom)


def offered_models(role: Targets) -> dict[str, Pointer]:
    """What a channel offers, by model."""
    return {model_of(path): Pointer.from_custom(target.custom) for path, target in sorted(role.targets.items())}


def model_of(path: str) -> str:
    """The model that a pointer is of: the inverse of ``pointer_path``.

    Raises:
        ChannelError: It is the path of something else.
    """
    channel, _, rest = path.partition("/")
    model = rest.partition("/")[0]
    if path != pointer_path(channel, model):
        raise ChannelError(f"{path!r} is no pointer of a channel. Update Edgeproof.")
    return model


def put_pointer(role: Targets, channel: str, model: str, pointer: Pointer) -> None:
    """Points a channel."""
    path = pointer_path(channel, model)
    hashes = {"sha256": pointer.release.sha256}
    role.targets[path] = TargetFile(pointer.release.size_bytes, hashes, path, {"custom": pointer.to_custom()})


def moved(
    current: Pointer | None,
    release: Release,
    rollout: int,
    by: str,
    now: datetime,
    read: Callable[[str], Release | None],
) -> Pointer:
    """The pointer after a move; ``read`` gives a release that may be offered, by version."""
    if current is None:
        return Pointer(release.reference, rollout, 1, None, release.sequence, (), None, by, text_of(now))
    is_same = current.release.version == release.version
    everyone = current.release if current.rollout == 100 else current.otherwise
    previous = current.previous
    if rollout == 100 and everyone is not None and everyone.version != release.version:
        previous = (*previous, everyone.version)
    if release.version in previous:  # a rollback forgets what came after
        previous = previous[: previous.index(release.version)]
    if rollout == 100:
        otherwise = None
    elif everyone is not None and everyone.version == release.version:  # taken back from some of the devices
        fallback = next((earlier for version in reversed(previous) if (earlier := read(version))), None)
        otherwise = fallback.reference if fallback else None
    else:
        otherwise = everyone
    return Pointer(
        release=release.reference,
        rollout=rollout,
        epoch=current.epoch if is_same else current.epoch + 1,
        otherwise=otherwise,
        newest=max(current.newest, release.sequence),
        previous=previous[-KEPT_PREVIOUS:],
        undone=None,
        by=by,
        at=text_of(now),
    )


def offerable(state: State, model: str) -> Callable[[str], Release | None]:
    """Gives the releases of a model that a channel may offer, by version."""
    usable = (release for release in releases(state.role(ARCHIVE)) if release.model == model and not release.retired)
    return {release.version: release for release in usable}.get


def find_release(state: State, name: str, model: str | None) -> Release:
    """The release of a version, a number, or the one that a channel offers.

    Raises:
        ReleaseError: There is none, it was pruned, or several models have one.
    """
    archive = state.role(ARCHIVE)
    if name in state.channels:
        return find_release(state, _offered_by(state, name, model), model)
    matching = [
        release
        for release in releases(archive)
        if model in (None, release.model) and name in (release.version, str(release.sequence))
    ]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise ReleaseError(
            f"several models have a release {name}: {', '.join(release.model for release in matching)}. Give --model."
        )
    number = sequence_of(name) or (int(name) if name.isdigit() else None)
    models = sorted({release.model for release in releases(archive)}) if model is None else [model]
    if number and any(number <= last_sequence(archive, each) for each in models):
        raise ReleaseError(
            f"release {name} was pruned, or never had that version: its bundle is gone for good. "
            "`edgeproof release list` shows what is left."
        )
    raise ReleaseError(f"there is no release {name!r}. `edgeproof release list` shows the versions; a number will do.")


def _offered_by(state: State, channel: str, model: str | None) -> str:
    chosen = only_model(state, channel, model)
    pointer = pointer_in(state.role(channel), channel, chosen)
    if pointer is None:
        raise ReleaseError(f"channel {channel} offers no release of {chosen} yet.")
    return pointer.release.version


def only_model(state: State, channel: str, model: str | None) -> str:
    """The model that is meant where a channel offers one only."""
    if model is not None:
        return model
    models = sorted(offered_models(state.role(channel)))
    if len(models) != 1:
        raise ReleaseError(
            f"channel {channel} offers {'nothing yet' if not models else 'several models: ' + ', '.join(models)}. "
            "Promote a release to it, or give --model."
        )
    return models[0]


def release_before(state: State, channel: str, model: str) -> Release:
    """The release that a rollback of a channel goes to."""
    pointer = pointer_in(state.role(channel), channel, model)
    read = offerable(state, model)
    if pointer is not None:
        settled = (pointer.otherwise.version,) if pointer.rollout < 100 and pointer.otherwise else ()
        for version in reversed((*pointer.previous, *settled)):
            earlier = read(version)
            if earlier is not None:
                return earlier
    raise ReleaseError(
        f"channel {channel} has no earlier release of {model} that is still there. Go to another with --to "
        "(`edgeproof release list` shows them); where there is none, publish a better one: devices keep what they have."
    )


def offered(state: State) -> dict[tuple[str, str], set[str]]:
    """(model, version) -> the channels that offer it, to some devices or to the others."""
    offering: dict[tuple[str, str], set[str]] = {}
    for channel in state.channels:
        for model, pointer in offered_models(state.role(channel)).items():
            for reference in (pointer.release, pointer.otherwise):
                if reference is not None:
                    offering.setdefault((model, reference.version), set()).add(channel)
    return offering


def prunable_releases(state: State, keep: int) -> tuple[Release, ...]:
    """Releases that are neither among the newest ``keep`` of their model nor offered by a channel."""
    kept = offered(state)
    by_model: dict[str, list[Release]] = {}
    for release in releases(state.role(ARCHIVE)):
        by_model.setdefault(release.model, []).append(release)
    return tuple(
        release
        for ordered in by_model.values()
        for release in ordered[:-keep]
        if (release.model, release.version) not in kept
    )


def check_bundle(data: bytes, release: Release) -> None:
    """Holds a bundle against the release that it is to be."""
    try:
        manifest = open_bundle(data).manifest
    except BundleError as error:
        raise ReleaseError(f"release {release.version} cannot be offered: {error}") from error
    if (manifest.model_name, manifest.version) != (release.model, release.version):
        raise ReleaseError(f"the bundle of release {release.version} says it is {manifest.version}; it is not offered.")
