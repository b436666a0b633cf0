"""Color preservation: the painting takes the photo's colors before it is used, or only the luma is stylized.

Both methods are those of Gatys, Bethge, Hertzmann & Shechtman 2016, "Preserving Color in Neural Artistic Style
Transfer" (arXiv 1606.05897). Pictures are RGB arrays of shape (3, H, W) in [0, 1].
"""

from typing import Literal, get_args

import numpy as np

from nst_lightning.errors import require

ColorMatch = Literal["cholesky", "pca", "symmetric"]

LUMA = np.array([0.299, 0.587, 0.114])  # Y of YIQ from R'G'B', Rec. 601

MAX_GAIN = 6.0  # recoloring 8 paintings to 227 photos took 1.6 (median) to 5.3 (99 %); more would magnify noise
NEGLIGIBLE = 1e-8  # variance: a standard deviation of 1/40 of an 8-bit step


def match_color(
    pixels: np.ndarray,
    reference: np.ndarray,
    method: ColorMatch = "pca",
    *,
    weights: np.ndarray | None = None,
    reference_weights: np.ndarray | None = None,
) -> np.ndarray:
    """Give a picture the mean and covariance of another picture's colors, by one linear map for all positions.

    The map is x -> A (x - mean) + reference mean. Among the many A that bring a covariance C to the reference's R,
    `method` picks (in brackets: the mode's name in the authors' NeuralImageSynthesis and in linear-color-transfer):

    - `cholesky` ("chol"): L_R L_C^-1 with the lower triangular factors; depends on the order of the channels.
    - `pca` ("pca"): R^1/2 C^-1/2 with the symmetric roots, as in Image Analogies (Hertzmann et al. 2001); the paper's
      choice.
    - `symmetric` ("sym"): C^-1/2 (C^1/2 R C^1/2)^1/2 C^-1/2, the linear Monge-Kantorovich map (Pitié & Kokaram 2007):
      of all these maps, the one that moves the colors least.

    Those programs add 1e-5 to all variances, and noise can still grow a hundredfold where a picture is flat or gray.
    Here `pca` and `symmetric` magnify no difference between colors more than 6-fold (`cholesky` about twice that in
    the worst case): a picture that is flat, gray or of few hues gets the reference's mean, but varies less than the
    reference. No method makes it vary more than the reference in any direction.

    Args:
        pixels: the picture to change, shape (3, H, W); to preserve colors, the painting.
        reference: the picture to take the colors from, of any size; to preserve colors, the photo.
        method: which of the maps to use.
        weights: weight of each position of `pixels` in its statistics, shape (H, W); None gives all the same weight.
            All positions are changed, whatever their weight.
        reference_weights: the same for `reference`.

    Returns:
        A float32 array of the shape of `pixels`, clipped to [0, 1], which can change the statistics a little.

    Raises:
        UserError: the method is unknown, a shape doesn't fit, or weights are negative or all 0.
    """
    require("method", method, method in get_args(ColorMatch), " or ".join(get_args(ColorMatch)))
    _check(pixels, "pixels")
    _check(reference, "reference")
    return _match(pixels, reference, method, weights, reference_weights)


def luma(pixels: np.ndarray) -> np.ndarray:
    """The Y of YIQ (Rec. 601) of a picture of shape (3, H, W), as float32 of shape (H, W)."""
    _check(pixels, "pixels")
    return np.tensordot(LUMA, pixels, 1).astype(np.float32)


def to_gray(pixels: np.ndarray) -> np.ndarray:
    """A picture of shape (3, H, W) in gray: its luma in all three channels, for networks that expect RGB."""
    return np.repeat(luma(pixels)[None], 3, axis=0)


def match_luma(
    pixels: np.ndarray,
    reference: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    reference_weights: np.ndarray | None = None,
) -> np.ndarray:
    """A gray picture, whose luma is mapped linearly to the mean and standard deviation of another picture's.

    For luminance-only transfer (section 2.2 of the paper): stylize `to_gray(photo)` with `match_luma(painting, photo)`
    as the style picture, then color the result with `with_luma(photo, luma(result))`.

    Args:
        pixels: the picture to change, shape (3, H, W): the painting.
        reference: the picture whose luma to match, of any size: the photo.
        weights: as for `match_color`.
        reference_weights: as for `match_color`.

    Returns:
        A float32 array of shape (3, H, W) with equal channels, clipped to [0, 1]; contrast grows at most 6-fold.

    Raises:
        UserError: a shape doesn't fit, or weights are negative or all 0.
    """
    _check(reference, "reference")
    matched = _match(luma(pixels)[None], luma(reference)[None], "pca", weights, reference_weights)
    return np.repeat(matched, 3, axis=0)


