"""The public name of the classifier: `from nasmeta.classifier import FewShotClassifier`."""

from nasmeta.trained.classifier import FewShotClassifier

__all__ = ["FewShotClassifier"]
