from hypothesis import given
from hypothesis import strategies as st

from workmanager.policy.dedupe import Dedupe, event_key, split_keys


def keys(count, start=0):
    return [event_key("s", str(index)) for index in range(start, start + count)]


def test_key_is_sixteen_bytes_and_parts_source_from_id():
    assert len(event_key("s", "1")) == 16
    assert event_key("s", "1") == event_key("s", "1")
    assert event_key("s1", "") != event_key("s", "1")
    assert event_key("ü", "\ud800")


def test_key_is_stable():
    """Keys are stored: another hash would let duplicates through after an upgrade."""
    assert event_key("/shop", "1").hex() == "c937f2c6cd2136890b005231a065be54"


def test_event_is_new_once():
    seen = Dedupe(60, 1000)
    one, two = keys(2)
    assert not seen.seen_or_add(one, 0)
    assert seen.seen_or_add(one, 1)
    assert not seen.seen_or_add(two, 1)


def test_key_outlives_the_window_and_not_twice_the_window():
    seen = Dedupe(60, 1000)
    (one,) = keys(1)
    seen.seen_or_add(one, 0)
    assert seen.seen_or_add(one, 60)
    assert seen.seen_or_add(one, 119)
    assert not seen.seen_or_add(one, 120)


def test_long_idle_forgets_all():
    seen = Dedupe(60, 1000)
    seen.load(keys(10), 0)
    assert not seen.seen_or_add(keys(1)[0], 1000)
    assert len(seen) == 1


def test_entries_are_bounded_and_the_latest_half_is_kept():
    seen = Dedupe(3600, 100)
    for key in keys(1000):
        assert not seen.seen_or_add(key, 0)
        assert len(seen) <= 100
    assert all(seen.seen_or_add(key, 0) for key in keys(50, start=950))


def test_duplicate_of_an_old_key_is_seen_when_the_generation_is_full():
    seen = Dedupe(3600, 4)
    seen.load(keys(4), 0)
    assert seen.seen_or_add(keys(1)[0], 0)


def test_discarded_keys_are_new_again():
    seen = Dedupe(60, 1000)
    seen.load(keys(3), 0)
    seen.discard(keys(2))
    assert [seen.seen_or_add(key, 0) for key in keys(3)] == [False, False, True]


def test_stored_keys_are_loaded_in_order_of_time():
    seen = Dedupe(60, 1000)
    seen.load(split_keys(b"".join(keys(2))), -100)
    seen.load(split_keys(b"".join(keys(1, start=5))), -50)
    assert seen.seen_or_add(keys(1, start=5)[0], 5)
    assert not seen.seen_or_add(keys(1)[0], 25)


def test_reconfigured_limits_keep_what_is_known():
    seen = Dedupe(60, 1000)
    (one,) = keys(1)
    seen.seen_or_add(one, 0)
    seen.reconfigure(600, 10)
    assert seen.seen_or_add(one, 599)


@given(
    st.lists(st.tuples(st.floats(0, 40), st.integers(0, 20)), max_size=100),
    st.floats(0.1, 100),
)
def test_decides_as_a_plain_list_of_times(steps, window_s):
    """Within the window always seen, after twice the window never; all below the count."""
    seen, added, now = Dedupe(window_s, 1000), {}, 0.0
    for gap_s, number in steps:
        now += gap_s
        key = event_key("s", str(number))
        found = seen.seen_or_add(key, now)
        if number in added and now < added[number] + window_s:
            assert found
        if number not in added or now >= added[number] + 2 * window_s:
            assert not found
        if not found:
            added[number] = now
