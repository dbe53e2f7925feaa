"""Signals that ask a training to stop."""

import os
import signal
import sys

import pytest

from img2img.training.stop import stop_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_asks_to_stop_and_the_handler_before_comes_back(name):
    number = signal.Signals[name]
    before = signal.getsignal(number)
    with stop_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.wait(1)
    assert signal.getsignal(number) == before


def test_under_nohup_a_hangup_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.wait(0.05)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_output_that_still_has_a_reader_stays_after_a_hangup(capfd):
    with stop_signals():
        os.kill(os.getpid(), signal.SIGHUP)
        os.write(2, b"saved")
    assert capfd.readouterr().err == "saved"
