"""orthanc.py FILE...: stores DICOM files in an Orthanc of its own, lists them and fetches them back.

Starts the `Orthanc` of the system (Debian packages orthanc, orthanc-dicomweb) in a temporary folder on free ports, without
its DICOM server. By its REST interface: POST /instances, the studies, series and instances that it lists, and each file
again, byte for byte. By DICOMweb, where that plugin is there: STOW-RS, QIDO-RS and WADO-RS. Exit 0 when all is as sent,
77 when there is no Orthanc. Needs nothing but Python.
"""
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

PLUGIN = pathlib.Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
SKIPPED = 77


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, folder, program):
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        configuration = folder / "orthanc.json"
        configuration.write_text(json.dumps({
            "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage"),
            # This version listens on all interfaces and answers only to this machine.
            "HttpPort": port, "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
            "HttpBindAddresses": ["127.0.0.1"], "DicomServerEnabled": False, "OverwriteInstances": False,
            "Plugins": [str(PLUGIN)] if PLUGIN.exists() else [], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }))
        self.log = open(folder / "log", "w+b")
        self.process = subprocess.Popen([program, str(configuration)], stdout=self.log, stderr=self.log)

    def request(self, path, body=None, **headers):
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, data=body, headers=names)
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.read()

    def json(self, path, body=None, **headers):
        return json.loads(self.request(path, body, **headers))

    def wait(self):
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.json("/system")
            except (urllib.error.URLError, ConnectionError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.log.seek(0)
                    sys.exit(f"Orthanc does not answer:\n{self.log.read().decode(errors='replace')[-2000:]}")
                time.sleep(0.1)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def rest(server, files):
    """Stores, lists and fetches by the REST interface; returns the instances' ids."""
    sent = {}
    for path in files:
        answer = server.json("/instances", path.read_bytes(), Content_Type="application/dicom")
        assert answer["Status"] == "Success", (path.name, answer)
        sent[answer["ID"]] = path
    assert len(sent) == len(files), "objects share a SOPInstanceUID"
    assert set(server.json("/instances")) == set(sent)
    for instance, path in sent.items():
        assert server.request(f"/instances/{instance}/file") == path.read_bytes(), path.name
    modalities = [server.json(f"/series/{series}")["MainDicomTags"]["Modality"] for series in server.json("/series")]
    studies = server.json("/studies")
    assert len(studies) == len(server.json("/patients")) == 1, "the objects are filed under several studies or patients"
    print(f"REST: {len(sent)} instances byte-identical, {len(studies)} study, series {' '.join(sorted(modalities))}")
    return list(sent)


def dicomweb(server, files):
    """The same by STOW-RS, QIDO-RS and WADO-RS."""
    part = b"\r\n--part\r\nContent-Type: application/dicom\r\n\r\n"
    body = b"".join(part + path.read_bytes() for path in files) + b"\r\n--part--\r\n"
    answer = server.json("/dicom-web/studies", body, Accept="application/dicom+json",
                         Content_Type='multipart/related; type="application/dicom"; boundary=part')
    stored = answer["00081199"]["Value"]
    assert len(stored) == len(files) and not answer.get("00081198", {}).get("Value"), "STOW-RS refused some"
    found = server.json("/dicom-web/instances", Accept="application/dicom+json")
    assert len(found) == len(files), len(found)
    for instance in found:
        study, series, uid = (instance[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
        answer = server.request(f"/dicom-web/studies/{study}/series/{series}/instances/{uid}",
                                Accept='multipart/related; type="application/dicom"; transfer-syntax=*')
        assert any(path.read_bytes() in answer for path in files), uid
    print(f"DICOMweb: {len(stored)} stored, listed and fetched byte-identical")


def main():
    files = [pathlib.Path(name) for name in sys.argv[1:]]
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        print("skipped: no Orthanc (Debian packages orthanc and orthanc-dicomweb)", file=sys.stderr)
        sys.exit(SKIPPED)
    with tempfile.TemporaryDirectory() as folder:
        server = Server(pathlib.Path(folder), program)
        try:
            server.wait()
            instances = rest(server, files)
            for instance in instances:
                request = urllib.request.Request(f"{server.url}/instances/{instance}", method="DELETE")
                urllib.request.urlopen(request, timeout=30).read()
            if PLUGIN.exists():
                dicomweb(server, files)
            else:
                print("skipped: no DICOMweb plugin (Debian package orthanc-dicomweb)", file=sys.stderr)
        finally:
            server.stop()


main()
