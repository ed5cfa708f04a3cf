"""Receives one delivery from a running stack and checks it with the reference libraries of Standard Webhooks.

`bash tests/webhooks/run.sh`, or beside a `cargo dev`: python tests/webhooks/verify.py [http://127.0.0.1:3000]
"""

import http.server
import json
import sys
import threading
import urllib.request

import standardwebhooks
import svix.webhooks

API = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000"
received = []
arrived = threading.Event()


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        received.append((body, {name.lower(): value for name, value in self.headers.items()}))
        self.send_response(204)
        self.end_headers()
        arrived.set()

    def log_message(self, *_):
        pass


def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(API + path, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def main():
    server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    target = f"http://127.0.0.1:{server.server_port}/webhook"
    endpoint = call(
        "POST", "/webhooks/register", {"organizationId": "org-verify", "event": "sync.completed", "targetUrl": target}
    )
    path = f"/webhooks/{endpoint['id']}"
    old = call("GET", f"{path}/secret")["secret"]
    new = call("POST", f"{path}/secret/rotate", {"gracePeriodSeconds": 60})["secret"]
    call("POST", f"{path}/test", {})
    if not arrived.wait(15):
        sys.exit("nothing arrived")
    body, headers = received[0]
    for library in (standardwebhooks.Webhook, svix.webhooks.Webhook):
        for secret in (old, new):
            library(secret).verify(body, headers)
        try:
            library(new).verify(body + b" ", headers)
        except Exception:
            print(f"{library.__module__}: old and new secret fit, a changed body does not")
        else:
            sys.exit(f"{library.__module__} takes a changed body")


main()
