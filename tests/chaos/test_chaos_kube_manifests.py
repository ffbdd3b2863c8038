"""Manifests: complete, restricted, deterministic, and in the order in which a lab comes up."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from chaos.errors import LabError
from chaos.iam.config import Config
from chaos.kube.addresses import NAMESPACE, Addresses
from chaos.kube.manifests import Secrets, pod_of, pods, render, stages
from chaos.kube.manifests.names import block, corefile, without_names
from chaos.kube.manifests.objects import ISOLATED_LABEL, ROLE_LABEL, SERVICE_LABEL
from chaos.kube.manifests.secrets import PLACEHOLDER
from chaos.kube.manifests.text import to_yaml
from experiments.targets import components
from topologies.loader import library, load
from topologies.model import Topology

Object = dict[str, Any]
SECRETS = Secrets("iam-pw", "repl-pw", "observer-pw", "PEM\n", "aaaaaaaa-0000-1000-8000-00000000abcd")
LIBRARY = sorted(library())
RUNNING = ("Deployment", "StatefulSet")


def lab(name: str = "iris-2site-galera", *overrides: str) -> Topology:
    """A library topology in lab size."""
    return load(name, size="lab", overrides=overrides)


def everything(name: str = "iris-2site-galera") -> Iterator[Object]:
    """All objects of all sites of a library topology."""
    for objects in render(lab(name), secrets=SECRETS).values():
        yield from objects


def find(objects: list[Object], kind: str, name: str) -> Object:
    """The one object of that kind and name."""
    [found] = [one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


@pytest.mark.parametrize("name", LIBRARY)
def test_every_object_says_what_it_is_and_whose(name: str) -> None:
    """Kind, version, name, namespace and the label by which the lab finds its own are on everything."""
    for one in everything(name):
        assert one["apiVersion"] and one["kind"] and one["metadata"]["name"]
        if one["kind"] == "Namespace":
            assert one["metadata"]["labels"]["faultline.io/chaos-allowed"] == "true"
        else:
            assert one["metadata"]["namespace"] == NAMESPACE
        assert one["metadata"]["labels"]["app.kubernetes.io/part-of"] == "faultline"


@pytest.mark.parametrize("name", LIBRARY)
def test_no_two_objects_of_a_cluster_have_the_same_name(name: str) -> None:
    """What is applied twice would silently replace the first."""
    for objects in render(lab(name)).values():
        names = [(one["kind"], one["metadata"]["name"]) for one in objects]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", LIBRARY)
def test_pods_have_no_more_rights_than_their_daemon_needs(name: str) -> None:
    """Not root, nothing to gain, nothing to write but its volumes, no token of the API, limits."""
    found = [one for one in everything(name) if one["kind"] in RUNNING]
    assert found
    for one in found:
        template = one["spec"]["template"]
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not spec.get("hostNetwork") and not spec.get("hostPID")
        [container] = spec["containers"]
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"] and not rights["allowPrivilegeEscalation"]
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["cpu"]
        assert template["metadata"]["labels"][SERVICE_LABEL]
        assert template["metadata"]["labels"][ROLE_LABEL] == container["name"]


@pytest.mark.parametrize("name", LIBRARY)
def test_references_inside_a_cluster_lead_somewhere(name: str) -> None:
    """Every ConfigMap, Secret, ServiceAccount, volume, selector and target port that is used exists."""
    for objects in render(lab(name)).values():
        known = {(one["kind"], one["metadata"]["name"]) for one in objects}
        templates = [one["spec"]["template"] for one in objects if one["kind"] in RUNNING]
        for one in objects:
            if one["kind"] in RUNNING:
                spec = one["spec"]["template"]["spec"]
                assert ("ServiceAccount", spec["serviceAccountName"]) in known
                volumes = {volume["name"] for volume in spec["volumes"]}
                for volume in spec["volumes"]:
                    if "configMap" in volume:
                        assert ("ConfigMap", volume["configMap"]["name"]) in known
                    if "secret" in volume:
                        assert ("Secret", volume["secret"]["secretName"]) in known
                volumes |= {
                    claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])
                }
                assert {mount["name"] for mount in spec["containers"][0]["volumeMounts"]} == volumes
                labels = one["spec"]["template"]["metadata"]["labels"]
                assert one["spec"]["selector"]["matchLabels"].items() <= labels.items()
                if one["kind"] == "StatefulSet":
                    assert ("Service", one["spec"]["serviceName"]) in known
            if one["kind"] == "Service":
                selector = dict(one["spec"]["selector"])
                pod = selector.pop("statefulset.kubernetes.io/pod-name", None)
                behind = [t for t in templates if selector.items() <= t["metadata"]["labels"].items()]
                assert len(behind) == 1
                assert pod is None or one["spec"]["publishNotReadyAddresses"]
                ports = behind[0]["spec"]["containers"][0]["ports"]
                open_ports = {p["name"] for p in ports} | {p["containerPort"] for p in ports}
                assert {port["targetPort"] for port in one["spec"]["ports"]} <= open_ports
            if one["kind"] == "PodDisruptionBudget":
                selector = one["spec"]["selector"]["matchLabels"]
                assert sum(selector.items() <= t["metadata"]["labels"].items() for t in templates) == 1


def test_the_same_topology_and_secrets_give_the_same_bytes() -> None:
    """Rendering is a function: no clock, no chance, no order of a set."""
    once, again = (
        {site: to_yaml(objects) for site, objects in render(lab(), secrets=SECRETS).items()} for _ in range(2)
    )
    assert once == again


def test_yaml_reads_back_as_what_was_rendered() -> None:
    """The text that users see and kubectl applies is the object, with every file inside intact."""
    objects = render(lab(), secrets=SECRETS)["ral"]
    assert list(yaml.safe_load_all(to_yaml(objects))) == objects


def test_another_secret_replaces_the_pods_that_use_it() -> None:
    """The template carries a digest of its configuration, so that a change of it rolls the pods."""
    first = render(lab(), secrets=SECRETS)["ral"]
    second = render(lab(), secrets=Secrets.generate(signing_key="PEM\n"))["ral"]

    def stamp(objects: list[Object], kind: str, name: str) -> str:
        template = find(objects, kind, name)["spec"]["template"]
        return str(template["metadata"]["annotations"]["faultline.io/configuration"])

    assert stamp(first, "Deployment", "iam") != stamp(second, "Deployment", "iam")
    assert stamp(first, "Deployment", "web") == stamp(second, "Deployment", "web")


def test_placeholders_hold_no_secret() -> None:
    """What is shown to people has a stand-in wherever a password or key belongs."""
    for one in render(lab())["ral"]:
        if one["kind"] == "Secret":
            assert PLACEHOLDER in json.dumps(one["stringData"])
    shown = json.dumps(render(lab()))
    assert "BEGIN" not in shown


class TestAddresses:
    """Services and configuration agree with `chaos.kube.addresses`."""

    @pytest.mark.parametrize("name", LIBRARY)
    def test_every_endpoint_is_a_service_at_its_address(self, name: str) -> None:
        """One Service per endpoint, with its fixed ClusterIP, inside the cluster's range."""
        topology = lab(name)
        addresses = Addresses.of(topology)
        for site, objects in render(topology).items():
            got = {o["metadata"]["name"]: o["spec"]["clusterIP"] for o in objects if o["kind"] == "Service"}
            assert got == {one.name: one.cluster_ip for one in addresses.at(site)}

    def test_overlapping_clusters_are_reached_by_external_addresses(self) -> None:
        """With equal ranges everywhere each Service also listens on its lab-wide address."""
        for site, objects in render(lab(), overlapping=True).items():
            service = find(objects, "Service", "db-0")["spec"]
            assert service["clusterIP"] == "10.200.0.33"
            assert service["externalIPs"] == [f"10.20{1 if site == 'ral' else 2}.0.33"]

    def test_front_ends_stand_on_port_80_of_the_nodes(self) -> None:
        """Users find the front end where the lab without Kubernetes has it."""
        service = find(render(lab())["cam"], "Service", "frontend")["spec"]
        assert service["type"] == "NodePort"
        assert [(p["port"], p["nodePort"]) for p in service["ports"]] == [(80, 80)]

    def test_members_announce_addresses_that_outlive_their_pod(self) -> None:
        """A member gives its Service's address to the others and listens on all of the pod's own."""
        config = find(render(lab())["cam"], "ConfigMap", "db")["data"]["db-0.cnf"]
        assert "wsrep-node-address = 10.202.0.33" in config
        assert "wsrep-cluster-address = gcomm://10.201.0.33\n" in config
        assert "bind-address = 0.0.0.0" in config
        assert "ist.recv_addr=10.202.0.33:4568;ist.recv_bind=0.0.0.0:4568" in config

    def test_the_identity_service_uses_names(self) -> None:
        """A replica finds the members and sentinels of other sites by name, as its own reader accepts."""
        secret = find(render(lab(), secrets=SECRETS)["cam"], "Secret", "iam")["stringData"]
        config = Config.model_validate(json.loads(secret["config.json"]))
        assert config.database.host == "db.cam.faultline.test"
        assert config.database.password == "iam-pw"
        assert config.redis is not None
        assert [host for host, _ in config.redis.sentinels] == [
            "cache-sentinel-0.ral.faultline.test",
            "cache-sentinel-0.cam.faultline.test",
        ]

    def test_names_can_be_written_into_the_pods(self) -> None:
        """For clusters whose DNS may not be changed every pod knows every name of every site."""
        [container, *_] = [
            one for one in render(lab(), host_names=True)["ral"] if one["kind"] == "Deployment"
        ]
        aliases = container["spec"]["template"]["spec"]["hostAliases"]
        assert {(one["ip"], one["hostnames"][0]) for one in aliases} == set(Addresses.of(lab()).hosts())


