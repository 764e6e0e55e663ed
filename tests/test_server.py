"The kernels of `scz-nb app`: a page that is slow, one that is gone, a kernel that has ended."

import asyncio
import http.client
from datetime import timedelta
from urllib.parse import urlsplit

import psutil
import pytest
from helpers.app import served
from traitlets.config import Config

server = pytest.importorskip('scz_nb.apps.server', exc_type=ImportError)
ipc = Config(KernelManager=dict(transport='ipc', autorestart=False))


def with_kernel(test):
    "A test that is given a manager and the name of its only kernel."

    async def run():
        kernels = server.EndingKernels(again=0, config=ipc)
        try:
            await test(kernels, await kernels.start_kernel())
        finally:
            await kernels.shutdown_all()

    def in_a_loop():
        asyncio.run(run())

    in_a_loop.__doc__ = test.__doc__
    return in_a_loop


async def cull_after(kernels, name, seconds):
    "As if the kernel had been idle for so long."
    kernel = kernels.get_kernel(name)
    kernel.execution_state = 'idle'
    kernel.last_activity -= timedelta(seconds=seconds)
    await kernels.cull_kernels()


@with_kernel
async def test_a_page_that_is_slow_to_connect_keeps_its_kernel(kernels, name):
    await cull_after(kernels, name, 200)
    assert await kernels.lives(name)
    await cull_after(kernels, name, 200)
    assert name not in kernels


@with_kernel
async def test_a_page_that_left_while_it_connected_is_not_counted(kernels, name):
    kernels.notify_disconnect(name)
    assert kernels.connections(name) == 0
    for _ in range(200):
        await asyncio.sleep(0.1)
        if name not in kernels:
            break
    assert name not in kernels


@with_kernel
async def test_a_kernel_that_has_ended_by_itself_is_taken_out(kernels, name):
    psutil.Process(kernels.get_kernel(name).provisioner.process.pid).kill()
    await asyncio.sleep(0.5)
    assert name in kernels and not await kernels.lives(name)
    await kernels.cull_kernels()
    assert name not in kernels


@with_kernel
async def test_an_ended_kernel_leaves_no_connection_open(kernels, name):
    "The page said that it goes, and then closed its connection: both at once."
    stream = kernels.get_kernel(name).connect_iopub()
    ending = asyncio.ensure_future(kernels.shutdown_kernel(name))
    await asyncio.sleep(0)
    kernels.start_buffering(name, f'{name}:page', dict(iopub=stream))
    await ending
    assert stream.closed() and not kernels._kernel_buffers


# the server
@pytest.fixture(scope='module')
def app(tmp_path_factory):
    with served(tmp_path_factory.mktemp('app'), '--pages', '2') as app:
        yield app


def begin(app):
    "A page of which the first bytes have come."
    where = urlsplit(app.address)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=60)
    connection.request('GET', f'/?{where.query}')
    return connection, connection.getresponse()


def ended(kernel):
    "Whether a process ends within a minute."
    return not psutil.wait_procs([kernel], 60)[1]


@pytest.mark.slow
def test_who_leaves_before_the_page_is_there_leaves_no_kernel(app):
    connection, _ = begin(app)
    (kernel,) = app.kernels()
    connection.sock.close()
    connection.close()
    assert ended(kernel)


@pytest.mark.slow
def test_a_page_whose_kernel_ends_ends_with_a_sentence(app):
    _, answer = begin(app)
    (kernel,) = app.kernels()
    kernel.kill()
    assert 'The Python behind this page has ended' in answer.read().decode()
