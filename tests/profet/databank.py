"""A small PDB and AlphaFold DB on this machine, with faults to order; used through the fixture ``databank``."""

from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


class Databank:
    """Serves what it is given, counts what is asked for, and misbehaves where told to.

    ``faults`` maps an address to: a number (that HTTP status), "page" (a web page with status 200), "empty",
    "half" (the answer breaks off), "hang" (no answer until the bank is closed), or "busy once" (503, then well).
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, int | str] = {}
        self.requests: list[str] = []
        self.closing = threading.Event()
        bank = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                bank._answer(self)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def add_pdb(self, name: str, mmcif: bytes) -> str:
        """Serve an entry of the PDB; return its address."""
        self.files[f"/download/{name}.cif.gz"] = gzip.compress(mmcif, mtime=0)
        return f"/download/{name}.cif.gz"

    def add_prediction(self, accession: str, mmcif: bytes, **more: Any) -> str:
        """Serve a prediction, at an address nobody could guess; return the address of the record."""
        # The keys are those of the real answer; the file's folder is not, so that building the address fails.
        path = f"/moved/v99/{accession}.cif"
        self.files[path] = mmcif
        record = {
            "toolUsed": "AlphaFold Monomer v2.0 pipeline",
            "providerId": "GDM",
            "modelEntityId": f"AF-{accession}-F1",
            "uniprotAccession": accession,
            "latestVersion": 99,
            "cifUrl": self.url + path,
            **more,
        }
        isoform = {**record, "modelEntityId": f"AF-{accession}-2-F1", "cifUrl": self.url + "/moved/isoform.cif"}
        self.files[f"/api/prediction/{accession}"] = json.dumps([isoform, record]).encode()
        return f"/api/prediction/{accession}"

    def close(self) -> None:
        """Stop serving; whoever hangs is let go."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append(request.path)
        fault = self.faults.get(request.path)
        body, status, kind = self.files.get(request.path, b""), 200, "application/octet-stream"
        if fault == "hang":
            self.closing.wait(30)
            return
        if fault == "busy once":
            del self.faults[request.path]
            status = 503
        elif isinstance(fault, int):
            body, status = b"", fault
        elif fault == "page":
            body, kind = PAGE, "text/html; charset=utf-8"
        elif fault == "empty":
            body = b""
        elif request.path not in self.files:
            body, status = b"not here", 404
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: len(body) // 2] if fault == "half" else body)
