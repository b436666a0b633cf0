"""One picture, optimized from small to large (Gatys et al. 2016, at several sizes in turn)."""

import functools
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from nst_lightning.encoders import Encoder
from nst_lightning.errors import UserError, WorkError
from nst_lightning.images import flatten, image_to_array, to_rgb
from nst_lightning.losses import Draw, ObjectiveOptions
from nst_lightning.optimization.balance import ContentBalance, check_target
from nst_lightning.optimization.device import is_out_of_memory
from nst_lightning.optimization.journal import Journal, Stopped
from nst_lightning.optimization.minimize import State, minimize
from nst_lightning.optimization.objective import Objective
from nst_lightning.optimization.options import ColorOptions, MinimizerOptions, PyramidOptions
from nst_lightning.optimization.plan import Level, least_side, plan_levels
from nst_lightning.optimization.results import Interrupted, OptimizationError, Optimized, Progress, UnexpectedError
from nst_lightning.optimization.scene import Scene


def optimize_picture(
    photo: Image.Image | np.ndarray,
    paintings: Sequence[Image.Image],
    encoder: Encoder,
    *,
    pyramid: PyramidOptions = PyramidOptions(),  # noqa: B008 - frozen
    objective: ObjectiveOptions = ObjectiveOptions(),
    minimizer: MinimizerOptions = MinimizerOptions(),  # noqa: B008
    color: ColorOptions = ColorOptions(),  # noqa: B008
    content_target: float | None = None,
    blend_weights: Sequence[float] | None = None,
    masks: Sequence[Image.Image] | None = None,
    init: Image.Image | None = None,
    max_memory: float | None = None,
    levels: Sequence[Level] | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[Progress], bool | None] | None = None,
    state: dict[str, Any] | None = None,
) -> Optimized:
    """Paint a photo in the style of paintings.

    Args:
        photo: an image, or, if 8 bits per channel are too few, a float array in sRGB of shape (3, H, W) in [0, 1].
        paintings: the style pictures; transparent parts are white.
        encoder: the encoder whose features are compared.
        pyramid: the sizes at which the picture is optimized in turn, and what it starts from.
        objective: what the losses compare, and the weights.
        minimizer: the optimizer, L-BFGS or Adam, and its settings.
        color: whose colors the picture has.
        content_target: content that the picture is to have, from 0.1 to 0.9: the content loss, as `Progress.losses` has
            it, at the size of the last level that isn't refined; with masks, for the share of the picture that they
            show. The style weight, with which the objective only begins, is adapted while the picture grows, and is
            part of the result. None leaves it as it is.
        blend_weights: weight of each painting in a blend; by default all the same.
        masks: a mask for each painting, white where its style goes, black elsewhere, gray for a mixture. Where all
            masks are black, the photo stays.
        init: a picture to start from, such as a transfer network's, in place of `pyramid.start`.
        max_memory: memory for the whole process in bytes. Pictures that need more are processed in tiles, with the same
            result; if tiles would be small, L-BFGS remembers fewer steps. None sets no limit.
        levels: the result of `plan_levels` for the same arguments; by default it is computed.
        device: device to compute on, such as `cuda`.
        progress: function that is called after every iteration; if it returns true, the optimization ends and returns
            the picture so far, with a state from which it can be resumed.
        state: state of an interrupted call with the same arguments, which is resumed exactly.

    Raises:
        UserError: the photo is too small for the deepest layer or too large for the memory, masks don't fit the photo,
            an option doesn't fit, or the loss isn't finite from the start.
        Interrupted: Ctrl-C was pressed; the exception has the picture so far, and a state to resume from.
        OptimizationError: there is not enough memory, or `progress` raised an OSError or a WorkError; the exception has
            the picture so far and a state, too.
        UnexpectedError: any other error, whose cause is that error; this exception has them, too.
    """
    if content_target is not None:
        check_target(content_target, objective)
    encoder = encoder.to(device)
    photo, paintings = _to_array(photo), [flatten(painting) for painting in paintings]
    init = None if init is None else to_rgb(init)
    if levels is None:
        levels = plan_levels(
            (photo.shape[2], photo.shape[1]),
            encoder,
            pyramid=pyramid,
            objective=objective,
            minimizer=minimizer,
            masks=len(masks or ()),
            warm=init is not None,
            max_memory=max_memory,
        )
    scene = Scene(
        photo,
        paintings,
        size=(levels[-1].width, levels[-1].height),
        color=color,
        painting_scale=pyramid.painting_scale,
        margin=pyramid.margin,
        blend_weights=blend_weights,
        masks=masks,
        init=init,
        device=device,
    )
    fingerprint = _fingerprint(encoder, blend_weights, photo, *paintings, *(masks or ()))
    balance = None
    if content_target is not None:
        balance = ContentBalance(content_target, levels, weight=objective.style_weight)
    del photo  # the scene has its own, at the final size
    options = asdict(pyramid) | asdict(objective) | asdict(minimizer) | asdict(color)
    options["content_target"] = content_target
    journal = Journal(levels, scene, progress=progress, fingerprint=fingerprint, options=options, balance=balance)
    resumed = None if state is None else journal.resume(state)
    previous: State | None = None
    try:
        while journal.level <= len(journal.levels):
            weighed = replace(objective, style_weight=journal.style_weight)
            level_objective = _objective(scene, journal.current, encoder, weighed, draw=(pyramid.seed, journal.level))
            begin = resumed or _enter_level(previous, scene, level_objective, pyramid)
            previous, resumed = _minimize(begin, level_objective, minimizer, journal), None
            del level_objective, begin  # the next ones need the memory
            journal.level += 1
        if balance is not None:
            balance.end()
        return journal.result()
    except Stopped:
        return journal.result()
    except KeyboardInterrupt:
        if journal.state is None:
            raise
        raise Interrupted(journal.result()) from None
    except UserError:
        raise
    except Exception as error:
        foreseen = isinstance(error, OSError | WorkError) or is_out_of_memory(error)
        if journal.state is None:
            if is_out_of_memory(error):
                raise WorkError(str(error) or "out of memory") from error
            raise
        raise (OptimizationError if foreseen else UnexpectedError)(error, journal.result()) from error


