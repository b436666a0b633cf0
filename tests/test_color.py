"""Against np.cov, np.average, the SVD of the pixels and colorsys: none of them is what the module computes with."""

import colorsys
from typing import get_args

import numpy as np
import pytest

from nst_lightning.images import ColorMatch, luma, match_color, match_luma, to_gray, with_luma

METHODS = get_args(ColorMatch)


def mild(seed: int, height: int = 24, width: int = 36) -> np.ndarray:
    """A picture of correlated colors far from black and white, so that nothing is clipped."""
    random = np.random.default_rng(seed)
    mixing = np.eye(3) + random.uniform(-0.5, 0.5, (3, 3))
    colors = mixing @ random.uniform(-1, 1, (3, height * width)) * random.uniform(0.04, 0.1)
    return (random.uniform(0.4, 0.6, (3, 1)) + colors).astype(np.float32).reshape(3, height, width)


def gray_with_noise(deviation: float) -> np.ndarray:
    return (to_gray(mild(5)) + np.random.default_rng(6).normal(0, deviation, (3, 24, 36))).astype(np.float32)


def covariance(pixels: np.ndarray) -> np.ndarray:
    return np.cov(pixels.reshape(3, -1).astype(float), bias=True)


def affine_map(pixels: np.ndarray, matched: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrix and shift that make `matched` of `pixels`, found by least squares."""
    columns = np.vstack([pixels.reshape(3, -1), np.ones(pixels[0].size)]).astype(float)
    solution, *_ = np.linalg.lstsq(columns.T, matched.reshape(3, -1).T.astype(float), rcond=None)
    return solution[:3].T, solution[3]


def root(pixels: np.ndarray) -> np.ndarray:
    """The symmetric root of the covariance, from the pixels themselves."""
    colors = pixels.reshape(3, -1).astype(float)
    centerd = colors - colors.mean(1, keepdims=True)
    axes, lengths, _ = np.linalg.svd(centerd / np.sqrt(centerd.shape[1]), full_matrices=False)
    return axes * lengths @ axes.T


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_mean_and_covariance_become_the_references(method, seed):
    pixels, reference = mild(seed), mild(seed + 10, 31, 20)
    matched = match_color(pixels, reference, method)
    assert (matched.shape, matched.dtype) == (pixels.shape, np.float32)
    np.testing.assert_allclose(matched.mean((1, 2)), reference.mean((1, 2)), atol=1e-6)
    np.testing.assert_allclose(covariance(matched), covariance(reference), atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_a_picture_matched_to_itself_stays(method):
    pixels = mild(0)
    np.testing.assert_allclose(match_color(pixels, pixels, method), pixels, atol=1e-5)


def test_cholesky_is_lower_triangular_with_a_positive_diagonal():
    pixels = mild(0)
    matrix, _ = affine_map(pixels, match_color(pixels, mild(1), "cholesky"))
    np.testing.assert_allclose(matrix, np.tril(matrix), atol=1e-5)
    assert np.diag(matrix).min() > 0


def test_pca_goes_from_one_symmetric_root_to_the_other():
    pixels, reference = mild(0), mild(1)
    matrix, _ = affine_map(pixels, match_color(pixels, reference))
    np.testing.assert_allclose(matrix @ root(pixels), root(reference), atol=1e-5)


def test_symmetric_is_symmetric_and_moves_colors_least():
    pixels, reference = mild(0), mild(1)
    matrix, _ = affine_map(pixels, match_color(pixels, reference, "symmetric"))
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-5)
    assert np.linalg.eigvalsh(matrix).min() > 0
    moved = {method: ((match_color(pixels, reference, method) - pixels) ** 2).mean() for method in METHODS}
    assert moved["symmetric"] < min(moved["cholesky"], moved["pca"])


@pytest.mark.parametrize("method", METHODS)
def test_weights_count_in_the_statistics(method):
    pixels, reference = mild(0), mild(1)
    random = np.random.default_rng(2)
    weights = random.uniform(0, 3, pixels.shape[1:]).astype(np.float32)
    mask = random.random(reference.shape[1:]) > 0.6
    matched = match_color(pixels, reference, method, weights=weights, reference_weights=mask)
    selected = reference[:, mask].astype(float)
    np.testing.assert_allclose(
        np.average(matched.reshape(3, -1), axis=1, weights=weights.ravel()), selected.mean(1), atol=1e-6
    )
    weighted = np.cov(matched.reshape(3, -1).astype(float), aweights=weights.ravel().astype(float), ddof=0)
    np.testing.assert_allclose(weighted, np.cov(selected, bias=True), atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("pixels", "reference"),
    [
        (np.full((3, 8, 8), 0.25, np.float32), mild(1)),
        (mild(1), np.full((3, 8, 8), 0.25, np.float32)),
        (np.zeros((3, 8, 8), np.float32), np.ones((3, 1, 1), np.float32)),
    ],
    ids=["flat picture", "flat reference", "both flat"],
)
def test_flat_pictures(method, pixels, reference):
    matched = match_color(pixels, reference, method)
    expected = np.broadcast_to(reference.mean((1, 2))[:, None, None], pixels.shape)
    np.testing.assert_allclose(matched, expected, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("noise", [0, 1e-6, 1e-3, 0.01])
def test_a_gray_picture_gets_no_more_color_than_the_reference_has(method, noise):
    pixels, reference = gray_with_noise(noise), mild(7)
    matched = match_color(pixels, reference, method)
    np.testing.assert_allclose(matched.mean((1, 2)), reference.mean((1, 2)), atol=1e-5)
    assert np.linalg.eigvalsh(covariance(reference) - covariance(matched)).min() > -1e-6


def test_a_gray_picture_keeps_its_contrast():
    matched = match_color(gray_with_noise(0), mild(7))
    assert luma(matched).std() > 0.8 * luma(mild(7)).std()


@pytest.mark.parametrize("method", ["pca", "symmetric"])
@pytest.mark.parametrize("noise", [1e-3, 0.01])
def test_noise_is_magnified_six_times_at_most(method, noise):
    pixels = gray_with_noise(noise)
    matrix, _ = affine_map(pixels, match_color(pixels, mild(7), method))
    assert np.linalg.norm(matrix, 2) <= 6.01


@pytest.mark.parametrize("method", METHODS)
def test_a_gray_reference_makes_gray(method):
    matched = match_color(mild(0), to_gray(mild(1)), method)
    np.testing.assert_allclose(matched, to_gray(matched), atol=1e-3)


def test_results_stay_in_range():
    extremes = (np.random.default_rng(0).random((3, 16, 16)) > 0.5).astype(np.float32)
    matched = match_color(mild(0), extremes)
    assert matched.min() == 0
    assert matched.max() == 1


def test_luma_is_that_of_yiq():
    pixels = np.random.default_rng(0).random((3, 5, 7)).astype(np.float32)
    expected = [[colorsys.rgb_to_yiq(*pixels[:, i, j])[0] for j in range(7)] for i in range(5)]
    assert luma(pixels).dtype == np.float32
    np.testing.assert_allclose(luma(pixels), expected, atol=4e-3)  # colorsys rounds the weights to two digits
    np.testing.assert_allclose(luma(np.eye(3).reshape(3, 1, 3)), [[0.299, 0.587, 0.114]], rtol=1e-6)


def test_to_gray_repeats_the_luma():
    pixels = mild(0)
    assert to_gray(pixels).shape == pixels.shape
    for channel in to_gray(pixels):
        np.testing.assert_array_equal(channel, luma(pixels))


def test_match_luma_gives_mean_and_deviation():
    pixels, reference = mild(0), mild(1, 30, 20)
    mask = np.arange(24 * 36).reshape(24, 36) % 3 > 0
    matched = match_luma(pixels, reference, weights=mask, reference_weights=np.ones((30, 20)))
    np.testing.assert_array_equal(matched, np.stack([matched[0]] * 3))
    np.testing.assert_allclose(matched[0][mask].mean(), luma(reference).mean(), atol=1e-6)
    np.testing.assert_allclose(matched[0][mask].std(), luma(reference).std(), atol=1e-6)
    assert np.corrcoef(matched[0].ravel(), luma(pixels).ravel())[0, 1] == pytest.approx(1)


def test_match_luma_of_a_flat_picture_is_the_mean():
    matched = match_luma(np.full((3, 4, 4), 0.9, np.float32), mild(1))
    np.testing.assert_allclose(matched, luma(mild(1)).mean(), atol=1e-5)


def test_a_photo_with_its_own_luma_stays():
    photo = np.random.default_rng(0).random((3, 20, 30)).astype(np.float32)
    np.testing.assert_allclose(with_luma(photo, luma(photo)), photo, atol=1e-6)


def test_with_luma_keeps_hue_and_gives_up_saturation():
    random = np.random.default_rng(0)
    photo, y = random.random((3, 12, 15)).astype(np.float32), random.random((12, 15)).astype(np.float32)
    recolored = with_luma(photo, y)
    assert recolored.dtype == np.float32
    assert 0 <= recolored.min() <= recolored.max() <= 1
    np.testing.assert_allclose(luma(recolored), y, atol=1e-6)
    for i, j in np.ndindex(12, 15):
        _, *before = colorsys.rgb_to_yiq(*photo[:, i, j].astype(float))
        _, *after = colorsys.rgb_to_yiq(*recolored[:, i, j].astype(float))
        kept = np.dot(before, after) / np.dot(before, before)
        np.testing.assert_allclose(after, np.multiply(kept, before), atol=1e-6)
        assert 0 <= kept < 1 + 1e-5
        on_the_edge = recolored[:, i, j].min() < 1e-6 or recolored[:, i, j].max() > 1 - 1e-6
        assert on_the_edge or kept == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("y", "expected"), [(0, 0), (1, 1), (-3, 0), (7, 1)])
def test_with_luma_black_and_white(y, expected):
    np.testing.assert_array_equal(with_luma(mild(0), np.full((24, 36), y)), np.full((3, 24, 36), expected))


def test_arguments_are_left_alone():
    pixels, reference, y = mild(0), mild(1), luma(mild(2))
    copies = pixels.copy(), reference.copy(), y.copy()
    match_color(pixels, reference)
    match_luma(pixels, reference)
    with_luma(pixels, y)
    for array, copy in zip((pixels, reference, y), copies):
        np.testing.assert_array_equal(array, copy)


def test_unknown_method():
    with pytest.raises(ValueError, match="method must be cholesky or pca or symmetric, got 'chol'"):
        match_color(mild(0), mild(1), "chol")


@pytest.mark.parametrize("shape", [(24, 36), (24, 36, 3), (1, 3, 24, 36), (3, 0, 4)])
def test_shapes_that_are_no_picture(shape):
    wrong, right = np.zeros(shape, np.float32), mild(0)
    for function in (match_color, match_luma):
        with pytest.raises(ValueError, match=r"pixels must be of shape \(3, H, W\), got \(.*\)"):
            function(wrong, right)
        with pytest.raises(ValueError, match="reference must be of shape"):
            function(right, wrong)
    for function in (luma, to_gray, lambda pixels: with_luma(pixels, luma(right))):
        with pytest.raises(ValueError, match="pixels must be of shape"):
            function(wrong)


def test_luma_of_another_shape():
    with pytest.raises(ValueError, match=r"y must be of shape \(24, 36\), as pixels, got \(36, 24\)"):
        with_luma(mild(0), np.zeros((36, 24)))


@pytest.mark.parametrize("function", [match_color, match_luma])
@pytest.mark.parametrize("name", ["weights", "reference_weights"])
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones((36, 24)), r" must be of shape \(24, 36\), as the picture, got \(36, 24\)"),
        (np.zeros((24, 36)), r" must be finite, >= 0 and not all 0, got \(0\.0, 0\.0\)"),
        (np.full((24, 36), -1.0), r" must be finite, .*, got \(-1\.0, -1\.0\)"),
        (np.full((24, 36), np.nan), r" must be finite, .*, got \(nan, nan\)"),
    ],
    ids=["shape", "all zero", "negative", "nan"],
)
def test_bad_weights_are_named(function, name, weights, message):
    with pytest.raises(ValueError, match=f"^{name}{message}"):
        function(mild(0), mild(1), **{name: weights})
