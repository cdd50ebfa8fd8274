"""Hashes of passwords that other programs made, and cheap ones of our own."""

from __future__ import annotations

from typing import Final

import bcrypt
from argon2 import low_level

__all__ = ["ARGON2ID", "BCRYPT", "REFUSED", "argon2id_line", "bcrypt_line"]

BCRYPT: Final[list[tuple[bytes, str]]] = [
    # Apache's manual, "Password Formats": htpasswd -nbB myName myPassword
    (b"myPassword", "$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC"),
    # The tests of ORAS: htpasswd -Bbn testuser testpassword
    (b"testpassword", "$2y$05$sBsSqk0OpSD1uTZkHXc4FeJ0Z70wLQdAX/82UiHuQOKbNbBrzs63m"),
    # crypt_blowfish, wrapper.c
    (b"U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
    (b"U*U*", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK"),
    (b"U*U*U", "$2a$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a"),
    (b"\xa3", "$2y$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq"),
    (b"\xff\xff\xa3", "$2b$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e"),
    (b"", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy"),
    (
        b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789chars after 72 are ignored",
        "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui",
    ),
]

ARGON2ID: Final[list[tuple[bytes, str]]] = [
    # The reference implementation (phc-winner-argon2), src/test.c
    (b"password", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"),
    (b"password", "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"),
    (b"password", "$argon2id$v=19$m=65536,t=1,p=1$c29tZXNhbHQ$9qWtwbpyPd3vm1rB1GThgPzZ3/ydHL92zKL+15XZypg"),
    (b"differentpassword", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$C4TWUs9rDEvq7w3+J4umqA32aWKB1+DSiRuBfYxFj94"),
]

REFUSED: Final[list[tuple[str, str]]] = [
    # Apache's manual, "Password Formats"
    ("$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", "an MD5 hash of Apache"),
    ("{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=", "an unsalted SHA-1 hash"),
    ("rqXexS6ZhobKA", "a DES hash of crypt"),
    # "Unix crypt using SHA-256 and SHA-512" (Drepper), section "Test vectors"
    ("$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc8", "a SHA-256 hash of crypt"),
    (
        "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoEOfaS35inz1",
        "a SHA-512 hash of crypt",
    ),
    ("$1$abcdefgh$G//4keteveJp0qb8z2DxG/", "an MD5 hash"),
    # src/test.c of the reference implementation
    ("$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8", "an argon2i hash"),
    ("$argon2d$v=19$m=256,t=2,p=1$c29tZXNhbHQ$JcTui6RIBUtJ78kEjpA6WCe1lQ8Pmp8g1lBJBpUmOW8", "an argon2d hash"),
    # crypt_blowfish, wrapper.c
    ("$2x$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e", "a bcrypt hash of a faulty implementation"),
    ("$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7", "a yescrypt hash"),
    ("{SSHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "a salted SHA hash of LDAP"),
    ("$9$unheard-of", "a hash of an unknown kind"),
    ("correct horse battery staple", "plain text"),
    ("", "missing"),
]


def bcrypt_line(user: str, password: str, cost: int = 4) -> str:
    """A line of a file, by default with the cheapest bcrypt."""
    return f"{user}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()}\n"


def argon2id_line(user: str, password: str, memory_kib: int = 64, passes: int = 1) -> str:
    """A line of a file, by default with a very cheap argon2id."""
    hashed = low_level.hash_secret(password.encode(), b"saltsalt", passes, memory_kib, 1, 32, low_level.Type.ID)
    return f"{user}:{hashed.decode()}\n"
