"""Serves the built viewer, set up for one DICOMweb server."""

import http.server
import pathlib
import threading


class PageServer:
    def __init__(self, folder, port, dicomweb):
        self.folder, self.port, self.dicomweb = pathlib.Path(folder), port, dicomweb
        self.url = f"http://127.0.0.1:{port}"

    def start(self, _):
        handler = type("Handler", (Handler,), {"folder": self.folder, "configuration": configuration(self.dicomweb)})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        if server := getattr(self, "server", None):
            server.shutdown()
            server.server_close()


class Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".wasm": "application/wasm"}

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, directory=str(self.folder), **named)

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/app-config.js":
            return self.answer(self.configuration.encode(), "text/javascript")
        # the viewer finds its way by the address itself
        if not pathlib.Path(self.translate_path(path)).is_file():
            return self.answer((self.folder / "index.html").read_bytes(), "text/html")
        return super().do_GET()

    def answer(self, body, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def configuration(dicomweb):
    """The documented example, with the address of this run."""
    example = pathlib.Path(__file__).with_name("app-config.js").read_text()
    address = "http://127.0.0.1:8080/dicom-web"
    assert example.count(address) == 1
    return example.replace(address, dicomweb)
