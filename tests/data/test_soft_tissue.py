import numpy as np
import pytest

from dsnet.data.soft_tissue import SOFT_TISSUE_KINDS, make_soft_tissue_phantom
from dsnet.labeling import recist_from_mask


@pytest.mark.parametrize("kind", SOFT_TISSUE_KINDS)
@pytest.mark.parametrize("size", [16, 33, 64])
def test_lesions_are_where_their_marks_are(kind, size):
    for seed in range(6):
        phantom = make_soft_tissue_phantom(kind, size, seed)
        for image in (phantom.image, phantom.hu, phantom.alpha):
            assert image.shape == (size, size) and image.dtype == np.float32
        assert phantom.image.min() >= 0 and phantom.image.max() <= 1
        assert phantom.alpha.min() >= 0 and phantom.alpha.max() == 1
        derived = recist_from_mask(phantom.alpha >= 0.5)
        assert abs(derived.long_diameter - phantom.mark.long_diameter) < 1.5
        assert np.hypot(*(derived.center - phantom.mark.center)) < 1.5


def test_a_lesion_differs_from_what_is_around_it():
    differences = []
    for seed in range(20):
        phantom = make_soft_tissue_phantom("organ", 64, seed, diameter_px=24)
        inside = phantom.hu[phantom.alpha == 1].mean()
        outside = np.median(phantom.hu[phantom.alpha == 0])
        differences.append(abs(inside - outside))
    # Faint: tens of HU, where a lung nodule differs by nine hundred.
    assert 10 < np.median(differences) < 120


def test_same_arguments_same_bits():
    one, same, other = (make_soft_tissue_phantom("node", 48, seed) for seed in (3, 3, 4))
    assert np.array_equal(one.image, same.image) and one.mark == same.mark
    assert not np.array_equal(one.image, other.image)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"kind": "liver"}, "kind must be one of organ, node, got 'liver'"),
        ({"size": 8}, "size must be at least 16 pixels, got 8"),
        ({"diameter_px": 0}, "diameter_px must be in"),
        ({"size": 32, "diameter_px": 30}, "diameter_px must be in"),
    ],
)
def test_what_it_refuses(arguments, named):
    with pytest.raises(ValueError, match=named):
        make_soft_tissue_phantom(**arguments)
