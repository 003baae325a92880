"""Where artefacts are built: model + recipe + calibration -> artefact + record. Nothing else builds one."""
