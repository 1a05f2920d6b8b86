from __future__ import annotations

from tests.config.forms.cases import Cases, Refused, Taken
from txrproxy.config import values as v

TAKEN: Taken = {
    str: {"": "", "x\n": "x\n"},
    bool: {True: True, False: False},
    int: {-5: -5},
    v.Text: {" ": " "},
}

REFUSED: Refused = {
    int: {"1": "", 1.0: ""},
    bool: {"true": "", 1: ""},
    v.Text: {"": "the string is empty"},
}


class BasicsTests(Cases):
    taken = TAKEN
    refused = REFUSED
