"""A DICOMweb server that answers whatever a test wants."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

JSON, DICOM = "application/dicom+json", "application/dicom"
STUDY = {"0020000D": {"vr": "UI", "Value": ["1.2"]}}
SERIES = {"0020000E": {"vr": "UI", "Value": ["1.2.3"]}, "00080060": {"vr": "CS", "Value": ["CT"]}}
INSTANCE = {
    "00080018": {"vr": "UI", "Value": ["1.2.3.1"]},
    "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
    "00280010": {"vr": "US", "Value": [12]},
    "00280011": {"vr": "US", "Value": [12]},
    "00280030": {"vr": "DS", "Value": [0.8, 0.6]},
    "00200032": {"vr": "DS", "Value": [0, 0, 1]},
    "00200037": {"vr": "DS", "Value": [1, 0, 0, 0, 1, 0]},
}


@contextlib.contextmanager
def serving(answers):
    """A server of answers by the end of a path: (status, headers, body), a list of them, or a
    function that writes to the handler. Gives its root, and the paths it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path, _, query = self.path.partition("?")
            asked.append(self.path)
            name = path.rsplit("/", 1)[-1]
            answer = answers.get(name, (404, {}, b""))
            if isinstance(answer, list):
                answer = answer.pop(0) if len(answer) > 1 else answer[0]
            if callable(answer):
                with contextlib.suppress(OSError):
                    answer(self)
                return
            status, headers, body = answer
            if status == 200 and name in PAGES and "offset=0" not in query:
                body = b"[]"
            self.send_response(status)
            for header in {"Content-Length": len(body), **headers}.items():
                self.send_header(*map(str, header))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/pacs", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


PAGES = ("studies", "series", "instances")


def listed(*objects):
    return 200, {"Content-Type": JSON}, json.dumps(objects).encode()


def archive(**others):
    """Answers of one study with one series of one instance."""
    return {
        "studies": listed(STUDY), "series": listed(SERIES), "instances": listed(INSTANCE), **others
    }  # fmt: skip


def multipart(data, mark=b"mark", kind=DICOM):
    body = b"--%s\r\nContent-Type: %s\r\n\r\n%s\r\n--%s--\r\n" % (mark, kind.encode(), data, mark)
    return 200, {"Content-Type": 'multipart/related; type="x"; boundary="mark"'}, body
