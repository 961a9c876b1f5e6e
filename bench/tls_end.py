"""A TLS end in front of a plain HTTP server, as AWS's and an issuer's endpoints have one.

The certificate's chain is as long as AWS's and of the same kind (RSA with 2048 bits: root, one between, the server's), made
anew each time. It speaks TLS 1.3 and HTTP/1.1.
"""

import pathlib
import select
import socket
import ssl
import subprocess
import tempfile
import threading
import urllib.parse


class Certificates:
    """`root` is the file that makes `chain` and `key` trusted."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="tollgate-tls-")
        folder = pathlib.Path(self._folder.name)
        self.root, self.chain, self.key = folder / "root.pem", folder / "chain.pem", folder / "server.key"
        authority = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign"
        self._certificate(folder, "root", None, authority)
        self._certificate(folder, "between", "root", authority)
        self._certificate(folder, "server", "between", "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth")
        self.chain.write_bytes((folder / "server.pem").read_bytes() + (folder / "between.pem").read_bytes())

    @staticmethod
    def _certificate(folder, name, signer, extensions):
        (folder / f"{name}.ext").write_text(extensions + "\n")
        signed_by = ["-CA", f"{signer}.pem", "-CAkey", f"{signer}.key", "-CAcreateserial"] if signer else ["-signkey", f"{name}.key"]
        for command in (
            ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-subj", f"/CN={name}", "-out", f"{name}.csr"],
            ["openssl", "x509", "-req", "-in", f"{name}.csr", "-days", "2", "-extfile", f"{name}.ext", *signed_by, "-out", f"{name}.pem"],
        ):
            subprocess.run(command, cwd=folder, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._folder.cleanup()


class TlsEnd:
    """`with TlsEnd(url, certificates) as end:` answers at `end.url` what the server at `url` answers."""

    def __init__(self, url, certificates):
        target = urllib.parse.urlsplit(url)
        self._target = (target.hostname, target.port)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificates.chain, certificates.key)
        self._context.set_alpn_protocols(["http/1.1"])
        self.handshakes = 0

    def __enter__(self):
        self._listener = socket.create_server(("localhost", 0))
        self.url = f"https://localhost:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            client.settimeout(30)
            with self._context.wrap_socket(client, server_side=True) as client:
                self.handshakes += 1
                with socket.create_connection(self._target, timeout=30) as server:
                    carry(client, server)
        except OSError:
            pass  # The function has ended, or has sat idle for too long.


def carry(client, server):
    """Both directions in one thread: a TLS connection is not to be used by two at once."""
    while True:
        ready = [client] if client.pending() else select.select([client, server], [], [], 30)[0]
        if not ready:
            return
        for source in ready:
            data = source.recv(65536)
            if not data:
                return
            (server if source is client else client).sendall(data)
