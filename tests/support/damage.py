"""Damages a file's bytes, by a seed: cuts, flipped bits, splices, fields at their limits, holes."""

LIMITS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated(data, rng, donors):
    """Return the bytes after one to three mutations; some take a stretch of a donor."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        rng.choice(MUTATIONS)(data, rng, donors)
    return data


def truncate(data, rng, donors):
    del data[len(data) * rng.randrange(100) // 100 :]


def flip_bits(data, rng, donors):
    for _ in range(rng.randint(1, 64) if data else 0):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_a_few_bits_of_the_header(data, rng, donors):
    for _ in range(rng.randint(1, 4) if data else 0):
        data[rng.randrange(min(len(data), 256))] ^= 1 << rng.randrange(8)


def splice(data, rng, donors):
    """Put a stretch of some file in the place of a stretch of this one, or in between."""
    donor = rng.choice(donors) if rng.random() < 0.5 else bytes(data)
    start, length = rng.randint(0, len(donor)), rng.randint(0, 200)
    place = rng.randint(0, len(data))
    data[place : place + rng.choice((0, length))] = donor[start : start + length]


def set_a_field_to_its_limit(data, rng, donors):
    size = rng.choice((1, 2, 4, 4, 8))
    if len(data) <= size:
        return
    place = rng.randrange(min(len(data) - size, rng.choice((64, 256, 1024))))
    value = rng.choice(LIMITS) & (256**size - 1) if size < 8 else rng.choice((2**63 - 1, 2**64 - 1))
    data[place : place + size] = value.to_bytes(size, rng.choice(("big", "little")))


def zero_a_block(data, rng, donors):
    place, length = rng.randint(0, len(data)), rng.choice((4, 16, 64, 512, 4096))
    data[place : place + length] = bytes(len(data[place : place + length]))


def drop_a_block(data, rng, donors):
    place = rng.randint(0, len(data))
    del data[place : place + rng.choice((1, 4, 16, 256))]


MUTATIONS = (
    truncate,
    flip_bits,
    flip_a_few_bits_of_the_header,
    splice,
    set_a_field_to_its_limit,
    zero_a_block,
    drop_a_block,
)
