"""The contract of a place, continued: what it promises of all objects below a key, and of the questions before a change."""

from __future__ import annotations

from collections.abc import Callable

from wkpipe.storage.place import Place


def keys(place: Place) -> list[str]:
    """Return the keys of all objects of a place."""
    return sorted(key for key, _ in place.list())


class TreeTests:
    """Tests that every place must pass; `wkpipe.storage.testing.PlaceTests` includes them."""

    def test_all_below_a_key_is_removed_and_nothing_else(self, place: Place) -> None:
        for key in ("a/b", "a/c/d", "ab", "a.b/c", "b/a/x", "e"):
            place.put(key, b"x")
        place.remove_below("a")
        assert keys(place) == ["a.b/c", "ab", "b/a/x", "e"]
        assert not place.has("a")
        place.remove_below("e")
        place.remove_below("never/was")
        place.child("b").remove_below("a")
        assert keys(place) == ["a.b/c", "ab"]
        place.remove_below()
        assert (keys(place), place.names()) == ([], [])
        place.put("a/b", b"again")
        assert keys(place) == ["a/b"]

    def test_a_directory_may_be_empty(self, place: Place) -> None:
        assert not place.is_directory("a/b")
        place.make_directory("a/b")
        place.make_directory("a/b")
        assert place.is_directory("a/b")
        assert keys(place) == []
        place.put("a/b/c", b"x")
        assert place.is_directory("a/b")
        assert keys(place) == ["a/b/c"]

    def test_a_move_takes_all_at_once(self, place: Place) -> None:
        for key in ("a/b", "a/c/d", "ab"):
            place.put(key, key.encode())
        if place.can_rename:
            place.child("a").move_to(place.child("new").child("x"))
            assert keys(place) == ["ab", "new/x/b", "new/x/c/d"]
            assert place.content("new/x/c/d", 99) == b"a/c/d"
            return
        try:
            place.child("a").move_to(place.child("new"))
        except ValueError:
            assert keys(place) == ["a/b", "a/c/d", "ab"]
        else:
            raise AssertionError("a place that cannot rename has moved a directory")

    def test_notes_may_be_lost_but_never_fail(self, place: Place) -> None:
        for number in range(4):
            place.note("notes/a", f"{number}" * 9)
            found = place.content("notes/a", 99) or b""
            assert not found or found.strip(b"\0")[:1] in (b"0", b"1", b"2", b"3")

    def test_the_room_is_known_or_not(self, place: Place) -> None:
        for number in range(3):
            place.put(f"a/{number}", bytes(10_000))
        free = place.free_bytes()
        assert free is None or free > 0
        place.check_room(1)
        taken = list(place.child("a").taken())
        assert len(taken) == 3
        assert min(taken) >= 10_000
        assert list(place.child("b").taken()) == []

    def test_what_this_user_may_do_is_not_refused(self, place: Place) -> None:
        place.put("a/b", b"x")
        place.check_readable(("", "a", "a/b", "never"), "fix")
        for key in ("", "a", "never/was"):
            place.check_writable(key, fix="fix")
        for key in ("a/b", "a/c", "never/was"):
            place.check_replaceable(key, "fix")
        for key in ("a", "a/b", "never"):
            place.check_removable(key, fix="fix")
        assert place.is_readable("a/b")
        assert keys(place) == ["a/b"]

    def test_objects_are_no_links(self, place: Place) -> None:
        place.put("a/b", b"x")
        assert not any(map(place.is_link, ("", "a", "a/b", "never")))
        for check in (place.refuse_links, lambda *_: place.refuse_strangers(("tmp/*",))):
            refuses: Callable[..., None] = check
            refuses("a", "a/b", "never")
        assert place.volume() == place.child("a").volume() == place.child("never").volume()

    def test_tidying_leaves_all_objects(self, place: Place) -> None:
        for key in ("a", "b/c"):
            place.put(key, b"x")
        place.tidy()
        assert keys(place) == ["a", "b/c"]
