"""The image cache: bounded in bytes, one read for all who ask, and no memory of errors."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_empiarreader.micrographs.cache import ImageCache, shared_cache


def image(size: int) -> np.ndarray:
    return np.zeros(size, np.uint8)


def never() -> np.ndarray:
    raise AssertionError("read again")


def test_a_second_get_comes_from_memory():
    cache = ImageCache(100)
    first = cache.get("a", lambda: image(40))
    assert cache.get("a", never) is first
    assert cache.bytes_held == 40


def test_a_shared_image_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        ImageCache(100).get("a", lambda: image(40))[0] = 1


def test_the_least_recently_used_image_goes_first():
    cache = ImageCache(100)
    for key in "ab":
        cache.get(key, lambda: image(40))
    cache.get("a", never)
    cache.get("c", lambda: image(40))
    cache.get("a", never)
    cache.get("c", never)
    read = []
    cache.get("b", lambda: read.append("b") or image(40))
    assert read == ["b"]


def test_an_image_larger_than_the_limit_is_given_and_not_kept():
    cache = ImageCache(100)
    cache.get("a", lambda: image(40))
    assert cache.get("large", lambda: image(101)).nbytes == 101
    assert cache.bytes_held == 40
    cache.get("a", never)


@given(st.integers(0, 200), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 120)), max_size=60))
def test_never_more_bytes_than_the_limit(limit, requests):
    cache = ImageCache(limit)
    for key, size in requests:
        cache.get(key, lambda size=size: image(size))
        assert cache.bytes_held <= limit
        assert cache.bytes_held == sum(kept.nbytes for kept in cache._images.values())


def test_forget_drops_every_image():
    cache = ImageCache(100)
    cache.get("a", lambda: image(40))
    cache.forget()
    assert cache.bytes_held == 0
    with pytest.raises(AssertionError, match="read again"):
        cache.get("a", never)


def test_many_threads_wait_for_one_read():
    cache, begun, go, reads = ImageCache(100), threading.Event(), threading.Event(), []

    def slow():
        reads.append(threading.get_ident())
        begun.set()
        assert go.wait(10)
        return image(40)

    with ThreadPoolExecutor(12) as pool:
        waiting = [pool.submit(cache.get, "a", slow) for _ in range(12)]
        assert begun.wait(10)
        go.set()
        images = [future.result(10) for future in waiting]
    assert len(reads) == 1
    assert all(one is images[0] for one in images)


def test_different_images_are_read_at_the_same_time():
    cache, both = ImageCache(100), threading.Barrier(2, timeout=10)

    def read():
        both.wait()  # breaks if the other read has to wait for this one
        return image(10)

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(cache.get, key, read) for key in "ab"]
        assert [future.result(10).nbytes for future in futures] == [10, 10]


def test_an_error_reaches_all_who_wait_and_is_not_kept():
    cache, go, asked = ImageCache(100), threading.Event(), []

    def fail():
        asked.append(1)
        assert go.wait(10)
        raise OSError("the line is down")

    def ask():
        return cache.get("a", fail)

    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(ask) for _ in range(6)]
        go.set()
        errors = [future.exception(10) for future in waiting]
    assert [str(error) for error in errors] == ["the line is down"] * 6
    assert cache.bytes_held == 0
    assert cache.get("a", lambda: image(40)).nbytes == 40


def test_one_cache_is_shared_by_the_whole_process():
    assert shared_cache() is shared_cache()
