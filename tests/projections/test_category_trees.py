"""Category trees: paths and breadcrumbs, what is below what, and trees that cannot be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold.projections.category_trees import MAX_TREE_DEPTH, CategoryForest, CategoryTree, InvalidTree

ABOVE = {"master": None, "tvs": "master", "led_tvs": "tvs", "radios": "master", "print": None, "print_tv": "print"}
TEXTS = {
    "master": {"de": "Katalog", "en": "Catalogue"},
    "tvs": {"de": "TVs"},
    "led_tvs": {"de": "LED TVs", "en": " "},
    "print": {"de": "Druck"},
}
FOREST = CategoryForest(ABOVE, TEXTS)


def tree(*roots: str, locales: tuple[str, ...] = ("de",)) -> CategoryTree:
    """The tree of a channel that shows what is below some categories."""
    return CategoryTree(FOREST.document(roots, locales))


def test_categories_are_paths_below_the_root() -> None:
    """Those of other roots are left out; each is there once, in the order of the product."""
    placed = tree("master").placed(["led_tvs", "print_tv", "radios", "led_tvs"])
    assert placed.paths == [["master", "tvs", "led_tvs"], ["master", "radios"]]
    assert placed.breadcrumb == ["Katalog", "TVs", "LED TVs"]
    assert placed.unknown == []
    assert tree("tvs").placed(["led_tvs", "radios"]).paths == [["tvs", "led_tvs"]]
    assert tree("master", "print").placed(["print_tv", "tvs"]).paths == [["print", "print_tv"], ["master", "tvs"]]


def test_a_category_that_the_tree_lacks() -> None:
    """It is not the same as one that the channel does not show."""
    assert tree("master").placed(["tvs", "phones", "tvs"]).unknown == ["phones"]
    assert tree("master").placed([]) == ([], [], [])
    assert tree("master").placed(["print"]) == ([], [], [])


def test_the_breadcrumb_leads_to_the_deepest() -> None:
    """Products are often in a category and in those above it, too."""
    assert tree("master").placed(["master", "tvs", "led_tvs"]).breadcrumb == ["Katalog", "TVs", "LED TVs"]
    assert tree("master").placed(["radios", "led_tvs"]).breadcrumb == ["Katalog", "radios"]


def test_texts_are_in_the_channels_languages() -> None:
    """A blank text is none; a category without a text has its name."""
    assert tree("master", locales=("en", "de")).placed(["led_tvs"]).breadcrumb == ["Catalogue", "TVs", "LED TVs"]
    assert tree("master", locales=("fr",)).placed(["led_tvs"]).breadcrumb == ["master", "tvs", "led_tvs"]


def test_what_is_below_what() -> None:
    """A category is below itself."""
    assert FOREST.below("master") == {"master", "tvs", "led_tvs", "radios"}
    assert FOREST.below("led_tvs") == {"led_tvs"}
    assert FOREST.below("phones") == set()
    assert FOREST.roots == ["master", "print"]


@pytest.mark.parametrize(
    ("above", "category", "problem"),
    [
        ({"a": "b", "b": "c", "c": "a"}, "a", "is below itself"),
        ({"a": "a"}, "a", "is below itself"),
        ({"z": None, "a": "b"}, "a", "is below 'b', which the tree does not have"),
        ({"a": None, **{f"{n:02}": f"{n - 1:02}" if n else "a" for n in range(MAX_TREE_DEPTH)}}, "31", "more than 32"),
    ],
)
def test_a_tree_that_cannot_be(above: dict[str, str | None], category: str, problem: str) -> None:
    """The error has the category."""
    with pytest.raises(InvalidTree, match=problem) as raised:
        CategoryForest(above, {})
    assert raised.value.category == category


def test_a_document_that_is_none() -> None:
    """It is an error like that of a tree."""
    with pytest.raises(InvalidTree, match="is no tree of categories"):
        CategoryTree({"roots": []})


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.none() | st.sampled_from("abcdefgh"), min_size=1), st.data())
def test_paths_are_those_of_a_plain_walk(above: dict[str, str | None], data: st.DataObject) -> None:
    """Whatever the order in which the categories are written; a tree that cannot be is refused in every order."""
    shuffled = dict(data.draw(st.permutations(list(above.items()))))

    def walk(category: str) -> list[str] | None:
        path: list[str] = []
        current: str | None = category
        while current is not None:
            if current in path or current not in above:
                return None
            path.insert(0, current)
            current = above[current]
        return path

    walked = {category: walk(category) for category in above}
    if None in walked.values():
        with pytest.raises(InvalidTree):
            CategoryForest(shuffled, {})
        return
    root = data.draw(st.sampled_from(sorted(above)))
    forest = CategoryForest(shuffled, {})
    assert forest.document([root], ()) == CategoryForest(above, {}).document([root], ())
    found = CategoryTree(forest.document([root], ())).placed(sorted(above))
    expected = [path[path.index(root) :] for _, path in sorted(walked.items()) if path is not None and root in path]
    assert found.paths == expected
    assert forest.below(root) == {path[-1] for path in expected}