class TestDatabase:
    """What the database's pods are told."""

    @pytest.mark.parametrize(("management", "founders"), [("OrderedReady", 2), ("Parallel", 3)])
    def test_members_that_start_at_once_are_in_the_first_view(self, management: str, founders: int) -> None:
        """Only a StatefulSet that starts all at once may have them wait for each other."""
        topology = lab(
            "iris-2site-galera",
            "services.db.members={ral: 2, cam: 1}",
            f"kubernetes.pod_management={management}",
        )
        seen = {}
        for site, objects in render(topology, secrets=SECRETS).items():
            for file, text in find(objects, "ConfigMap", "db")["data"].items():
                if file.endswith(".json"):
                    seen[site, file.partition(".")[0]] = json.loads(text)
        views = {key: one["install"]["galera"]["view"] for key, one in seen.items()}
        assert len([view for view in views.values() if view]) == founders
        assert views["ral", "db-0"].count("\nmember:") == views["cam", "db-0"].count("\nmember:") == founders
        assert bool(views["ral", "db-1"]) == (management == "Parallel")
        assert {one["install"]["galera"]["state"] for one in seen.values()} == {
            "# GALERA saved state\nversion: 2.1\nuuid:    aaaaaaaa-0000-1000-8000-00000000abcd\n"
            "seqno:   0\nsafe_to_bootstrap: 0\n"
        }
        assert sorted(one["galera"]["number"] for one in seen.values()) == [1, 2, 3]
        assert seen["ral", "db-1"]["galera"]["peers"] == {"1": "10.201.0.33:9104", "3": "10.202.0.33:9104"}

    def test_a_replica_is_told_its_primary_in_a_secret(self) -> None:
        """The password of replication stands in no ConfigMap; the primary follows nobody."""
        rendered = render(lab("iris-2site-replication"), secrets=SECRETS)
        model: Any = lab("iris-2site-replication").services["db"]
        [replica] = model.replicas
        assert "follow.sql" not in find(rendered[model.primary], "Secret", "db")["stringData"]
        follow = find(rendered[replica], "Secret", "db")["stringData"]["follow.sql"]
        assert "master_password='repl-pw'" in follow
        for objects in rendered.values():
            for one in objects:
                assert one["kind"] == "Secret" or "repl-pw" not in json.dumps(one)

    def test_the_limits_are_those_of_the_settings(self) -> None:
        """CPU limit, probes and grace period are the numbers that the prediction is made with."""
        topology = lab()
        spec = find(render(topology)["ral"], "StatefulSet", "db")["spec"]["template"]["spec"]
        settings = topology.kubernetes.pods.db
        assert spec["containers"][0]["resources"]["limits"] == {"cpu": "500m"}
        assert settings.readiness is not None
        assert spec["containers"][0]["readinessProbe"]["periodSeconds"] == settings.readiness.period
        assert spec["terminationGracePeriodSeconds"] == settings.termination_grace_period
        tolerated = {t["key"].rpartition("/")[2]: t["tolerationSeconds"] for t in spec["tolerations"]}
        assert tolerated == {"not-ready": 10, "unreachable": 10}


