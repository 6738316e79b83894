"""Small databases on this machine, with faults to order; used through the fixture ``databank``.

The answers are written from the documented shapes of RCSB, PDBe, PDBj, AlphaFold DB, UniProt and EMDB.
"""

from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"

XML = b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code><Message>The object does not exist.</Message></Error>'


class Databank:
    """Serves what it is given, counts what is asked for, and misbehaves where told to.

    ``faults`` maps an address to: a number (that HTTP status), "page" (a web page with status 200), "empty",
    "half" (the answer breaks off), "hang" (no answer until the bank is closed), "busy once" (503, then well), "slow"
    (in small pieces), "xml" (an error of an object store with status 200), "cut" (complete for HTTP, but the content
    lacks its end), or an address it has moved to (beginning with /).

    ``requests`` are the addresses asked for, ``questions`` what was asked with POST.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, int | str] = {}
        self.requests: list[str] = []
        self.questions: list[Any] = []
        self.proteins: list[dict[str, Any]] = []
        self.closing = threading.Event()
        bank = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                bank._answer(self)

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                bank.questions.append(json.loads(self.rfile.read(length)))
                bank._answer(self)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def addresses(self) -> dict[str, Any]:
        """Settings that lead here and nowhere else."""
        return {
            "rcsb_url": f"{self.url}/download",
            "rcsb_fasta_url": f"{self.url}/fasta/entry",
            "rcsb_models_url": f"{self.url}/models",
            "rcsb_search_url": f"{self.url}/search",
            "rcsb_data_url": f"{self.url}/graphql",
            "pdbe_url": f"{self.url}/pdbe",
            "pdbj_url": f"{self.url}/pdbj/",
            "wwpdb_url": f"{self.url}/wwpdb",
            "nextgen_url": f"{self.url}/nextgen",
            "alphafold_url": f"{self.url}/api/",
            "uniprot_url": f"{self.url}/uniprot",
            "emdb_urls": (f"{self.url}/emdb", f"{self.url}/emdb2"),
        }

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
            "pdbUrl": self.url + f"/moved/v99/{accession}.pdb",
            "bcifUrl": self.url + f"/moved/v99/{accession}.bcif",
            "paeDocUrl": self.url + f"/moved/v99/{accession}-pae.json",
            "plddtDocUrl": self.url + f"/moved/v99/{accession}-plddt.json",
            "msaUrl": self.url + f"/moved/v99/{accession}.a3m",
            "sequenceStart": 1,
            "sequenceEnd": 40,
            "globalMetricValue": 83.12,
            "gene": "GOT2",
            **more,
        }
        isoform = {**record, "modelEntityId": f"AF-{accession}-2-F1", "cifUrl": self.url + "/moved/isoform.cif"}
        self.files[f"/api/prediction/{accession}"] = json.dumps([isoform, record]).encode()
        return f"/api/prediction/{accession}"

    def add_protein(self, accession: str, name: str, **more: Any) -> str:
        """Serve an entry of UniProt, in the shape of its JSON; return its address."""
        record = {
            "entryType": "UniProtKB reviewed (Swiss-Prot)",
            "primaryAccession": accession,
            "uniProtkbId": name,
            "organism": {"scientificName": "Homo sapiens", "commonName": "Human", "taxonId": 9606},
            "proteinDescription": {"recommendedName": {"fullName": {"value": "Insulin"}}},
            "genes": [{"geneName": {"value": "INS"}, "synonyms": [{"value": "IDDM2"}]}],
            "features": [
                {
                    "type": "Signal",
                    "location": {
                        "start": {"value": 1, "modifier": "EXACT"},
                        "end": {"value": 24, "modifier": "EXACT"},
                    },
                },
                {
                    "type": "Propeptide",
                    "location": {"start": {"value": None, "modifier": "UNKNOWN"}, "end": {"value": 57}},
                    "description": "C peptide",
                },
            ],
            "sequence": {"value": "MALWMRLLPLLALLALWGPDPAAAFVNQHLCGSHLVEALY", "length": 40},
            **more,
        }
        self.files[f"/uniprot/uniprotkb/{accession}.json"] = json.dumps(record).encode()
        self.proteins.append(record)
        return f"/uniprot/uniprotkb/{accession}.json"

    def close(self) -> None:
        """Stop serving; whoever hangs is let go."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append(request.path)
        fault = self.faults.get(request.path)
        if request.path.startswith("/uniprot/uniprotkb/search?"):
            # As the real search does: words anywhere, so that more comes than was meant.
            self.files[request.path] = json.dumps({"results": self.proteins}).encode()
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
        elif fault == "xml":
            body, kind = XML, "application/xml"
        elif fault == "cut":
            body = body[: len(body) // 2]
        elif isinstance(fault, str) and fault.startswith("/"):
            request.send_response(301)
            request.send_header("Location", self.url + fault)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        elif request.path not in self.files:
            body, status = b"not here", 404
        elif request.command == "POST" and not body:
            status = 204
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if fault == "slow":
            for begin in range(0, len(body), len(body) // 8 + 1):
                request.wfile.write(body[begin : begin + len(body) // 8 + 1])
                request.wfile.flush()
                self.closing.wait(0.05)
        else:
            request.wfile.write(body[: len(body) // 2] if fault == "half" else body)
