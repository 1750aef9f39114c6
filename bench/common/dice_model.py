"""The Dice that labels have, by what is known of them: a logistic model, held to other patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FOLDS = 8
RIDGE = 3.0


def folds_of(patient: np.ndarray) -> list[np.ndarray]:
    """Which labels each of a few folds holds; all of a patient's are in one."""
    patients = np.unique(patient)
    return [np.isin(patient, patients[fold::FOLDS]) for fold in range(FOLDS)]


def crossed(known: np.ndarray, found: np.ndarray, folds: Sequence[np.ndarray]) -> np.ndarray:
    """The Dice of each fold's labels as the other folds' coefficients expect it."""
    expected = np.empty(len(found))
    for fold in folds:
        expected[fold] = logistic(known[fold] @ fit(known[~fold], found[~fold]))
    return expected


def logistic(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-value))


def fit(known: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Coefficients whose logistic sum is nearest to the Dice: least squares with a ridge, then
    Gauss-Newton steps on the Dice itself."""
    kept = np.clip(found, 0.05, 0.985)
    ridge = RIDGE * np.eye(known.shape[1])
    ridge[0, 0] = 0.0
    coefficients = np.linalg.solve(known.T @ known + ridge, known.T @ np.log(kept / (1 - kept)))
    for _ in range(20):
        expected = logistic(known @ coefficients)
        slope = known * (expected * (1 - expected))[:, None]
        normal = slope.T @ slope + ridge * 1e-3
        step = np.linalg.solve(normal, slope.T @ (found - expected) - ridge @ coefficients * 1e-3)
        coefficients = coefficients + step
    return coefficients
