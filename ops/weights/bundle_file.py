"""The YAML files of bundles, and the known model files they name.

Nothing here imports torch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from ops.errors import ConfigurationError
from ops.weights.registry import known_file, with_companions
from ops.weights.sources import ModelFile

BUILT_IN_FOLDER = Path(__file__).parent / "bundles"
DEFAULT_BUNDLE = "open"
"""What commands use unless another bundle is asked for."""


def built_in_bundles() -> tuple[str, ...]:
    """Names of the bundles that ship with this package."""
    return tuple(sorted(path.stem for path in BUILT_IN_FOLDER.glob("*.yaml")))


def find_bundle(name_or_yaml: str | Path) -> Path:
    """The YAML file of a bundle, by its name or path.

    Raises:
        ConfigurationError: there is none.
    """
    built_in = BUILT_IN_FOLDER / f"{name_or_yaml}.yaml"
    if str(name_or_yaml) in built_in_bundles():
        return built_in
    path = Path(name_or_yaml).expanduser().absolute()
    if not path.is_file():
        raise ConfigurationError(
            f"expected a bundle's name ({', '.join(built_in_bundles())}) or the path of a YAML file, "
            f"found {str(name_or_yaml)!r}, which is neither"
        )
    return path


def read_bundle(path: Path) -> dict[str, object]:
    """What a bundle's YAML file says, by role.

    Raises:
        ConfigurationError: it is not a YAML file of roles.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not a YAML file: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: expected roles and their models, found {type(content).__name__}")
    return {str(key): value for key, value in cast(dict[object, object], content).items()}


def known_files_of(name_or_yaml: str | Path) -> tuple[ModelFile, ...]:
    """The registered files that a bundle names, and those that their networks read beside them.

    Raises:
        ConfigurationError: no such bundle, or a description that is not understood.
    """
    path = find_bundle(name_or_yaml)
    entries = [cast(dict[str, object], entry) for entry in read_bundle(path).values() if isinstance(entry, Mapping)]
    named = [known_file(str(entry["known"])) for entry in entries if "known" in entry]
    return tuple(dict.fromkeys(part for item in named for part in with_companions(item)))
