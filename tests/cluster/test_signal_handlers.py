import signal
import threading

from rayrml.cluster.signal_handlers import install_handler, keeping_handler


def test_a_signal_keeps_its_handler_where_a_library_sets_another_one_in_a_thread():
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))

    def replace():
        with keeping_handler(signal.SIGTERM):
            install_handler(signal.SIGTERM, None)  # the default action, which ends the process

    thread = threading.Thread(target=replace)
    thread.start()
    thread.join()
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]
