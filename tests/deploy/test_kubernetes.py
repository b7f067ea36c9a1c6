"""The manifests for Kubernetes: valid, shut in, with probes for reads and for ingest apart."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pagefold import Config
from pagefold.engine.http.route_table import ROUTES
from tests.deploy.files import DEPLOY, document, documents, needs, objects_with, program
from tests.docs.test_examples import check_command

KUBERNETES = DEPLOY / "kubernetes"
FILES = [path for path in sorted(KUBERNETES.glob("*.yaml")) if path.name != "kustomization.yaml"]
VERSIONS = ("1.30", "1.37")
"""The preStop pause needs 1.30."""


def resources(kind: str) -> Mapping[str, dict[str, Any]]:
    """The resources of a kind, by name."""
    every = (each for path in FILES for each in documents(path))
    return {each["metadata"]["name"]: each for each in every if each["kind"] == kind}


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every container, with its deployment."""
    for name, each in resources("Deployment").items():
        spec = each["spec"]["template"]["spec"]
        for container in (*spec["initContainers"], *spec["containers"]):
            yield name, container


@needs("kubernetes-validate")
@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_of_kubernetes_hold(version: str) -> None:
    """Every resource is valid, without an unknown key."""
    validate = [str(program("kubernetes-validate")), "--strict", "--quiet", "-k", version]
    done = subprocess.run([*validate, *map(str, FILES)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@needs("kubernetes-validate")
def test_a_slip_is_found(tmp_path: Path) -> None:
    """An unknown key is an error."""
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text((KUBERNETES / "reads.yaml").read_text("utf-8").replace("readinessProbe", "readynessProbe"))
    validate = [str(program("kubernetes-validate")), "--strict", "--quiet", str(wrong)]
    assert subprocess.run(validate, capture_output=True, check=False).returncode == 1


def test_the_list_names_every_file() -> None:
    """The kustomization has every manifest, and the configuration, which loads."""
    kustomization = document(KUBERNETES / "kustomization.yaml")
    assert sorted(kustomization["resources"]) == [path.name for path in FILES]
    [generator] = kustomization["configMapGenerator"]
    Config.load(KUBERNETES / generator["files"][0], store="sqlite:///x")


@needs("kubectl")
def test_kustomize_builds_it() -> None:
    """Every container has the image of the list, and every pod the generated map of the configuration."""
    build = [str(program("kubectl")), "kustomize", str(KUBERNETES)]
    built = subprocess.run(build, capture_output=True, text=True, check=True).stdout
    assert built.count("image: registry.example/pagefold:0.1.0") == len(list(containers()))
    assert len(re.findall(r"configMap:\n\s+name: pagefold-\w+", built)) == len(resources("Deployment"))


def test_reads_and_ingest_have_probes_of_their_own() -> None:
    """A pod for reads stays ready while folding is behind; one for ingest does not. Each probe asks a known route."""
    paths = {route.path for route in ROUTES}
    ready = {}
    for name, container in containers():
        asked = {each["httpGet"]["path"] for each in objects_with("httpGet", container)}
        assert asked <= paths, name
        if "livenessProbe" in container:
            assert container["livenessProbe"]["httpGet"]["path"] == "/healthz", "a restart repairs no other check"
        if "readinessProbe" in container:
            ready[name] = container["readinessProbe"]["httpGet"]["path"]
    assert ready == {"pagefold-reads": "/readyz/reads", "pagefold-ingest": "/readyz/ingest"}


def test_containers_are_shut_in_and_their_commands_parse() -> None:
    """None has a capability, a writable root, a token of the cluster, or memory without a limit."""
    for name, container in containers():
        check_command(["pagefold", *container["args"]], {})
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }, name
        assert container["resources"]["limits"]["memory"], name
    for name, each in resources("Deployment").items():
        spec = each["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["automountServiceAccountToken"] is False, name


def test_selectors_find_pods() -> None:
    """Each service, budget and spread selects the pods of a deployment; operators reach those that are not ready."""
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in resources("Deployment").values()]
    selectors = [each["spec"]["selector"] for each in resources("Service").values()]
    selectors += [
        each["matchLabels"]
        for path in FILES
        for each in objects_with("matchLabels", documents(path))
        if "pagefold-client" not in each["matchLabels"]
    ]
    assert len(selectors) > 8
    for selector in selectors:
        assert selector in labels, selector
    assert resources("Service")["pagefold-operations"]["spec"]["publishNotReadyAddresses"]
