"""A label's planes as a store keeps them: NumPy's own rounding, on every vector unit."""

import numpy as np
import pytest

from dsnet import _C


@pytest.fixture(params=_C.vector_units())
def unit(request):
    _C.use_vector_unit(request.param)
    yield request.param
    _C.use_vector_unit(_C.vector_units()[-1])


def planes(rng, shape):
    """Shares of every kind: anywhere, at a code, half way between two, about one half, the ends."""
    near = rng.integers(0, 65536, shape) / 65535 + rng.choice([0, 0.5 / 65535, 1e-9], shape)
    half = 0.5 + rng.integers(-2, 3, shape) * 2.0**-25
    image = np.choose(rng.integers(0, 4, shape), [rng.random(shape), near, half, shape[0] % 2])
    alpha = np.choose(rng.integers(0, 3, shape), [rng.random(shape), half, 1.0])
    image, alpha = (np.clip(one, 0, 1).astype(np.float32) for one in (image, alpha))
    return image, alpha, alpha >= 0.5, rng.choice(np.array([0, 128, 255], np.uint8), shape)


@pytest.mark.parametrize("bits", [8, 16])
def test_codes_are_numpys(unit, bits):
    rng = np.random.default_rng(bits)
    for shape in [(1, 1), (1, 17), (13, 5), (16, 16), (31, 33), (64, 64), (70, 129)]:
        image, alpha, binary, trimap = planes(rng, shape)
        found = _C.label_codes(image, alpha, binary, trimap, bits)
        wanted = [
            np.floor(image.astype(np.float64) * 65535 + 0.5).astype("<u2"),
            np.floor(alpha.astype(np.float64) * (2**bits - 1) + 0.5).astype(f"<u{bits // 8}"),
            binary.astype("u1"),
            trimap,
        ]
        assert [one.tobytes() for one in wanted] == list(found)


@pytest.mark.parametrize("name", ["image", "alpha"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1e-30, np.nextafter(np.float32(1), 2)])
def test_one_value_beyond_is_seen_wherever_it_is(unit, name, value):
    rng = np.random.default_rng(0)
    for at in (0, 15, 16, 1000, 8 * 129 - 1):
        image, alpha, _, trimap = planes(rng, (8, 129))
        {"image": image, "alpha": alpha}[name].flat[at] = value
        assert _C.label_codes(image, alpha, alpha >= 0.5, trimap, 16) is None


def test_a_mask_that_is_not_alphas_and_another_trimap_are_seen(unit):
    rng = np.random.default_rng(1)
    for at in (0, 31, 8 * 129 - 1):
        image, alpha, binary, trimap = planes(rng, (8, 129))
        wrong = binary.copy()
        wrong.flat[at] ^= True
        assert _C.label_codes(image, alpha, wrong, trimap, 16) is None
        for value in (1, 64, 127, 129, 254):
            other = trimap.copy()
            other.flat[at] = value
            assert _C.label_codes(image, alpha, binary, other, 16) is None


def test_any_other_array_is_left_to_others():
    image, alpha, binary, trimap = planes(np.random.default_rng(2), (6, 8))
    assert _C.label_codes(image, alpha, binary, trimap, 16) is not None
    odd = np.frombuffer(b"\0" + image.tobytes(), np.uint8)[1:].view(np.float32).reshape(6, 8)
    for planes_of in (
        (None, alpha, binary, trimap),
        (image.astype(float), alpha, binary, trimap),
        (image[:, ::2], alpha, binary, trimap),
        (np.asfortranarray(image), alpha, binary, trimap),
        (image.astype(">f4"), alpha, binary, trimap),
        (odd, alpha, binary, trimap),
        (image[None], alpha[None], binary[None], trimap[None]),
        (image[:0], alpha[:0], binary[:0], trimap[:0]),
        (image, alpha.T.copy(), binary, trimap),
        (image, alpha, binary.astype(np.uint8), trimap),
        (image, alpha, binary, trimap.astype(np.int16)),
        (image.tolist(), alpha, binary, trimap),
    ):
        assert _C.label_codes(*planes_of, 16) is None
    with pytest.raises(ValueError, match="alpha_bits must be 8 or 16, got 12"):
        _C.label_codes(image, alpha, binary, trimap, 12)


def test_the_lowest_code_is_that_of_what_is_not_0(unit):
    rng = np.random.default_rng(3)
    for shape in [(1, 1), (3, 5), (9, 64), (31, 70)]:
        for number in (1, 200, 65535):
            codes = rng.integers(1, 65536, shape).astype(np.uint16)
            at = tuple(rng.integers(0, shape))
            codes[at] = number
            assert _C.lowest_code(codes) == codes.min()
            codes[rng.random(shape) < 0.5] = 0
            codes[at] = number
            assert _C.lowest_code(codes) == codes[codes > 0].min()
            assert _C.lowest_code(codes[: at[0] + 1, : at[1] + 1]) > 0
    assert _C.lowest_code(np.zeros((4, 40), np.uint16)) == 0
    for wrong in (codes.astype(np.int32), codes[:, ::2], codes[:0], codes.T, codes[0], codes[::-1]):
        with pytest.raises(TypeError):
            _C.lowest_code(wrong)