def _to_array(photo: Image.Image | np.ndarray) -> np.ndarray:
    if not isinstance(photo, np.ndarray):
        return image_to_array(to_rgb(photo))
    if photo.ndim != 3 or len(photo) != 3:
        raise UserError(f"photo must be an image or an array of shape (3, H, W), got shape {photo.shape}")
    return photo.astype(np.float32, copy=False)


def _fingerprint(encoder: Encoder, blend_weights: Sequence[float] | None, *pictures: Image.Image | np.ndarray) -> int:
    """A checksum of weights and pictures, to recognize states of other pictures or encoders."""
    settings = repr((blend_weights, [getattr(module, "pooling", None) for module in encoder.modules()])).encode()
    weights = [tensor.cpu().numpy() for tensor in encoder.state_dict().values()]
    arrays = [np.ascontiguousarray(part) for part in (*weights, *pictures)]
    return functools.reduce(lambda found, array: zlib.crc32(array.data, found), arrays, zlib.crc32(settings))


def _objective(scene: Scene, level: Level, encoder: Encoder, options: ObjectiveOptions, *, draw: Draw) -> Objective:
    least, _ = least_side(encoder, options)
    regions = scene.regions_at(level.width, level.height, least=least)
    return Objective(encoder, scene.photo_at(level.width, level.height), regions, options, tile=level.tile, draw=draw)


def _enter_level(previous: State | None, scene: Scene, objective: Objective, pyramid: PyramidOptions) -> State:
    """The first state of a level: the start of the optimization, or the enlarged result of the level before."""
    if previous is None:
        return State(scene.first_pixels(objective.photo, start=pyramid.start, seed=pyramid.seed))
    height, width = objective.photo.shape[-2:]
    return previous.next_level(height, width, pyramid.margin)


def _minimize(state: State, objective: Objective, minimizer: MinimizerOptions, journal: Journal) -> State:
    """Optimize the journal's current level, record its progress, and return its last state."""
    level, balance, number = journal.current, journal.balance, journal.level
    journal.keep(state)
    options = replace(minimizer, history=level.history)
    run = functools.partial(
        minimize, objective, options=options, iterations=level.iterations, report=journal.report, keep=journal.keep
    )
    for iteration in [] if balance is None else balance.checks(number):
        state = run(state, until=iteration)
        if balance is not None and not balance.has_checked(number, iteration):
            before = balance.found.weight
            balance.adapt(_content(state, objective), number, iteration)
            if balance.found.weight != before:
                objective.weigh_style(balance.found.weight)
                state = state.end_level()  # curvatures of another loss mislead L-BFGS
            journal.keep(state)
    state = run(state).end_level()
    journal.keep(state)
    return state


def _content(state: State, objective: Objective) -> float:
    """The content of a state's picture, relative to that of the photo where a style goes."""
    return objective(state.picture())[0]["content"] / objective.stylized_share