class TestPolicies:
    """Network policies: nobody may connect, unless a role's policy says so."""

    def test_an_isolated_pod_is_in_no_policy_that_allows(self) -> None:
        """Policies add up, so the label has to take a pod out of all that allow anything."""
        policies = [one for one in render(lab())["ral"] if one["kind"] == "NetworkPolicy"]
        for one in policies:
            allows = any(one["spec"].get(key) for key in ("ingress", "egress"))
            if allows:
                assert {"key": ISOLATED_LABEL, "operator": "DoesNotExist"} in one["spec"]["podSelector"][
                    "matchExpressions"
                ]
        isolated = find(policies, "NetworkPolicy", "isolated")["spec"]
        assert isolated["policyTypes"] == ["Ingress", "Egress"]
        assert isolated["podSelector"] == {"matchLabels": {ISOLATED_LABEL: "true"}}

    @pytest.mark.parametrize("name", LIBRARY)
    def test_pods_of_every_site_may_reach_every_served_port(self, name: str) -> None:
        """Each port a container opens is allowed for the pod ranges of all sites."""
        topology = lab(name)
        addresses = Addresses.of(topology)
        for objects in render(topology).values():
            policies = {o["metadata"]["name"]: o["spec"] for o in objects if o["kind"] == "NetworkPolicy"}
            for one in objects:
                if one["kind"] not in RUNNING:
                    continue
                [container] = one["spec"]["template"]["spec"]["containers"]
                rules = policies[f"allow-{container['name']}"]["ingress"]
                allowed = {port["port"] for rule in rules for port in rule["ports"]}
                assert {port["containerPort"] for port in container["ports"]} <= allowed
                cidrs = [
                    ipaddress.ip_network(peer["ipBlock"]["cidr"])
                    for rule in rules
                    for peer in rule.get("from", [])
                ]
                for site in addresses.sites:
                    assert ipaddress.ip_network(addresses.seen_pod_range(site)) in cidrs


