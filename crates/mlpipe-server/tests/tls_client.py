"""TLS with MLflow's client: `make FOLDER` writes a CA, a certificate of localhost and keys; `use URL FOLDER` calls the server."""

import datetime
import ipaddress
import os
import pathlib
import sys


def make(folder):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.datetime.now(datetime.timezone.utc)

    def name(text):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    def certificate(subject, key, issuer, issuer_key, extensions):
        builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer))
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(issuer_key, hashes.SHA256())

    def write(path, content):
        (folder / path).write_bytes(content)

    def pem(key):
        kind, text = serialization.PrivateFormat.PKCS8, serialization.Encoding.PEM
        return key.private_bytes(text, kind, serialization.NoEncryption())

    def usage(**used):
        names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                 "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
        return x509.KeyUsage(**{name: used.get(name, False) for name in names})

    authority, server, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    of_authority = x509.SubjectKeyIdentifier.from_public_key(authority.public_key())
    ca = certificate("mlpipe test CA", authority, "mlpipe test CA", authority,
                     [(x509.BasicConstraints(ca=True, path_length=0), True), (of_authority, False),
                      (usage(key_cert_sign=True), True)])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    issued_by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(of_authority)
    leaf = certificate("localhost", server, "mlpipe test CA", authority,
                       [(x509.BasicConstraints(ca=False, path_length=None), True),
                        (x509.SubjectAlternativeName(names), False), (issued_by, False),
                        (usage(digital_signature=True), True),
                        (x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), False)])
    write("ca.pem", ca.public_bytes(serialization.Encoding.PEM))
    write("cert.pem", leaf.public_bytes(serialization.Encoding.PEM))
    write("key.pem", pem(server))
    write("other-key.pem", pem(other))


def use(url, folder):
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    import mlflow
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        MlflowClient(url).get_experiment("0")
    except MlflowException as error:
        assert "certificate" in str(error).lower(), error
    else:
        raise AssertionError("a certificate of an unknown CA was accepted")
    os.environ["MLFLOW_TRACKING_SERVER_CERT_PATH"] = str(folder / "ca.pem")
    mlflow.set_tracking_uri(url)
    with mlflow.start_run() as run:
        mlflow.log_metric("m", 0.5)
        mlflow.log_text("over TLS" * 200_000, "notes/long.txt")
    assert MlflowClient().get_run(run.info.run_id).data.metrics == {"m": 0.5}
    text = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes/long.txt")
    assert text == "over TLS" * 200_000


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(pathlib.Path(sys.argv[2]))
    else:
        use(sys.argv[2], pathlib.Path(sys.argv[3]))
