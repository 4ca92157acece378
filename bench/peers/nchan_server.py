"""nchan as a peer: nginx with a location that publishes and subscribes.

nginx replaces this process, single and in the foreground, with its files in a temporary
folder. It says nothing once it listens: a helper process does, and takes the folder
away. nchan has no echo; a message reaches its publisher as a subscriber.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

import contract

DEADLINE = 10.0  # seconds until nginx must listen
LOOK_AGAIN = 0.02

CONFIGURATION = """
load_module {modules}/ngx_nchan_module.so;
load_module {modules}/ngx_http_headers_more_filter_module.so;
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr crit;
worker_rlimit_nofile 65536;
events {{ worker_connections 65536; multi_accept on; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    tcp_nodelay on;
    client_max_body_size 16m;
    nchan_shared_memory_size 256m;
    server {{
        listen {host}:{port} backlog={backlog};
        nchan_subscriber_first_message newest;
        nchan_message_buffer_length 64;
        nchan_message_timeout 5s;
        {compression}
        location = /fanout {{ nchan_pubsub websocket; nchan_channel_id all; }}
        location ~ ^/fanout/(.+)$ {{ nchan_pubsub websocket; nchan_channel_id at$1; }}
    }}
}}
"""
DEFLATE = "nchan_deflate_message_for_websocket on;"
# nchan accepts the extension whenever it is offered.
PLAIN = "more_clear_input_headers Sec-WebSocket-Extensions;"
MODULES = "/usr/lib/nginx/modules"


def wait_until_it_serves(port: int, folder: Path) -> None:
    """It listens first, and needs its folder until it has written who it is there."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if (folder / "nginx.pid").exists() and (
                probe.connect_ex((contract.HOST, port)) == 0
            ):
                contract.ready()
                return
        time.sleep(LOOK_AGAIN)


def announce(port: int, folder: Path) -> None:
    """In a process of its own, which nobody has to wait for."""
    if child := os.fork():
        os.waitpid(child, 0)
        return
    if os.fork() == 0:
        wait_until_it_serves(port, folder)
        shutil.rmtree(folder)
    os._exit(0)


def main(arguments: contract.Arguments) -> None:
    nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if nginx is None:
        sys.exit("nchan: no nginx here")
    folder = Path(tempfile.mkdtemp(prefix="nchan-"))
    text = CONFIGURATION.format(
        modules=MODULES,
        folder=folder,
        host=contract.HOST,
        port=arguments.port,
        backlog=contract.BACKLOG,
        compression=DEFLATE if arguments.deflate else PLAIN,
    )
    (folder / "nginx.conf").write_text(text)
    announce(arguments.port, folder)
    os.execv(nginx, [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")])


if __name__ == "__main__":
    main(contract.parse(__doc__))
