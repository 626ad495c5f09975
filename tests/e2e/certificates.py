# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests, made by openssl."""

import subprocess


def certificate(folder, name, names):
    """NAME.pem and NAME.key of a fresh key of P-256 that says who it is itself."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    command += ["-subj", "/CN=" + name, "-addext", "subjectAltName=" + names, "-keyout", name + ".key", "-out", name + ".pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
