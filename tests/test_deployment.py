"""What compose.yaml, the Dockerfile and deploy/ say is what nginx takes and the server knows."""

import re
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from app.settings import Settings
from tests.app.test_serving import Server, fetch, serving
from tests.nginx import NGINX, ROOT, behind_nginx, configure
from tests.serving import photo, wait_for

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
needs_nginx = pytest.mark.skipif(NGINX is None, reason="no nginx: 'apt-get install nginx-light'")


@pytest.mark.parametrize("name", ["explorer", "proxy"])
def test_containers_may_do_nothing_that_they_need_not(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"] and "privileged" not in service
    assert service["pids_limit"] and service["mem_limit"] and service["tmpfs"]


def test_only_the_proxy_is_reached_from_outside_and_only_it_is_believed() -> None:
    explorer, proxy = (COMPOSE["services"][name] for name in ("explorer", "proxy"))
    assert "ports" not in explorer and proxy["ports"] == ["443:8443"]
    assert list(explorer["networks"]) == ["inside"] and COMPOSE["networks"]["inside"]["internal"]
    believed = explorer["environment"]["DECONVNET_TRUSTED_PROXIES"]
    assert believed == proxy["networks"]["inside"]["ipv4_address"]


def test_compose_sets_settings_that_there_are_and_fills_in_all_that_nginx_asks_for() -> None:
    explorer, proxy = (COMPOSE["services"][name]["environment"] for name in ("explorer", "proxy"))
    known = {f"DECONVNET_{name.upper()}" for name in Settings.model_fields}
    assert explorer.keys() <= known
    assert set(re.findall(r"^    (?:ENV )?(DECONVNET_\w+)=", DOCKERFILE, re.M)) <= known
    templates = "".join(file.read_text() for file in (ROOT / "deploy").iterdir())
    assert set(re.findall(r"\$\{(\w+)\}", templates)) == proxy.keys()


def test_the_image_runs_as_the_user_that_compose_names() -> None:
    user = COMPOSE["services"]["explorer"]["user"].partition(":")[0]
    assert f"--uid {user}" in DOCKERFILE and "\nUSER deconvnet\n" in DOCKERFILE


def test_what_the_image_copies_is_not_ignored() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = [
        name
        for line in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.M)
        for name in line.split()
    ]
    assert {name for name in copied if name != "."} <= kept


def certificate(folder: Path) -> None:
    """Sign a certificate for this machine ourselves."""
    names = ["-keyout", f"{folder}/privkey.pem", "-out", f"{folder}/fullchain.pem"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", *kind, *subject, *names]
    done = subprocess.run(command, capture_output=True)
    if done.returncode:
        pytest.skip("no openssl to make a certificate with")


@needs_nginx
def test_nginx_takes_the_configuration_with_a_certificate(tmp_path: Path) -> None:
    assert NGINX is not None
    certificate(tmp_path)
    file = configure(
        tmp_path,
        LISTEN="127.0.0.1:18443 ssl",
        TLS=f"{tmp_path}/tls.conf",
        CERTIFICATES=str(tmp_path),
        UPSTREAM="127.0.0.1:8000",
    )
    command = [NGINX, "-t", "-c", str(file), "-e", f"{tmp_path}/nginx.log"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "test is successful" in done.stderr, done.stderr


def until_closed(address: str, data: bytes) -> tuple[float, bytes]:
    """Send what has no end; return when the line was cut, and what came before."""
    there = urlsplit(address)
    with socket.create_connection((there.hostname, there.port), timeout=20) as line:
        begun, received = time.monotonic(), b""
        line.sendall(data)
        try:
            while part := line.recv(4096):
                received += part
        except ConnectionResetError:
            pass
        return time.monotonic() - begun, received


def routes(server: Server) -> set[str]:
    """Say which routes a server has answered so far."""
    return {line["route"] for line in server.lines()}


@needs_nginx
def test_what_is_never_sent_whole_is_cut_off_before_the_server_hears_of_it(tmp_path: Path) -> None:
    with (
        serving(tmp_path, NETWORKS="lenet5", TRUSTED_PROXIES="127.0.0.1") as server,
        behind_nginx(server.url, tmp_path, deadline="1s") as site,
    ):
        host = urlsplit(site).netloc
        head = f"POST /proxy/8000/visualize HTTP/1.1\r\nHost: {host}\r\n".encode()
        for data in (head, head + b"Content-Length: 1000\r\n\r\nhalf", b"GET"):
            seconds, received = until_closed(site, data)
            assert 0.5 < seconds < 15 and b"200 OK" not in received
        assert fetch(f"{site}/healthz")[0] == 200
        # A request's line is written after its answer: the last one's says that all are there.
        wait_for(lambda: "/healthz" in routes(server), 20)
        assert routes(server) == {"/healthz", "/readyz"}


@needs_nginx
def test_a_body_beyond_the_limit_ends_at_the_proxy(tmp_path: Path) -> None:
    with (
        serving(tmp_path, NETWORKS="lenet5") as server,
        behind_nginx(server.url, tmp_path, prefix="") as site,
    ):
        there = urlsplit(site)
        with socket.create_connection((there.hostname, there.port), timeout=20) as line:
            line.sendall(
                b"POST /images HTTP/1.1\r\nHost: localhost\r\nContent-Length: 17000000\r\n\r\n"
            )
            assert b" 413 " in line.recv(4096)
        assert not [each for each in server.lines() if each["method"] == "POST"]
        assert server.visualize(photo(), layer="c2", top=1)[0] == 200
