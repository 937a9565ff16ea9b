"""Figures of a flow's latent space: reconstructions, interpolations, resampled scales, attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..flow import Flow
from ..transform import FlowTransform
from ..transforms import Chain, Multiscale
from .images import image_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["attribute_arithmetic", "interpolations", "reconstructions", "resampled_scales"]


def reconstructions(
    flow: Flow, images: Tensor, *, context: Tensor | None = None, levels: int = 256
) -> Figure:
    r"""Draw images, and below them f(f⁻¹(image)); the title has the largest difference of a pixel.

    Args:
        flow: over images; put it into eval mode first.
        images: pixel values of shape (n, C, H, W).
        context: of shape (n, *context_shape), for a conditional flow.
        levels: how many values a pixel can have.

    Raises:
        ImportError: without matplotlib.
        ValueError: if shapes do not fit.

    Example:
        >>> import torch, pyro_flows as pf, pyro_flows.plotting
        >>> flow = pf.Flow([pf.transforms.Reshape((64,), (1, 8, 8)), pf.transforms.LogitPixels()])
        >>> figure = pf.plotting.reconstructions(flow, torch.rand(5, 1, 8, 8) * 256)
        >>> figure.axes[0].images[0].get_array().shape
        (19, 46, 3)
    """
    images = images.to(_latents(flow, images, context))
    again = _images(flow, _latents(flow, images, context), context)
    figure = image_grid(torch.stack([images, again]), levels=levels, row_labels=["images", "and back"])
    worst = float((images - again).abs().max())
    figure.axes[0].set_title(f"largest difference: {worst:.2g} of {levels} levels", fontsize=10)
    return figure


def interpolations(
    flow: Flow,
    first: Tensor,
    second: Tensor,
    *,
    steps: int = 9,
    context: Tensor | None = None,
    levels: int = 256,
) -> Figure:
    r"""Draw f(x_t) from one image to another, one pair a row: x_t = (sin((1−t)ω) x₀ + sin(tω) x₁) / sin ω.

    ω is the angle between the latents x₀ and x₁. Along such an arc latents have the length of a sample of
    the base; on the straight line they would be shorter than any sample.

    Args:
        flow: over images; put it into eval mode first.
        first: images of shape (n, C, H, W), on the left.
        second: images of shape (n, C, H, W), on the right.
        steps: number of images in a row, both ends included.
        context: of shape (n, *context_shape), for a conditional flow.
        levels: how many values a pixel can have.

    Raises:
        ImportError: without matplotlib.
        ValueError: if shapes do not fit, or `steps` is below 2.

    Example:
        >>> import torch, pyro_flows as pf, pyro_flows.plotting
        >>> flow = pf.Flow([pf.transforms.Reshape((64,), (1, 8, 8)), pf.transforms.LogitPixels()])
        >>> figure = pf.plotting.interpolations(flow, *(torch.rand(2, 3, 1, 8, 8) * 256), steps=4)
        >>> figure.axes[0].images[0].get_array().shape
        (28, 37, 3)
    """
    if steps < 2 or first.shape != second.shape:
        shapes = f"{tuple(first.shape)} and {tuple(second.shape)}"
        raise ValueError(f"expected steps ≥ 2 and images of one shape; got {steps}, {shapes}")
    one, two = _latents(flow, first, context), _latents(flow, second, context)
    cosine = torch.cosine_similarity(one.flatten(1), two.flatten(1), -1)
    angle = cosine.clamp(-1 + 1e-6, 1 - 1e-6).acos().reshape(-1, *[1] * (one.dim() - 1))
    columns = []
    for t in torch.linspace(0, 1, steps).tolist():
        x = (((1 - t) * angle).sin() * one + (t * angle).sin() * two) / angle.sin()
        columns.append(_images(flow, x, context))
    return image_grid(torch.stack(columns, 1), levels=levels)


def resampled_scales(
    flow: Flow,
    images: Tensor,
    *,
    temperature: float = 1.0,
    context: Tensor | None = None,
    levels: int = 256,
) -> Figure:
    r"""Draw each image, then the image with the latents of more and more scales resampled, finest first.

    What does not change with the finest scales is encoded in the coarse ones.

    Args:
        flow: over images, whose transform is a `Multiscale` or a chain that begins with one; put it into
            eval mode first.
        images: pixel values of shape (n, C, H, W).
        temperature: temperature of the new latents.
        context: of shape (n, *context_shape), for a conditional flow.
        levels: how many values a pixel can have.

    Raises:
        ImportError: without matplotlib.
        ValueError: if shapes do not fit, or there is no `Multiscale` next to the base.

    Example:
        >>> import torch, pyro_flows as pf, pyro_flows.plotting
        >>> scales = [pf.transforms.Squeeze((1, 8, 8)), pf.transforms.Squeeze((2, 4, 4))]
        >>> flow = pf.Flow([pf.transforms.Multiscale(scales), pf.transforms.LogitPixels()])
        >>> figure = pf.plotting.resampled_scales(flow, torch.rand(2, 1, 8, 8) * 256)
        >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
        ['image', 'new scale 1', 'new scales 1–2']
    """
    multiscale = _multiscale(flow.transform)
    x = _latents(flow, images, context)
    old = multiscale.split(x)
    with torch.no_grad():
        base = flow.tempered(temperature)(context).base_dist
        new = multiscale.split(base.sample(x.shape[: x.dim() - len(base.batch_shape + base.event_shape)]))
    columns = [images.to(x)]
    for i in range(1, len(old) + 1):
        columns.append(_images(flow, multiscale.join([*new[:i], *old[i:]]), context))
    labels = ["image", "new scale 1", *(f"new scales 1–{i}" for i in range(2, len(old) + 1))]
    return image_grid(torch.stack(columns, 1), levels=levels, column_labels=labels)


def attribute_arithmetic(
    flow: Flow,
    images: Tensor,
    having: Tensor,
    lacking: Tensor,
    *,
    strengths: Sequence[float] = (-1.0, -0.5, 0.0, 0.5, 1.0),
    context: Tensor | None = None,
    levels: int = 256,
) -> Figure:
    r"""Draw f(x + s d), where d is the mean latent of images with an attribute minus that of images without.

    Kingma & Dhariwal, "Glow", 2018, arXiv:1807.03039, section 5.

    Args:
        flow: over images; put it into eval mode first.
        images: images to change, of shape (n, C, H, W).
        having: images with the attribute, of shape (m, C, H, W).
        lacking: images without it, of shape (k, C, H, W).
        strengths: the values of s, one for each column; 0 gives the image itself.
        context: of shape (*context_shape,), one for all images, for a conditional flow.
        levels: how many values a pixel can have.

    Raises:
        ImportError: without matplotlib.
        ValueError: if shapes do not fit.

    Example:
        >>> import torch, pyro_flows as pf, pyro_flows.plotting
        >>> flow = pf.Flow([pf.transforms.Reshape((64,), (1, 8, 8)), pf.transforms.LogitPixels()])
        >>> having, lacking = torch.rand(2, 20, 1, 8, 8) * 256
        >>> figure = pf.plotting.attribute_arithmetic(flow, having[:3], having, lacking)
        >>> figure.axes[0].images[0].get_array().shape
        (28, 46, 3)
    """
    direction = _latents(flow, having, context).mean(0) - _latents(flow, lacking, context).mean(0)
    x = _latents(flow, images, context)
    columns = [_images(flow, x + s * direction, context) for s in strengths]
    labels = [f"{s:+g}" if s else "0" for s in strengths]
    return image_grid(torch.stack(columns, 1), levels=levels, column_labels=labels)


@torch.no_grad()
def _latents(flow: Flow, images: Tensor, context: Tensor | None) -> Tensor:
    if images.dim() != 4:
        raise ValueError(f"expected images of shape (n, C, H, W); got {tuple(images.shape)}")
    kind = next((p for p in flow.parameters()), torch.empty(0))
    return flow.transform.inverse_and_log_det(images.to(kind), context)[0]


@torch.no_grad()
def _images(flow: Flow, x: Tensor, context: Tensor | None) -> Tensor:
    return flow.transform.forward_and_log_det(x, context)[0]


def _multiscale(transform: FlowTransform) -> Multiscale:
    while isinstance(transform, Chain) and len(transform):
        transform = transform[0]
    if not isinstance(transform, Multiscale):
        raise ValueError(f"expected a Multiscale next to the base; got {type(transform).__name__}")
    return transform
