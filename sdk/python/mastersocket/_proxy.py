"""Forward proxies: a tunnel by CONNECT (RFC 9110, section 9.3.6)."""

from __future__ import annotations

import asyncio
import base64
import socket
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Optional

from ._errors import HandshakeError, OptionsError

if TYPE_CHECKING:
    from ._options import Options

_MAX_ANSWER = 64 << 10


def proxy_for(options: Options, host: str, port: int, secure: bool) -> Optional[str]:
    """Return the URL of the proxy for the hub, from the option or from the environment; None for none."""
    if options.proxy is not None:
        return options.proxy or None
    if urllib.request.proxy_bypass(f"{host}:{port}") or host == "localhost" or host.startswith("127.") or host == "::1":
        return None
    return urllib.request.getproxies().get("https" if secure else "http")


async def open_tunnel(loop: asyncio.AbstractEventLoop, proxy: str, host: str, port: int) -> socket.socket:
    """Ask an HTTP proxy for a tunnel. The socket is the caller's."""
    url = urllib.parse.urlsplit(proxy if "://" in proxy else "http://" + proxy)
    if url.scheme != "http" or not url.hostname:
        raise OptionsError("a proxy needs a URL such as http://HOST:PORT")
    name = f"{url.hostname}:{url.port or 80}"
    infos = await loop.getaddrinfo(url.hostname, url.port or 80, type=socket.SOCK_STREAM)
    family, kind, proto, _, address = infos[0]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
        if url.username is not None:
            credentials = f"{urllib.parse.unquote(url.username)}:{urllib.parse.unquote(url.password or '')}"
            request += f"Proxy-Authorization: Basic {base64.b64encode(credentials.encode()).decode()}\r\n"
        await loop.sock_sendall(sock, (request + "\r\n").encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            part = await loop.sock_recv(sock, 4096)  # the hub says nothing before the client
            if not part or len(answer) > _MAX_ANSWER:
                raise ConnectionError(f"the proxy {name} closed the connection during CONNECT")
            answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = lines[0].split(" ")[1] if len(lines[0].split(" ")) > 1 else ""
        if not status.isdigit():
            raise ConnectionError(f"the proxy {name} did not answer with HTTP")
        if int(status) // 100 != 2:
            server = next((line[7:].strip() for line in lines[1:] if line.lower().startswith("server:")), "")
            raise HandshakeError(int(status), server, body[:200].decode("utf-8", "replace"), name)
        return sock
    except BaseException:
        sock.close()
        raise
