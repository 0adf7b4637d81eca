"""Methods without training as networks: BM3D, non-local means, OpenCV's inpainting.

They run on the CPU, one picture at a time. Their packages are the extra ``irae[peers]``.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from irae.errors import ModelError
from irae.models.networks.base import Baseline

Array = np.ndarray[Any, np.dtype[Any]]


class _Classical(Baseline):
    """Base class that splits a batch into ``H W C`` arrays in [0, 1]; C is 1 or 3.

    ``module`` is the method's Python module, in the optional ``package``.

    Raises:
        ModelError: the package is not installed.
    """

    channels = None
    module = ""
    package = ""

    def __init__(self) -> None:
        super().__init__()
        self._import()

    def _import(self) -> Any:
        try:
            return importlib.import_module(self.module)
        except ImportError:
            raise ModelError(
                f"package {self.package} is not installed; "
                "install it with: pip install 'irae[peers]'"
            ) from None

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map degraded ``B C H W`` to restored, of the same shape, dtype and device.

        Raises:
            ValueError: the condition is missing (noise level or mask, depending on the method).
        """
        if condition is None:
            raise ValueError(f"{type(self).__name__} needs a condition")
        conditions = condition.expand(x.shape[0], *condition.shape[1:]).cpu().numpy()
        pictures = x.permute(0, 2, 3, 1).float().cpu().numpy()
        results = [
            torch.from_numpy(np.ascontiguousarray(self._restore(picture, each[0])))
            for picture, each in zip(pictures, conditions, strict=True)
        ]
        return torch.stack(results).view(pictures.shape).permute(0, 3, 1, 2).to(x)

    def _restore(self, picture: Array, condition: Array) -> Array:
        raise NotImplementedError


class _Denoiser(_Classical):
    """Base class of methods with one sigma, as a share of the range; 0 returns the picture."""

    takes_sigma = True

    def _restore(self, picture: Array, condition: Array) -> Array:
        sigma = float(condition.mean())
        return self._denoise(picture, sigma) if sigma else picture

    def _denoise(self, picture: Array, sigma: float) -> Array:
        raise NotImplementedError


class BM3D(_Denoiser):
    """Dabov, Foi, Katkovnik and Egiazarian, "Image denoising by sparse 3-D transform-domain
    collaborative filtering", IEEE TIP 2007; CBM3D (opponent colours) for RGB.

    The package ``bm3d`` is its authors' (Mäkinen, Azzari and Foi 2020) and free for research only.
    """

    module = package = "bm3d"

    def _denoise(self, picture: Array, sigma: float) -> Array:
        bm3d = self._import()
        denoise = bm3d.bm3d if picture.shape[2] == 1 else bm3d.bm3d_rgb
        return np.asarray(denoise(np.squeeze(picture), sigma), dtype=np.float32)


class NonLocalMeans(_Denoiser):
    """Buades, Coll and Morel, "A non-local algorithm for image denoising", CVPR 2005.

    scikit-image's fast form (Darbon et al. 2008) with the parameters of its own guide: patches of
    5, a distance of 6, h = 0.8 sigma, and sigma² subtracted from the distances of patches.
    """

    module = "skimage.restoration"
    package = "scikit-image"

    def _denoise(self, picture: Array, sigma: float) -> Array:
        denoised = self._import().denoise_nl_means(
            picture,
            patch_size=5,
            patch_distance=6,
            h=0.8 * sigma,
            sigma=sigma,
            fast_mode=True,
            channel_axis=-1,
        )
        return np.asarray(denoised, dtype=np.float32)


class _OpenCVFilling(_Classical):
    """OpenCV's inpainting with a neighbourhood of 3 pixels, in 8 bits."""

    module = "cv2"
    package = "opencv-contrib-python-headless"
    condition_channels = 1
    hole_fill = 0.0
    flag = ""
    radius = 3

    def _restore(self, picture: Array, condition: Array) -> Array:
        levels = np.squeeze((picture.clip(0, 1) * 255).round().astype(np.uint8))
        # Squeezing also removed the axis of a picture that is one pixel high or wide.
        levels = levels.reshape(picture.shape if picture.shape[2] > 1 else picture.shape[:2])
        hole = (condition > 0.5).astype(np.uint8)
        filled = self._fill(levels, hole)
        return np.asarray(filled, dtype=np.float32).reshape(picture.shape) / 255

    def _fill(self, levels: Array, hole: Array) -> Array:
        cv2 = self._import()
        return np.asarray(cv2.inpaint(levels, hole, self.radius, getattr(cv2, self.flag)))


class Telea(_OpenCVFilling):
    """Telea, "An image inpainting technique based on the fast marching method", JGT 2004."""

    flag = "INPAINT_TELEA"


class NavierStokes(_OpenCVFilling):
    """Bertalmio, Bertozzi and Sapiro, "Navier-Stokes, fluid dynamics, and image and video
    inpainting", CVPR 2001."""

    flag = "INPAINT_NS"


class FrequencySelective(_OpenCVFilling):
    """Genser, Seiler, Schilling and Kaup, "Signal and loss geometry aware frequency selective
    extrapolation for error concealment", PCS 2018; the fast variant of OpenCV's ``xphoto``."""

    module = "cv2.xphoto"

    def _fill(self, levels: Array, hole: Array) -> Array:
        xphoto = self._import()
        filled = np.zeros_like(levels)
        # Its mask is 0 where pixels are missing.
        xphoto.inpaint(levels, 255 * (1 - hole), filled, xphoto.INPAINT_FSR_FAST)
        return filled


class PatchMatch(_OpenCVFilling):
    """Barnes, Shechtman, Finkelstein and Goldman, "PatchMatch: a randomized correspondence
    algorithm for structural image editing", SIGGRAPH 2009; hole filling with patches of 7×7.

    The package ``pypatchmatch`` (MIT) has wheels for Linux, macOS and Windows; without one for the
    machine it is compiled, which needs OpenCV.
    """

    module = "patchmatch"
    package = "pypatchmatch"
    radius = 3

    def _fill(self, levels: Array, hole: Array) -> Array:
        patchmatch = self._import()
        # It needs a known place: nothing known becomes mid-gray, as in `fill_holes`.
        if hole.all():
            return np.full_like(levels, 128)
        colours = levels if levels.ndim == 3 else np.repeat(levels[..., None], 3, axis=2)
        filled = np.asarray(patchmatch.inpaint(colours, hole, patch_size=self.radius))
        return filled if levels.ndim == 3 else filled[..., 0]
