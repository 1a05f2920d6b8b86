from __future__ import annotations

from tests.config.forms.cases import Cases, Refused, Taken
from txrproxy.config import values as v
from txrproxy.config.forms.numbers import seconds, size, write_seconds, write_size
from txrproxy.config.values import Rate, Statuses

TAKEN: Taken = {
    v.Seconds: {"250ms": 0.25, "0s": 0, "1.5s": 1.5, "5m": 300, "1h": 3600, "7d": 604800},
    v.Timeout: {"1ms": 0.001},
    v.Size: {"0B": 0, "512B": 512, "64KiB": 65536, "10MiB": 10 << 20, "1GiB": 1 << 30},
    v.Rate: {"50/s": Rate(50, 1), "600/m": Rate(600, 60), "7/h": Rate(7, 3600)},
    v.Share: {0: 0.0, 1: 1.0, 0.25: 0.25},
    v.Natural: {0: 0, 7: 7},
    v.Positive: {1: 1},
    v.Status: {200: 200, 599: 599},
    v.Workers: {"auto": "auto", 0: 0, 1024: 1024},
    v.RedirectHttps: {True: True, False: False, 8443: 8443},
    v.AddressBits: {32: 32, 128: 128},
    Statuses: {
        "200": Statuses(((200, 200),)),
        "200-399, 404": Statuses(((200, 399), (404, 404))),
    },
}

REFUSED: Refused = {
    v.Seconds: {
        "5": "",
        "-5s": "",
        "5 s": "",
        "5sec": "",
        "1e3s": "",
        "5s\n": "",
        "٣s": "",
        "9999d": "it is longer than ten years",
    },
    v.Timeout: {"0s": "zero is no time at all", "0ms": "zero is no time at all", "x": ""},
    v.Size: {"64": "", "64KB": "", "1.5MiB": "", "-1B": "", "99999TiB": "it is beyond any disk"},
    v.Rate: {"0/s": "", "5": "", "5/d": ""},
    v.Share: {-0.1: "", 1.01: "", True: "", float("nan"): "", "0.5": ""},
    v.Natural: {-1: "", True: "", 1 << 60: ""},
    v.Positive: {0: ""},
    v.Status: {199: "", 600: ""},
    v.Workers: {"2": "", -1: "", True: "", 1025: ""},
    v.RedirectHttps: {0: "", 65536: "", "443": ""},
    v.AddressBits: {31: "", 129: ""},
    Statuses: {"600": "", "": "", "300-200": "a range goes from low to high", "2xx": ""},
}


class NumbersTests(Cases):
    taken = TAKEN
    refused = REFUSED

    def test_durations_are_written_as_people_do(self) -> None:
        for text in ("0s", "250ms", "30s", "60s", "90s", "5m", "1h", "7d", "1500ms"):
            self.assertEqual(write_seconds(seconds(text)), text)

    def test_sizes_are_written_as_people_do(self) -> None:
        for text in ("0B", "1B", "1025B", "64KiB", "10MiB", "1GiB", "2TiB"):
            self.assertEqual(write_size(size(text)), text)
