"""Where artefacts are built: model + recipe + calibration -> artefact + record. Nothing else builds one."""

from qcourse.pipeline.artefacts import artefact, recipe_for
from qcourse.pipeline.build import build, quantized
from qcourse.pipeline.calibration import Calibration, calibration_tokens

__all__ = ["Calibration", "artefact", "build", "calibration_tokens", "quantized", "recipe_for"]
