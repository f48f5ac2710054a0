"""A pixel's key is a hash of its position; the smallest keys of a scene do not depend on its blocks."""

import numpy as np
import numpy.typing as npt
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.core.grid import Grid
from pipeline.kernels.hashing import LARGEST_KEY, smallest_keys

WORD = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(z: int) -> int:
    """SplitMix64's output function, as Steele, Lea & Flood print it, in unbounded integers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
    return z ^ (z >> 31)


def key_of(row: int, column: int, seed: int) -> int:
    return mix(((row << 32) | column) ^ mix((seed + GOLDEN) & WORD))


def every_key(valid: npt.NDArray[np.bool_], origin: tuple[int, int], seed: int) -> dict[int, int]:
    """Key of each valid pixel, by position in the flattened block."""
    rows, columns = np.nonzero(valid)
    return {
        int(r) * valid.shape[1] + int(c): key_of(origin[0] + int(r), origin[1] + int(c), seed)
        for r, c in zip(rows, columns, strict=True)
    }


def mask(shape: tuple[int, int], share: float, seed: int = 0) -> npt.NDArray[np.bool_]:
    return np.random.default_rng(seed).random(shape) < share


@st.composite
def masks(draw: st.DrawFn, largest: int = 24) -> npt.NDArray[np.bool_]:
    shape = draw(st.tuples(st.integers(1, largest), st.integers(1, largest)))
    return mask(shape, draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])), draw(st.integers(0, 99)))


seeds = st.sampled_from([0, 1, 12345, 2**32 - 1])


def test_the_reference_mix_returns_the_published_first_number_of_splitmix64() -> None:
    assert mix(GOLDEN) == 0xE220A8397B1DCDAF  # the generator's first output for seed 0


@pytest.mark.parametrize("origin", [(0, 0), (7, 100_000), (2**31, 2**32 - 3)])
@pytest.mark.parametrize("seed", [0, 42, 2**32 - 1])
def test_keys_are_splitmix64_of_seed_row_and_column(origin: tuple[int, int], seed: int) -> None:
    valid = np.array([[True, False, True], [True, True, True]])
    keys, index = smallest_keys(valid, origin, seed, wanted=6)
    assert dict(zip(index.tolist(), keys.tolist(), strict=True)) == every_key(valid, origin, seed)


@settings(max_examples=150, deadline=None)
@given(
    valid=masks(), seed=seeds, wanted=st.integers(1, 700), quantile=st.floats(0, 1),
    origin=st.sampled_from([(0, 0), (9, 77)]),
)  # fmt: skip
def test_a_block_returns_at_least_the_wanted_smallest_keys_below_the_threshold(
    valid: npt.NDArray[np.bool_], seed: int, wanted: int, quantile: float, origin: tuple[int, int]
) -> None:
    threshold = min(LARGEST_KEY, int(quantile * 2**64))
    expected = every_key(valid, origin, seed)
    below = sorted(key for key in expected.values() if key <= threshold)
    keys, index = smallest_keys(valid, origin, seed, wanted, threshold)
    assert len(keys) == len(set(keys.tolist())) == len(index)
    assert all(expected[i] == key for i, key in zip(index.tolist(), keys.tolist(), strict=True))  # so all are valid
    assert set(below[:wanted]) <= set(keys.tolist()) <= set(below)


@pytest.mark.parametrize("wanted", [1, 2, 3, 5, 395, 399, 400, 401, 10_000])
def test_samples_of_few_or_nearly_all_pixels_are_complete(wanted: int) -> None:
    valid = np.ones((20, 20), np.bool_)
    for seed in range(60):  # a first threshold for so few keys is too low for some seeds
        keys, _ = smallest_keys(valid, (0, 0), seed, wanted)
        expected = sorted(every_key(valid, (0, 0), seed).values())[:wanted]
        assert sorted(keys.tolist())[:wanted] == expected


@settings(max_examples=60, deadline=None)
@given(
    valid=masks(40), chunk=st.tuples(st.integers(1, 40), st.integers(1, 40)), seed=seeds, wanted=st.integers(1, 400),
    order=st.randoms(use_true_random=False),
)  # fmt: skip
def test_the_smallest_keys_of_the_blocks_are_those_of_the_scene_for_any_chunking_and_order(
    valid: npt.NDArray[np.bool_], chunk: tuple[int, int], seed: int, wanted: int, order: object
) -> None:
    whole, _ = smallest_keys(valid, (0, 0), seed, wanted)
    blocks = list(Grid(shape=valid.shape, transform=Affine.identity(), crs=None).blocks(chunk))
    order.shuffle(blocks)  # type: ignore[attr-defined]
    best: list[int] = []
    threshold = LARGEST_KEY
    for block in blocks:  # as in sampling: the keys found so far bound the next threshold
        keys, _ = smallest_keys(valid[block.slices], (block.top, block.left), seed, wanted, threshold)
        best = sorted([*best, *keys.tolist()])[:wanted]
        threshold = best[-1] if len(best) == wanted else LARGEST_KEY
    assert best == sorted(whole.tolist())[:wanted]
    assert len(best) == min(wanted, int(valid.sum()))


@pytest.mark.parametrize("tenths", [1, 5])
def test_no_key_is_lost_if_far_more_pixels_than_expected_are_below_the_threshold(tenths: int) -> None:
    threshold, everywhere = tenths * 2**64 // 10, np.ones((60, 60), np.bool_)
    small = [position for position, key in every_key(everywhere, (0, 0), 1).items() if key <= threshold]
    valid = np.zeros_like(everywhere)
    valid.flat[small] = True  # only pixels with small keys are valid
    keys, index = smallest_keys(valid, (0, 0), 1, wanted=3600, threshold=threshold)
    assert sorted(index.tolist()) == small
    assert dict(zip(index.tolist(), keys.tolist(), strict=True)) == every_key(valid, (0, 0), 1)


def test_a_large_block_returns_few_more_keys_than_wanted() -> None:
    keys, _ = smallest_keys(np.ones((400, 500), np.bool_), (0, 0), 3, wanted=1000)
    assert 1000 <= len(keys) < 2000


@pytest.mark.parametrize("seed", range(5))
def test_keys_are_spread_evenly_over_all_64_bits(seed: int) -> None:
    keys, _ = smallest_keys(np.ones((200, 300), np.bool_), (1000, 2000), seed, wanted=60_000)
    assert len(keys) == 60_000
    assert stats.kstest(keys / 2.0**64, "uniform").pvalue > 1e-3
    low_byte = np.bincount((keys & np.uint64(255)).astype(np.int64), minlength=256)
    assert stats.chisquare(low_byte).pvalue > 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_chosen_pixels_are_spread_evenly_over_the_scene(seed: int) -> None:
    side, wanted, cells = 400, 16_000, 20
    keys, index = smallest_keys(np.ones((side, side), np.bool_), (0, 0), seed, wanted)
    chosen = index[np.argsort(keys)[:wanted]]
    rows, columns = np.divmod(chosen, side)
    per_cell = np.histogram2d(rows, columns, bins=cells, range=[(0, side)] * 2)[0].ravel()
    assert stats.chisquare(per_cell).pvalue > 1e-3
    # one pixel in ten, without repetition: neighbours are chosen together as often as by chance
    taken = np.zeros((side, side), np.bool_)
    taken.flat[chosen] = True
    share = wanted / side**2
    for pairs in (taken[:, 1:] & taken[:, :-1], taken[1:] & taken[:-1]):
        spread = (pairs.size * share**2) ** 0.5
        assert abs(pairs.sum() - pairs.size * share**2) < 5 * spread


def test_samples_of_different_seeds_overlap_no_more_than_by_chance() -> None:
    valid, wanted = np.ones((100, 100), np.bool_), 1000
    samples = []
    for seed in range(4):
        keys, index = smallest_keys(valid, (0, 0), seed, wanted)
        samples.append(set(index[np.argsort(keys)[:wanted]].tolist()))
    hypergeometric = stats.hypergeom(valid.size, wanted, wanted)
    for i, one in enumerate(samples):
        for other in samples[:i]:
            assert hypergeometric.ppf(1e-5) < len(one & other) < hypergeometric.ppf(1 - 1e-5)
