# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests, made by openssl."""

import subprocess


def certificate(folder, name, names):
    """NAME.pem and NAME.key of a fresh key of P-256 that says who it is itself."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    command += ["-subj", "/CN=" + name, "-addext", "subjectAltName=" + names, "-keyout", name + ".key", "-out", name + ".pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def authority(folder, name):
    """NAME.pem and NAME.key of an authority."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    command += ["-subj", "/CN=" + name, "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", name + ".key", "-out", name + ".pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def certificate_of(folder, name, names, by, days=30):
    """NAME.pem and NAME.key, signed by that authority; days < 0: it has expired."""
    command = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=" + name]
    command += ["-keyout", name + ".key", "-out", name + ".csr"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    with open(folder + "/" + name + ".ext", "w", encoding="ascii") as f:
        f.write("subjectAltName=" + names + "\n")
    command = ["openssl", "x509", "-req", "-in", name + ".csr", "-CA", by + ".pem", "-CAkey", by + ".key", "-CAcreateserial"]
    command += ["-days", str(days), "-extfile", name + ".ext", "-out", name + ".pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
