"""put and get of 64-byte values over 1000 keys: the machine alone, called from Python, and a plain dict."""

import pytest

from multipaxos import commands
from multipaxos.machine.key_value import KeyValue

KEYS = [b"key %04d" % i for i in range(1000)]
VALUE = b"v" * 64
PUTS = [commands.put(key, VALUE) for key in KEYS]
GETS = [commands.get(key) for key in KEYS]


def filled():
    store = KeyValue(seed=1)
    store.apply_repeat(0, PUTS, 1)
    return store


def put_all(content):
    for key in KEYS:
        content[key] = VALUE


def apply_all(store, payloads):
    for payload in payloads:
        store.apply_bytes(1, 0, 0, payload)


@pytest.mark.benchmark(group="1000 commands")
@pytest.mark.parametrize("payloads", [PUTS, GETS], ids=["put", "get"])
def test_machine(benchmark, payloads):
    store = filled()
    benchmark(store.apply_repeat, 0, payloads, 1)
    assert len(store) == len(KEYS)


@pytest.mark.benchmark(group="1000 commands")
@pytest.mark.parametrize("payloads", [PUTS, GETS], ids=["put", "get"])
def test_machine_called_from_python(benchmark, payloads):
    store = filled()
    benchmark(apply_all, store, payloads)
    assert len(store) == len(KEYS)


@pytest.mark.benchmark(group="1000 commands")
def test_dict_put(benchmark):
    content = {}
    benchmark(put_all, content)
    assert len(content) == len(KEYS)
