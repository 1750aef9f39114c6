"""How likely each pixel near a RECIST mark is lesion, from the image and the mark.

What runs is compiled (`csrc/edge/`, in float32) and takes its coefficients from here; in NumPy it
is `dsnet.labeling.reference.edge_model`.

A colour mixture, as in GrabCut, knows neither where in the lesion a pixel lies nor how
sharp CT edges are. This model looks at both: where the pixel lies against the curve through
the mark's four end points, and how its grey values compare with the lesion's and the
surroundings' own. A small network, 18 features to 20 to 20 to 1, weighs them. Everything it sees
is relative to mark and image, so that neither the HU window nor turning the image matters.

Its coefficients (`edge_model.json`) were fitted by `python -m bench.fits.edge_model` to one
half of LIDC's patients, marks exact and jittered; `python -m bench.studies.label_quality` reports
both halves.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources

import numpy as np

from dsnet import _C

FEATURES = (
    "pixels outside the curve through the end points",
    "the same over half the short axis",
    "pixels outside the axes' ellipse",
    "the same over half the short axis",
    "grey value, 0 surroundings and 1 lesion",
    "grey value smoothed by 0.7 px",
    "grey value smoothed by 1.5 px",
    "grey value smoothed by 3 px",
    "slope away from the axes' crossing",
    "slope",
    "highest of 3x3",
    "lowest of 3x3",
    "Laplacian",
    "place along the long axis",
    "place along the short axis",
    "log of the short axis in pixels",
    "short axis over long axis",
    "spread of the surroundings over the contrast",
)

# Contrast below this, in the image's 0..1, is taken as this: grey values say nothing then.
LEAST_CONTRAST = 0.02


@lru_cache(maxsize=1)
def network_layers() -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Weights [out, in] and biases [out] of the network's layers, float64, the first one first.

    The first takes `FEATURES` as they are; a ReLU stands between any two.
    """
    text = resources.files("dsnet.labeling").joinpath("edge_model.json").read_text()
    stored = json.loads(text)
    if tuple(stored["features"]) != FEATURES:
        raise RuntimeError("edge_model.json was fitted to other features")
    layers = [(np.array(layer["weight"]), np.array(layer["bias"])) for layer in stored["layers"]]
    # The features' scaling is part of the first layer's weights.
    weight, bias = layers[0]
    weight = weight / np.array(stored["deviation"])
    layers[0] = (weight, bias - weight @ np.array(stored["mean"]))
    return tuple(layers)


@lru_cache(maxsize=1)
def native_network() -> _C.EdgeNetwork:
    """The coefficients for the compiled model."""
    arrays = [array for layer in network_layers() for array in layer]
    return _C.EdgeNetwork(*(np.ascontiguousarray(array, np.float32) for array in arrays))
