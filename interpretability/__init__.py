"""Explaining audio classifiers: which time-frequency regions made a classifier decide, seen and heard."""

from interpretability.exports import lazy_exports

__version__ = "0.1.0"

#: Name -> its module.
EXPORTS = {
    "ModuleClassifier": "interpretability.classifiers.module",
    "WaveformClassifier": "interpretability.classifiers.waveform",
    "explain_recording": "interpretability.recordings.recording",
    "explain": "interpretability.explaining",
    "load_interpreter": "interpretability.methods",
    "open_classifier": "interpretability.classifiers",
}
__all__ = list(EXPORTS)
__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