def with_luma(pixels: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A picture with a new luma and its own chroma (I and Q of YIQ).

    Where the result would leave the range of RGB, the chroma is scaled down until it fits: luma and hue are kept, and
    saturation is lost.

    Args:
        pixels: the picture whose chroma to keep, shape (3, H, W): the photo.
        y: the new luma, shape (H, W), clipped to [0, 1].

    Returns:
        A float32 array of shape (3, H, W) in [0, 1].

    Raises:
        UserError: a shape doesn't fit.
    """
    _check(pixels, "pixels")
    require("y", y.shape, y.shape == pixels.shape[1:], f"of shape {pixels.shape[1:]}, as pixels")
    y = y.astype(np.float64).clip(0, 1)
    # Y adds equally to R, G and B: subtracting it leaves the chroma, and no YIQ matrix is needed.
    chroma = pixels - np.tensordot(LUMA, pixels, 1)
    room = np.where(chroma > 0, 1 - y, y)  # from the new luma to the end of the range in the chroma's direction
    scales = np.divide(room, np.abs(chroma), out=np.ones_like(chroma), where=np.abs(chroma) > room)
    return (y + scales.min(0) * chroma).clip(0, 1).astype(np.float32)  # the clip is for rounding


def _match(
    pixels: np.ndarray,
    reference: np.ndarray,
    method: ColorMatch,
    weights: np.ndarray | None,
    reference_weights: np.ndarray | None,
) -> np.ndarray:
    """`match_color` for any number of channels."""
    mean, covariance = _moments(pixels, _shares(weights, pixels, "weights"))
    wanted_mean, wanted = _moments(reference, _shares(reference_weights, reference, "reference_weights"))
    wanted += NEGLIGIBLE * np.eye(len(wanted))  # a flat reference has no Cholesky factor
    matrix = _linear_map(_widen(covariance, wanted), wanted, method)
    shift = wanted_mean - matrix @ mean
    return (np.tensordot(matrix, pixels, 1) + shift[:, None, None]).clip(0, 1).astype(np.float32)


def _moments(pixels: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean, shape (C,), and covariance, shape (C, C), of the colors of pixels, in float64."""
    colors = pixels.reshape(len(pixels), -1).astype(np.float64)  # (C, M)
    mean = colors @ shares
    colors -= mean[:, None]
    return mean, (colors * shares) @ colors.T


def _widen(covariance: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The smallest matrix that in every direction is at least `covariance`, and at least `wanted` / MAX_GAIN squared.

    A map from this matrix, rather than from the covariance, to the wanted one stretches nothing more than
    MAX_GAIN-fold, and leaves the picture with at most the wanted variance in every direction.
    """
    root = _root(wanted)
    inverse = np.linalg.inv(root)
    ratios, axes = np.linalg.eigh(inverse @ covariance @ inverse)
    axes_scaled = root @ axes
    return (axes_scaled * ratios.clip(1 / MAX_GAIN**2)) @ axes_scaled.T


def _linear_map(covariance: np.ndarray, wanted: np.ndarray, method: ColorMatch) -> np.ndarray:
    """The matrix A with A covariance A^T = wanted, both of shape (C, C) and positive definite."""
    if method == "cholesky":
        return np.linalg.cholesky(wanted) @ np.linalg.inv(np.linalg.cholesky(covariance))
    root = _root(covariance)
    inverse = np.linalg.inv(root)
    if method == "pca":
        return _root(wanted) @ inverse
    return inverse @ _root(root @ wanted @ root) @ inverse


def _root(matrix: np.ndarray) -> np.ndarray:
    """The symmetric square root of a symmetric positive matrix."""
    values, axes = np.linalg.eigh(matrix)
    return (axes * np.sqrt(values.clip(0))) @ axes.T


def _shares(weights: np.ndarray | None, pixels: np.ndarray, name: str) -> np.ndarray:
    """Each position's share in the statistics, shape (H * W,) with sum 1."""
    size = pixels.shape[1:]
    if weights is None:
        return np.full(size[0] * size[1], 1 / (size[0] * size[1]))
    require(name, weights.shape, weights.shape == size, f"of shape {size}, as the picture")
    good = np.isfinite(weights).all() and weights.min() >= 0 and weights.max() > 0
    require(name, (float(weights.min()), float(weights.max())), bool(good), "finite, >= 0 and not all 0")
    shares = weights.astype(np.float64).ravel()
    return shares / shares.sum()


def _check(pixels: np.ndarray, name: str) -> None:
    good = pixels.ndim == 3 and pixels.shape[0] == 3 and pixels.size > 0
    require(name, pixels.shape, good, "of shape (3, H, W)")
