"""`[trees.X]`: the categories of a shop or of a marketplace, from a CSV file or a table; and the trees of channels."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple, TypeAlias

from msgspec import Meta, field

from pagefold.domains.locales import canonical_locale
from pagefold.engine.configuration.csv_tables import UnusableTable, csv_rows
from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.configuration.toml_tables import Table
from pagefold.engine.errors import ConfigurationError
from pagefold.projections.category_trees import CategoryForest, InvalidTree

Document: TypeAlias = dict[str, object]


class CategoryRow(Table, frozen=True):
    """A category of a tree that is a table of the configuration."""

    parent: Annotated[str, Meta(description="The category above it. Without one, it is a root.")] = ""
    text: Annotated[dict[str, str], Meta(description="Its texts, by locale.")] = field(default_factory=dict)


class TreeConfig(Table, frozen=True):
    """Categories, and which is below which."""

    file: Annotated[
        str | None,
        Meta(description="A CSV file with a row for each category, relative to the folder of this one."),
    ] = None
    key: Annotated[str, Meta(description="The column of the categories, as products name them.")] = "code"
    parent: Annotated[str, Meta(description="The column of the category above, which is blank for a root.")] = "parent"
    text: Annotated[dict[str, str], Meta(description="The columns of texts, by locale.")] = field(default_factory=dict)
    where: Annotated[dict[str, str], Meta(description="The values that a row must have, by column.")] = field(
        default_factory=dict
    )
    delimiter: Annotated[
        str | None, Meta(description="The character between cells. Without it, the one that the header has.")
    ] = None
    encoding: Annotated[str | None, Meta(description="The encoding of the file. Without it, UTF-8.")] = None
    rows: Annotated[
        dict[str, CategoryRow], Meta(description="The categories by name, if they are in the configuration itself.")
    ] = field(default_factory=dict)


class LoadedTrees(NamedTuple):
    """The trees of a configuration that can be used, by name, and what is wrong with the others."""

    forests: dict[str, CategoryForest]
    problems: list[ConfigurationError]


def load_forests(trees: Mapping[str, TreeConfig], folder: Path) -> LoadedTrees:
    """Reads the trees. Files are relative to `folder`."""
    found = LoadedTrees({}, [])
    for name, tree in trees.items():
        try:
            found.forests[name] = _forest(f"trees.{name}", tree, folder)
        except ConfigurationError as error:
            found.problems.append(error)
    return found


def tree_of(written: str, forests: Mapping[str, CategoryForest], locales: Sequence[str]) -> Document:
    """The tree of a channel with these locales: of a name of a tree, of a category, or of both, as `catalog/tvs`.

    Raises `ConfigurationError` without a key.
    """
    if written in forests:
        return forests[written].document(forests[written].roots, locales)
    if (place := _place(written, forests)) is not None:
        return place.forest.document([place.category], locales)
    categories = [category for forest in forests.values() for category in forest.above]
    problem = f"is neither a tree nor a category of one; {suggestion(written, [*forests, *categories], 'trees')}"
    raise ConfigurationError("", f"{written!r:.60} {problem}")


def categories_below(written: str, forests: Mapping[str, CategoryForest]) -> list[str] | None:
    """A category and those below it, in order, by its name or by that of its tree too, as `catalog/tvs`.

    None if no tree has it. Raises `ConfigurationError` without a key if several have it.
    """
    place = _place(written, forests)
    return None if place is None else sorted(place.forest.below(place.category))


class _Place(NamedTuple):
    """A category of a tree."""

    forest: CategoryForest
    category: str


def _place(written: str, forests: Mapping[str, CategoryForest]) -> _Place | None:
    """Where a category is; None if it is in no tree. Raises `ConfigurationError` without a key if it is in several."""
    having = [name for name, forest in forests.items() if written in forest.above]
    if len(having) == 1:
        return _Place(forests[having[0]], written)
    name, _, category = written.partition("/")
    if name in forests and category in forests[name].above:
        return _Place(forests[name], category)
    if having:
        problem = f"is in the trees {' and '.join(having)}; name one, as {having[0]}/{written}"
        raise ConfigurationError("", f"{written!r:.60} {problem}")
    return None


def _forest(key: str, tree: TreeConfig, folder: Path) -> CategoryForest:
    """Raises `ConfigurationError`."""
    if (tree.file is None) == (not tree.rows):
        raise ConfigurationError(key, "needs either a `file` or `rows`")
    rows = list(_rows_in_file(key, tree, folder / tree.file) if tree.file is not None else _rows_in_table(key, tree))
    places: dict[str, _Row] = {}
    for row in rows:
        if places.setdefault(row.category, row) is not row:
            raise ConfigurationError(row.key, f"{row.place}{row.category!r:.60} is there twice")
    try:
        return CategoryForest(
            {row.category: row.parent or None for row in rows}, {row.category: row.text for row in rows}
        )
    except InvalidTree as error:
        row = places[error.category]
        raise ConfigurationError(row.key, f"{row.place}{error}") from None


class _Row(NamedTuple):
    """A category, with the key of the configuration and the place in the file where it is written."""

    category: str
    parent: str
    text: dict[str, str]
    key: str
    place: str


def _rows_in_table(key: str, tree: TreeConfig) -> Iterator[_Row]:
    for name, row in tree.rows.items():
        own = f"{key}.rows.{name}"
        yield _Row(name, row.parent, _by_locale(f"{own}.text", row.text), own, "")


def _rows_in_file(key: str, tree: TreeConfig, file: Path) -> Iterator[_Row]:
    columns = _by_locale(f"{key}.text", tree.text)
    needed = [tree.key, tree.parent, *columns.values(), *tree.where]
    try:
        for line, cells in csv_rows(file, needed, delimiter=tree.delimiter, encoding=tree.encoding):
            category = cells[tree.key].strip()
            if category and all(cells[column] == value for column, value in tree.where.items()):
                text = {locale: cells[column] for locale, column in columns.items()}
                yield _Row(category, cells[tree.parent].strip(), text, f"{key}.file", f"line {line} of {file.name}: ")
    except UnusableTable as error:
        raise ConfigurationError(f"{key}.{error.setting}", error.problem) from None


def _by_locale(key: str, texts: Mapping[str, str]) -> dict[str, str]:
    """Texts, or columns, by canonical locale. Raises `ConfigurationError`."""
    for locale in texts:
        if canonical_locale(locale) is None:
            raise ConfigurationError(f"{key}.{locale}", f"{locale!r} is not a BCP 47 tag such as 'de-AT'")
    return {canonical_locale(locale) or locale: text for locale, text in texts.items()}