class TestStages:
    """The order of the start."""

    @pytest.mark.parametrize("name", LIBRARY)
    def test_every_object_is_in_exactly_one_stage(self, name: str) -> None:
        """Nothing is forgotten, nothing applied twice, and workloads come after what they mount."""
        rendered = render(lab(name))
        found = stages(rendered)
        for site, objects in rendered.items():
            staged = [one for stage in found for one in stage.objects[site]]
            assert sorted(map(id, staged)) == sorted(map(id, objects))
        assert found[0].name == "foundation" and not any(found[0].awaited.values())
        assert next(iter(found[0].objects.values()))[0]["kind"] == "Namespace"

    def test_the_service_comes_after_its_database_and_before_its_front_end(self) -> None:
        """Connection pools are filled at the start; health checks begin when there is something healthy."""
        order = [name for stage in stages(render(lab())) for _, name in stage.awaited["ral"]]
        assert order.index("db") < order.index("iam") < order.index("frontend")

    def test_extra_workloads_come_before_those_of_the_topology(self) -> None:
        """Gateways have to stand before members of different sites look for each other."""
        gateway = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "gateway", "labels": {ROLE_LABEL: "gateway"}},
        }
        found = stages(render(lab(), extra={"ral": [gateway]}))
        assert [stage.name for stage in found][:3] == ["foundation", "network", "databases and caches"]
        assert found[1].awaited["ral"] == [("Deployment", "gateway")]


class TestPods:
    """Which pod is which component."""

    @pytest.mark.parametrize("name", LIBRARY)
    def test_every_component_is_a_pod(self, name: str) -> None:
        """All targets of faults, and the sentinels, which faults on Redis leave alone."""
        topology = lab(name)
        found = pods(topology)
        assert set(components(topology)) <= set(found)
        assert all("-sentinel@" in one for one in set(found) - set(components(topology)))
        for component, pod in found.items():
            objects = render(topology)[pod.site]
            workload = find(objects, pod.kind, pod.workload)
            assert pod.index < workload["spec"]["replicas"] == pod.replicas
            assert pod_of(topology, component) == pod

    def test_stateful_pods_are_known_by_name(self) -> None:
        """A member keeps its name; a pod of a Deployment is found by its labels."""
        assert pod_of(lab(), "db@cam").pod == "db-0"
        assert pod_of(lab(), "cache-sentinel@cam").pod == "cache-sentinel-0"
        iam = pod_of(lab(), "iam@cam")
        assert iam.pod is None and iam.selector == "app.kubernetes.io/name=iam,faultline.io/role=iam"

    def test_an_unknown_component_is_told_with_the_known_ones(self) -> None:
        """The message lists what there is."""
        with pytest.raises(LabError, match="db@ral"):
            pod_of(lab(), "db@edi")


class TestNames:
    """The lab's zone in CoreDNS."""

    COREFILE = ".:53 {\n    errors\n    forward . /etc/resolv.conf\n    cache 30\n}\n"

    def test_adding_the_names_twice_is_adding_them_once(self) -> None:
        """The block can be brought up to date, and taken out without a trace."""
        addresses = Addresses.of(lab())
        once = corefile(self.COREFILE, addresses)
        assert corefile(once, addresses) == once
        assert once.startswith(self.COREFILE) and "10.202.0.33 db-0.cam.faultline.test" in once
        assert corefile(once, Addresses.of(lab("iris-1site"))).count("faultline.test:53") == 1
        assert without_names(once) == self.COREFILE

    def test_braces_balance(self) -> None:
        """The block is whole."""
        text = block(Addresses.of(lab()))
        assert text.count("{") == text.count("}") == 2


def test_two_databases_are_refused_with_what_to_change() -> None:
    """What the lab cannot run is told before anything is started."""
    topology = Topology.model_validate(
        {
            "topology": "two",
            "sites": {"a": {}},
            "services": {
                "db": {"kind": "galera", "members": {"a": 1}},
                "other": {"kind": "galera", "members": {"a": 1}},
            },
            "clients": {"users": {"site": "a"}},
        }
    )
    with pytest.raises(LabError, match="remove the others"):
        render(topology)
