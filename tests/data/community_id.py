"""Makes community_id.tsv with the reference implementation of Community ID.

    python3 -m venv venv && venv/bin/pip install communityid==1.5.0
    venv/bin/python community_id.py > community_id.tsv

Columns: protocol, source, destination, the two ports after ICMP's mapping ("-"
when the protocol has none), whether the tuple is one-way, seed, Community ID.
"""

import random

import communityid

RANDOM = random.Random(9)


def address(version):
    if version == 4:
        return ".".join(str(RANDOM.randrange(256)) for _ in range(4))
    return ":".join(f"{RANDOM.randrange(65536):x}" for _ in range(8))


def emit(proto, src, dst, first=None, second=None, seed=0):
    tuple_ = communityid.FlowTuple(proto, src, dst, first, second)
    identifier = communityid.CommunityID(seed=seed).calc(tuple_)
    ports = ["-", "-"] if first is None else [tuple_.sport, tuple_.dport]
    print(proto, src, dst, *ports, int(tuple_.is_one_way), seed, identifier, sep="\t")


for version in (4, 6):
    for proto in (6, 17, 132):
        for seed in (0, 0, 1, 65535):
            src, dst = address(version), address(version)
            emit(proto, src, dst, RANDOM.randrange(65536), RANDOM.randrange(65536), seed)
        same = address(version)
        emit(proto, same, same, 4000, 400)
        emit(proto, same, same, 400, 4000)
    for proto in (0, 2, 47, 50, 51, 89, 136, 255):
        emit(proto, address(version), address(version))
    icmp, types = (1, (0, 3, 5, 8, 9, 10, 11, 13, 14, 15, 17, 18, 200)) if version == 4 else (
        58, (1, 2, 3, 128, 129, 130, 131, 133, 134, 135, 136, 139, 140, 144, 145, 200))
    for number in types:
        emit(icmp, address(version), address(version), number, RANDOM.randrange(4))
