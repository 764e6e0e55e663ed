"The command `scz-nb`, also as `python -m scz_nb.apps`: Ctrl-C while the modules load is no error."

import os
import signal
import sys


def _stop(number, frame):
    "Nothing has begun yet."
    os.write(2, b'scz-nb: interrupted\n')
    os._exit(130)


def main() -> int:  # the exit status
    "The command, once its modules are loaded."
    usual = signal.default_int_handler
    here = signal.getsignal(signal.SIGINT) is usual
    if here:
        signal.signal(signal.SIGINT, _stop)
    from scz_nb.apps.cli import main as command

    if here:
        signal.signal(signal.SIGINT, usual)
    return command()


if __name__ == '__main__':
    sys.exit(main())
