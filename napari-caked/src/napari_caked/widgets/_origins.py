"""What the trainer says about pickers: where they come from, and what they were made of."""

from __future__ import annotations

from napari_caked.widgets import _messages as messages

__all__ = ["of_general", "of_training", "ten_too_few", "without_labels"]


def of_general(answer: messages.Adapted, micrographs: int) -> str:
    """Where the general picker comes from, after it has seen some of the micrographs."""
    if not answer.changed:
        return "the general picker as it is shipped, not adapted, without labels"
    return f"the general picker, adapted to {answer.looked_at} of {micrographs} micrographs without labels"


def of_training(job: messages.Job, own: messages.OwnLabels | None) -> str:
    """Where a picker comes from that was trained."""
    if job.density is not None:
        then = f" and {own.count} picks on yours" if own is not None else ""
        return f"trained without labels, from simulated micrographs of {job.density.name}{then}"
    if job.labels is None:
        return f"trained without labels, from {own.count if own is not None else 'the'} picks of the general picker"
    labels = f"{len(job.labels)} label{'s' * (len(job.labels) != 1)}"
    return f"trained from {labels}" if job.start is None else f"improved with {labels}"


def without_labels(own: messages.OwnLabels, job: messages.Job) -> str:
    """What is learned from where nobody has labelled."""
    known = job.density.name if job.density is not None else None
    whose = f"the picker trained on simulated micrographs of {known}" if known else "the general picker"
    return (
        f"No labels: learning from the {own.count} surest picks of {whose} on {own.looked_at} micrographs, of which "
        "about a tenth is wrong."
    )


def ten_too_few(answer: messages.Adapted, diameter: float) -> str:
    """Why the general picker has stayed as it was."""
    return (
        f"There seem to be hardly any particles: fewer than ten places on the {answer.looked_at} micrographs looked at "
        f"are surely a particle of {diameter:g} Å, so the general picker could not learn how yours looks, and picks "
        "few. Check diameter and pixel size; or label ten particles and train."
    )
