"""A provider of OpenID Connect on this machine: it signs real tokens, and has a page to sign in."""

from __future__ import annotations

import html
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT = "handoff-console"


class Provider:
    """A provider on this machine. What its tokens say can be changed."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "k1"})
        self.signs_with = self.key
        self.claims: dict[str, Any] = {}
        self.nonce = ""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = provider.issuer
                if self.path == "/keys":
                    self._say({"keys": [provider.key.as_dict(private=False)]})
                    return
                if self.path.startswith("/authorize?"):
                    self._ask(parse_qs(urlsplit(self.path).query))
                    return
                self._say(
                    {
                        "issuer": url,
                        "authorization_endpoint": f"{url}/authorize",
                        "token_endpoint": f"{url}/token",
                        "jwks_uri": f"{url}/keys",
                        "id_token_signing_alg_values_supported": ["RS256"],
                    }
                )

            def _ask(self, asked: dict[str, list[str]]) -> None:
                provider.nonce = asked["nonce"][0]
                back = f"{asked['redirect_uri'][0]}?code=c&state={quote(asked['state'][0])}"
                page = f'<a id="yes" href="{html.escape(back)}">Sign in as Dana</a>'
                self._send(page.encode(), "text/html")

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                token = provider.token()
                self._say({"access_token": "a", "token_type": "Bearer", "id_token": token})

            def log_message(self, *_: Any) -> None:
                """Nothing."""

            def _say(self, body: dict[str, Any]) -> None:
                self._send(json.dumps(body).encode(), "application/json")

            def _send(self, data: bytes, kind: str) -> None:
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def token(self) -> str:
        """An identity, signed."""
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": CLIENT, "sub": "1", "email": "dana@example.com",
            "email_verified": True, "groups": ["mending", "unnamed"], "iat": now,
            "exp": now + 60, "nonce": self.nonce, **self.claims,
        }  # fmt: skip
        return jwt.encode({"alg": "RS256", "kid": "k1"}, claims, self.signs_with)

    def close(self) -> None:
        """End it."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
