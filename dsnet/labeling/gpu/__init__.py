"""Labels on a CUDA device: which one, chunks in flight, arrays that live there."""
