"""Every exception this project raises on purpose.

::

    GanfitError
    ├── ConfigurationError        a setting, argument or combination that cannot work
    ├── ModelFileError            a model file that cannot be used
    │   ├── MissingModelFileError     not where it was looked for
    │   ├── AlteredModelFileError     its sha256 is not the registered one
    │   └── ModelFormatError          its content is not what its format promises
    ├── InputError                an input item (photo, video, scan, annotation) that cannot be used
    │   ├── UnreadableInputError      it cannot be decoded
    │   └── UnsupportedInputError     it decodes, but is outside what we accept
    ├── GeometryError             geometry that admits no answer
    │   ├── DegeneratePointsError     too few points, or points without the needed extent
    │   ├── TopologyMismatchError     meshes that must share a topology do not
    │   └── UnitsError                sizes that betray the wrong unit
    ├── OutputError               an output location that cannot be used
    │   └── FingerprintMismatchError  it holds results of another configuration
    └── DivergedTrainingError     a training whose numbers stopped being finite

Errors carry a sentence that says what was expected, what was found and what to do.
"""


class GanfitError(Exception):
    """Base of every deliberate error."""


class ConfigurationError(GanfitError):
    """A setting, argument or combination that cannot work."""


class ModelFileError(GanfitError):
    """A model file that cannot be used."""


class MissingModelFileError(ModelFileError):
    """A model file is not where it was looked for."""


class AlteredModelFileError(ModelFileError):
    """A model file's sha256 differs from the registered one."""


class ModelFormatError(ModelFileError):
    """A model file's content is not what its format promises."""


class InputError(GanfitError):
    """An input item that cannot be used."""


class UnreadableInputError(InputError):
    """An input item cannot be decoded."""


class UnsupportedInputError(InputError):
    """An input item decodes, but is outside what we accept."""


class GeometryError(GanfitError):
    """Geometry that admits no answer."""


class DegeneratePointsError(GeometryError):
    """Too few points, or points without the needed extent."""


class TopologyMismatchError(GeometryError):
    """Meshes that must share a topology do not."""


class UnitsError(GeometryError):
    """Sizes that betray the wrong unit."""


class OutputError(GanfitError):
    """An output location that cannot be used."""


class FingerprintMismatchError(OutputError):
    """An output location holds results of another configuration."""


class DivergedTrainingError(GanfitError):
    """A training's losses or parameters stopped being finite."""
