"""Fused Triton operations for PyTorch; imports torch and triton and nothing of dsnet."""
