"""Which partition a key goes to: Kafka's murmur2, the default of its Java clients.

Producers of ours use librdkafka's `murmur2_random`, which agrees with it for every key that is not
null. Source: `org.apache.kafka.common.utils.Utils.murmur2` and `BuiltInPartitioner`.
"""

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The 32-bit murmur2 hash of `data` with Kafka's seed, as an unsigned number."""
    length = len(data)
    h = _SEED ^ length
    whole = length & ~3
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * _M & _MASK
        k ^= k >> 24
        h = (h * _M & _MASK) ^ (k * _M & _MASK)
    if whole < length:
        h ^= int.from_bytes(data[whole:], "little")
        h = h * _M & _MASK
    h ^= h >> 13
    h = h * _M & _MASK
    return h ^ (h >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key in a topic of `partitions`: the hash's lower 31 bits, modulo."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
