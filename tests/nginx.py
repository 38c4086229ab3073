"""An nginx that shows a server below a path prefix, as faculties and notebooks do."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.app.test_serving import free_port
from tests.serving import wait_for

PREFIX = "/proxy/8000"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
CONFIGURATION = """
daemon off;
pid {folder}/pid;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 16m;
    server {{
        listen 127.0.0.1:{port};
        location {prefix}/ {{
            proxy_pass {upstream}/;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-Prefix {prefix};
        }}
    }}
}}
"""


@contextmanager
def behind_nginx(upstream: str, folder: Path) -> Iterator[str]:
    """Show a server below the prefix; gives the address there, without a slash at its end."""
    if NGINX is None:
        pytest.skip("NO NGINX: nothing runs behind a proxy; 'sudo apt-get install nginx-light'")
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    file = folder / "nginx.conf"
    file.write_text(
        CONFIGURATION.format(folder=folder, port=port, user=user, prefix=PREFIX, upstream=upstream)
    )
    log = folder / "nginx.log"
    process = subprocess.Popen([NGINX, "-c", file, "-e", log], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: _is_open(port), 20)
        yield f"http://127.0.0.1:{port}{PREFIX}"
    finally:
        process.terminate()
        process.wait(20)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
