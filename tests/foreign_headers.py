"""Headers as clients in other languages may write them: names of any bytes."""

import ctypes
from pathlib import Path

from confluent_kafka import cimpl

_TOPIC, _VALUE, _KEY, _HEADERS, _END = 1, 4, 5, 10, 0  # of rd_kafka_vtype_t
_PRODUCER = 0


def produce(servers: str, topic: str, value: bytes, key: bytes, name: bytes) -> None:
    """Produce a record with one header of this name. Through librdkafka itself: its Python client
    takes only text."""
    (library,) = (Path(cimpl.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka*")
    kafka = ctypes.CDLL(str(library))
    pointer, text, size, number = (
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_int,
    )
    for function in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
        getattr(kafka, function).restype = pointer
    error = ctypes.create_string_buffer(512)
    settings = pointer(kafka.rd_kafka_conf_new())
    kafka.rd_kafka_conf_set(settings, b"bootstrap.servers", servers.encode(), error, size(512))
    producer = pointer(kafka.rd_kafka_new(number(_PRODUCER), settings, error, size(512)))
    headers = pointer(kafka.rd_kafka_headers_new(size(1)))
    kafka.rd_kafka_header_add(
        headers, text(name), ctypes.c_ssize_t(len(name)), text(b"1"), ctypes.c_ssize_t(1)
    )
    code = kafka.rd_kafka_producev(
        producer,
        *(number(_TOPIC), text(topic.encode())),
        *(number(_VALUE), text(value), size(len(value))),
        *(number(_KEY), text(key), size(len(key))),
        *(number(_HEADERS), headers),
        number(_END),
    )
    assert code == 0, code
    assert kafka.rd_kafka_flush(producer, number(10_000)) == 0
    kafka.rd_kafka_destroy(producer)
