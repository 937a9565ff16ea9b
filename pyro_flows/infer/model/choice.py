"""Choosing how draws run together, by comparing batches with single runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .batches import Values, close, count_of
from .companions import among_others
from .detaching import reads_data
from .given import ModelFailure
from .how import LOOP, PLATE, VMAP, How
from .joint import DETERMINISTIC, Joint, Scores, total_of
from .seeds import fixed_seed
from .ways import Body, run

__all__ = ["COMPARED", "Choice"]

COMPARED = 3  # draws that run alone too: fewer than half of a batch
_SIZES = (7, 11, 13, 17, 19, 23)  # of the two batches of a check: none is a plate's or an event's size
_WIDTHS = (1.0, 0.1, 0.0)  # how far the others of a batch are moved, smaller if the model raises there


class Choice:
    """How draws run together: under a plate, else by vmap, if their scores are those of single runs.

    The other draws of a batch lie far off, so that a sum or a mean over draws, which is no error to a plate,
    shows in the scores; and no log-density may have a derivative by another draw's values. Without torch's
    random numbers that is, since a model that draws some under a plate draws others than alone: of such a
    model only shapes and derivatives are compared.

    Args:
        joint: the log-joint of the model.
        body: its method that is to agree.
        rows: draws that have run alone, `COMPARED` of them at most.
        alone: their scores.
        random: whether the log-joint varies from run to run.

    Attributes:
        how: the way, and why.
        detach: whether vmap needs ``tensor.detach()`` in place of ``tensor.data``.
    """

    def __init__(self, joint: Joint, body: Body, rows: Values, alone: Scores, *, random: bool) -> None:
        self.joint, self.body, self.rows, self.alone, self.random = joint, body, rows, alone, random
        self.detach = False
        if (unlike := self._under_a_plate()) is None:
            self.how = How(PLATE, "that scores them as single runs do")
        elif (unmapped := self._mapped()) is None:
            self.how = How(VMAP, f"under a plate {unlike}")
        else:
            self.how = How(LOOP, f"under a plate {unlike}, and under vmap {unmapped}")

    def _under_a_plate(self) -> str | None:
        """Say how draws under a plate differ from single runs; None if they do not."""
        for size, side in zip(self._sizes(), (1, -1), strict=True):
            for width in _WIDTHS:
                batch, places = among_others(self.rows, self.joint.layout.supports, size, width=side * width)
                reason, raised = self._differs(PLATE, batch, places)
                if not raised:
                    break
            if reason is not None:
                return reason
        return self._reaches_others(batch, int(places[-1]))

    def _mapped(self) -> str | None:
        reason = self._differs_by_vmap()
        if reason is not None and reads_data(reason):
            self.detach = True
            return self._differs_by_vmap()
        return reason

    def _differs_by_vmap(self) -> str | None:
        """Say how draws differ from single runs; vmap itself keeps them apart from each other."""
        for size in self._sizes():
            reason, _ = self._differs(VMAP, *among_others(self.rows, {}, size, width=0.0))
            if reason is not None:
                return reason
        return None

    def _sizes(self) -> list[int]:
        layout = self.joint.layout
        taken = {
            size for shapes in (layout.values, layout.batches) for shape in shapes.values() for size in shape
        }
        free = [size for size in _SIZES if size not in taken]
        return (free if len(free) > 1 else list(_SIZES))[:2]

    def _seeded(self, way: str, body: Body, values: Values) -> Any:
        with fixed_seed(next(iter(values.values())).device):
            return run(way, self.joint, body, values, detach=self.detach)

    def _differs(self, way: str, batch: Values, places: Tensor) -> tuple[str | None, bool]:
        """Say how some draws of a batch differ from the same draws alone, if so; and whether it raises."""
        try:
            found = self._seeded(way, self.body, batch)
        except Exception as error:
            words = error if isinstance(error, ModelFailure) else f"{type(error).__name__}: {error}"
            return f"it raises {str(words).splitlines()[0]}", True
        for (group, name), alone in self.alone.items():
            together = found.get((group, name))
            what = f"{'values' if group == DETERMINISTIC else 'log-densities'} of {name!r}"
            if together is None or together.shape[1:] != alone.shape[1:] or len(together) != count_of(batch):
                return f"{what} have another shape than in single runs", False
            if not self.random and not close(together[places], alone):
                return f"{what} differ from those of single runs", False
        return None, False

    def _reaches_others(self, batch: Values, place: int) -> str | None:
        """Say so if the log-density of a draw has a derivative by another draw's values.

        However weak that is beside the rest, and however large the log-density.
        """
        try:
            with torch.enable_grad():
                leaves = {n: x.detach().requires_grad_() for n, x in batch.items() if x.is_floating_point()}
                values = dict(batch) | {name: leaf.clone() for name, leaf in leaves.items()}
                total = total_of(self._seeded(PLATE, self.joint.terms, values))
                gradients = torch.autograd.grad(total[place], list(leaves.values()), allow_unused=True)
        except Exception:  # it has no derivatives: its values alone tell
            return None
        for gradient in gradients:
            if gradient is not None:
                elsewhere = torch.cat([gradient[:place], gradient[place + 1 :]])
                if bool((elsewhere.nan_to_num(nan=0.0) != 0).any()):
                    return "a draw's log-density depends on other draws"
        return None
