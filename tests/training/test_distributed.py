"""Two processes over gloo have the gradients of one process with both batches, and one average."""

import torch

import torch_jobs


def test_two_processes_have_the_gradients_of_one(tmp_path):
    runs = [(0, 1, "alone"), (0, 2, "first"), (1, 2, "second")]
    calls = [(r, w, str(tmp_path / "meeting"), str(tmp_path / name)) for r, w, name in runs]
    torch_jobs.run_together(torch_jobs.gradients_of_a_step, calls)
    loaded = [torch.load(tmp_path / name) for _, _, name in runs]
    (alone, first, second), (average, mean, same) = zip(*loaded, strict=True)
    assert len(alone) == len(first) > 20 and any(g.abs().max() > 0 for g in alone)
    for one, a, b in zip(alone, first, second, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, one, atol=1e-5, rtol=1e-4)
    for one, a, b in zip(average, mean, same, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, one, atol=5e-4, rtol=1e-3)
