"""The networks: DSNet with every rung of its ablation, its peers, SR teacher and discriminators.

Each module's docstring starts with its signatures. Images are [N, C, H, W] in 0..1.
"""

from __future__ import annotations

from dsnet.models.checkpoint import load_model, save_model, state_of, unwrap
from dsnet.models.config import VARIANTS, DSNetConfig, Variant
from dsnet.models.discriminator import PixelDiscriminator
from dsnet.models.dsnet import DSNet, build, threshold_of
from dsnet.models.export import export_onnx, export_program
from dsnet.models.fusion import EDRFM, SDRFM
from dsnet.models.grid import interpolate, to_input_grid, to_output_grid
from dsnet.models.mark_plane import mark_plane
from dsnet.models.peers import PEERS
from dsnet.models.perceptual import PerceptualLoss
from dsnet.models.srgan import SRDiscriminator, SROutputs, SRResNet
from dsnet.models.unet import Backbone, CBAMBlock, UNet
from dsnet.models.views import mean_over_views

__all__ = [
    "EDRFM",
    "PEERS",
    "SDRFM",
    "VARIANTS",
    "Backbone",
    "CBAMBlock",
    "DSNet",
    "DSNetConfig",
    "PerceptualLoss",
    "PixelDiscriminator",
    "SRDiscriminator",
    "SROutputs",
    "SRResNet",
    "UNet",
    "Variant",
    "build",
    "export_onnx",
    "export_program",
    "interpolate",
    "load_model",
    "mark_plane",
    "mean_over_views",
    "save_model",
    "state_of",
    "threshold_of",
    "to_input_grid",
    "to_output_grid",
    "unwrap",
]
