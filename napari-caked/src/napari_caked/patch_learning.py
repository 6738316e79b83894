"""Learning from patches, as Bepler et al., Nature Methods 16, 1153 (2019) do it: one step at a time."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TypeVar

import torch

from napari_caked.datasets.patches import PatchSource, jittered
from napari_caked.errors import CheckpointError
from napari_caked.learner_state import load_optimiser, optimiser_state, under
from napari_caked.models.decoder import PatchDecoder, reconstruction_error
from napari_caked.models.paper import PatchNetwork
from napari_caked.objectives import find_objective
from napari_caked.optimisers import Adam
from napari_caked.patch_settings import PatchSettings

__all__ = ["PatchLearner"]

_log = logging.getLogger(__name__)

_DEFAULTS = PatchSettings()


class PatchLearner:
    """Makes a patch network better, step by step; who loops may validate, save and stop between steps.

    Parameters
    ----------
    network
        To be trained, in place; it is moved to the device of the source.
    source
        Of patches as wide as the network sees.
    settings
        How.

    Attributes
    ----------
    network
        The network. Set it to evaluation mode for use between steps; a step sets it back.
    steps
        Done so far.
    """

    def __init__(self, network: PatchNetwork, source: PatchSource, settings: PatchSettings = _DEFAULTS) -> None:
        if network.width != source.width:
            raise ValueError(f"{network.name} sees {network.width} pixels, but the patches are {source.width} wide")
        self._source, self._settings, self._device = source, settings, source.device
        self._objective = find_objective(settings.objective)
        self.network = _placed(network, self._device)
        self._decoder = self._new_decoder() if settings.autoencoder else None
        self._optimiser = Adam(
            [parameter for part in self._parts().values() for parameter in part.parameters()],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=self._device.type == "cuda",
        )
        # Gradients in half precision would vanish without it; it does nothing for the other types.
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=settings.precision == "float16")
        self.steps = 0

    def step(self) -> torch.Tensor:
        """Learn from one batch; the value of the objective, detached, on the device."""
        settings = self._settings
        for part in self._parts().values():
            part.train()
        patches = self._source.draw(settings.labelled, settings.unlabelled, settings.labelled, turns=settings.turns)
        patches = jittered(
            patches.float(), settings.contrast, settings.brightness, settings.noise, self._source.generator
        ).contiguous(memory_format=torch.channels_last)
        loss = self._loss(patches)
        self._optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self.steps += 1
        return loss.detach()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything that is needed to go on exactly from here, as named tensors that a safetensors file can hold."""
        state = {"steps": torch.tensor(self.steps), "generator": self._source.generator.get_state()}
        for name, part in self._parts().items():
            state |= {f"{name}.{key}": tensor for key, tensor in part.state_dict().items()}
        state |= optimiser_state(self._optimiser, self._scaler)
        return {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from what :meth:`state_dict` gave, under the same settings and with the same data.

        On a device of another kind the patches that follow are other ones, which is logged as a warning.

        Raises
        ------
        CheckpointError
            The state is that of another network, or incomplete.
        """
        try:
            for name, part in self._parts().items():
                part.load_state_dict(under(state, name))
            load_optimiser(state, self._optimiser, self._scaler, is_new=not int(state["steps"]))
            self.steps = int(state["steps"])
            self._load_generator(state["generator"].cpu())
        except (KeyError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"this training cannot go on from the saved state ({reason}); train anew") from error

    def _loss(self, patches: torch.Tensor) -> torch.Tensor:
        settings = self._settings
        dtype = getattr(torch, settings.precision)
        with torch.autocast(self._device.type, dtype, enabled=dtype is not torch.float32):
            encoded = self.network.encode(patches)
            logits = self.network.classify(encoded)
            painted = self._decoder(encoded) if self._decoder is not None else None
        labelled, unlabelled, negatives = torch.tensor_split(logits, [settings.labelled, settings.batch_size])
        loss = self._objective(labelled, unlabelled, self._source.prior, negatives, settings.slack)
        return loss if painted is None else loss + settings.autoencoder * reconstruction_error(patches, painted)

    def _parts(self) -> dict[str, torch.nn.Module]:
        return {"network": self.network} | ({} if self._decoder is None else {"decoder": self._decoder})

    def _new_decoder(self) -> PatchDecoder:
        # The seed must not touch the random numbers of whoever called.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._settings.seed)
            decoder = PatchDecoder(self.network.features, self.network.width)
        return _placed(decoder, self._device)

    def _load_generator(self, saved: torch.Tensor) -> None:
        if saved.shape == self._source.generator.get_state().shape:
            self._source.generator.set_state(saved)
            return
        _log.warning("resumed on another kind of device: the patches that follow are drawn anew")
        self._source.generator.manual_seed(self._settings.seed + self.steps)


_Part = TypeVar("_Part", bound=torch.nn.Module)


def _placed(part: _Part, device: torch.device) -> _Part:
    # Channels last is the faster order of convolutions, on CPUs as well as on GPUs.
    return part.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
