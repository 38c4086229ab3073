"""An nginx that shows a server below a path prefix, as faculties and notebooks do."""

import os
import re
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
ROOT = Path(__file__).parents[1]
HTTP = """
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
    include {folder}/server.conf;
}}
"""


def configure(folder: Path, **chosen: str) -> Path:
    """Write the configuration that deploy/ has, filled in as compose.yaml does; return its file."""
    user = "user root;" if os.geteuid() == 0 else ""
    usual = {"TLS": f"{folder}/none*.conf", "PREFIX": "", "DEADLINE": "10s", "CERTIFICATES": ""}
    values = usual | chosen
    for template, name in {"nginx.conf": "server.conf", "tls.conf": "tls.conf"}.items():
        text = (ROOT / "deploy" / template).read_text()
        filled = re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], text)
        (folder / name).write_text(filled)
    file = folder / "nginx.conf"
    file.write_text(HTTP.format(folder=folder, user=user))
    return file


@contextmanager
def behind_nginx(
    upstream: str, folder: Path, prefix: str = PREFIX, deadline: str = "10s"
) -> Iterator[str]:
    """Show a server below the prefix; gives the address there, without a slash at its end."""
    if NGINX is None:
        pytest.skip("NO NGINX: nothing runs behind a proxy; 'sudo apt-get install nginx-light'")
    port = free_port()
    listen, host = f"127.0.0.1:{port}", upstream.removeprefix("http://")
    file = configure(folder, LISTEN=listen, UPSTREAM=host, PREFIX=prefix, DEADLINE=deadline)
    log = folder / "nginx.log"
    process = subprocess.Popen([NGINX, "-c", file, "-e", log], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: _is_open(port), 20)
        yield f"http://{listen}{prefix}"
    finally:
        process.terminate()
        process.wait(20)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
