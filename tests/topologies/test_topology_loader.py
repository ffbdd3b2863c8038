"""Topology files: the library loads, and every mistake is met with its line and its fix."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from topologies import InputError, Topology, library, load
from topologies.loader import locate

GOOD = """\
topology: test
sites:
  ral: {nodes: 2}
  cam: {nodes: 1}
  edi: {nodes: 1}
links:
  - {between: [ral, cam], rtt: 30ms}
  - {between: [ral, edi], rtt: 30ms, jitter: 1ms}
services:
  iam: {kind: indigo-iam, replicas: {ral: 1, cam: 1}, database: db, sessions: cache}
  db: {kind: galera, members: {ral: 1, cam: 1, edi: 1}}
  cache: {kind: redis-sentinel, primary: ral, replicas: [cam], sentinels: [ral, cam, edi]}
  web: {kind: nginx, sites: [ral, cam], upstream: iam}
  frontend: {kind: haproxy, sites: [ral, cam], backend: web, reach: local}
  dns: {kind: dns-balancer, targets: frontend, ttl: 30s}
clients:
  uk: {site: ral}
lab:
  sites:
    ral: {nodes: 1}
"""

# (what is replaced in GOOD, by what, the line of the mistake, what is said)
MISTAKES = [
    # truth values are no numbers, though Python's are
    ("ral: {nodes: 2}", "ral: {nodes: true}", 3, "sites.ral.nodes: the value is true; expected a number"),
    ("replicas: {ral: 1,", "replicas: {ral: yes,", 10, "the value is 'yes'; expected a whole number"),
    ("replicas: {ral: 1,", "replicas: {ral: true,", 10, "services.iam.replicas.ral: the value is true"),
    # a period too short to be simulated in anybody's lifetime
    (
        "reach: local}",
        "reach: local, check: {inter: 1ns}}",
        14,
        "the value is '1ns'; expected at least 0.001",
    ),
    # links and sites
    ("[ral, cam], rtt", "[rall, cam], rtt", 7, "links[0].between: unknown site 'rall'; did you mean 'ral'?"),
    ("[ral, cam], rtt", "[zz, cam], rtt", 7, "unknown site 'zz'; sites: ral, cam, edi"),
    ("[ral, cam], rtt", "[ral, ral], rtt", 7, "'ral' is linked to itself; expected two different sites"),
    ("[ral, edi], rtt", "[cam, ral], rtt", 8, "already linked by links[0]; expected one link per pair"),
    (
        "  - {between: [ral, edi], rtt: 30ms, jitter: 1ms}\n",
        "",
        6,
        "no link joins the sites {cam, ral} and {edi}",
    ),
    ("[ral, cam], rtt", "[ral, cam, edi], rtt", 7, "this is a list of 3; expected at most 2 entries"),
    ("[ral, cam], rtt", "ral, rtt", 7, "the value is 'ral'; expected a list"),
    ("rtt: 30ms}", "rtt: 30}", 7, "links[0].rtt: the number 30 has no unit: write it as in 30ms"),
    ("rtt: 30ms}", "rtt: 30 parsecs}", 7, "cannot read '30 parsecs': write a number with one of ns, us"),
    ("rtt: 30ms}", "rtt: -30ms}", 7, "links[0].rtt: must not be negative"),
    ("rtt: 30ms}", "rtt: 30ms, loss: 101%}", 7, "links[0].loss: must not exceed 100%"),
    ("rtt: 30ms}", "rrt: 30ms}", 7, "links[0].rrt: unknown key 'rrt'; did you mean 'rtt'?"),
    (
        "rtt: 30ms}",
        "rtt: 30ms, vpn: wiregard}",
        7,
        "expected one of wireguard, liqo, none; did you mean 'wireguard'?",
    ),
    (", rtt: 30ms}", "}", 7, "links[0]: the key 'rtt' is missing; add `rtt: ...`"),
    ("  cam: {nodes: 1}", "  Cam: {nodes: 1}", 4, "'Cam' is not a name; expected a lower-case letter"),
    (
        "  cam: {nodes: 1}",
        "  a-site-with-a-long-name: {}",
        4,
        "is not a name; expected a lower-case letter, then at most 14",
    ),
    (
        "  cam: {nodes: 1}",
        "  cam:",
        4,
        "sites.cam: there is no value; expected keys and values ({} for defaults",
    ),
    ("  cam: {nodes: 1}", "  cam: {nodes: 0}", 4, "sites.cam.nodes: the value is 0; expected at least 1"),
    ("  cam: {nodes: 1}", "  cam: {nodes: two}", 4, "the value is 'two'; expected a whole number"),
    ("  cam: {nodes: 1}", "  cam: {cpu: .nan}", 4, "sites.cam.cpu"),
    ("  cam: {nodes: 1}", "  cam: {memory: 30G}", 4, "cannot read '30G'"),
    ("topology: test", "topology: Test It", 1, "'Test It' is not a name"),
    ("topology: test", "name: test", 1, "unknown key 'name'"),
    # services
    (
        "kind: galera",
        "kind: galeraa",
        11,
        "services.db.kind: unknown kind 'galeraa'; expected one of indigo-iam, galera",
    ),
    (
        "kind: galera, ",
        "",
        11,
        "services.db: the key 'kind' is missing; expected kind: one of indigo-iam, galera",
    ),
    (
        "  db: {kind: galera, members: {ral: 1, cam: 1, edi: 1}}",
        "  db: galera",
        11,
        "expected keys and values with a kind: one of indigo-iam, galera",
    ),
    (
        "database: db",
        "database: bd",
        10,
        "there is no service 'bd'; expected a service of kind galera or mariadb-repl",
    ),
    (
        "database: db",
        "database: cache",
        10,
        "'cache' is of kind redis-sentinel; expected a service of kind galera",
    ),
    (
        "sessions: cache",
        "sessions: db",
        10,
        "'db' is of kind galera; expected a service of kind redis-sentinel",
    ),
    ("upstream: iam", "upstream: db", 13, "'db' is of kind galera; expected a service of kind indigo-iam"),
    ("backend: web", "backend: dns", 14, "expected a service of kind nginx or indigo-iam"),
    ("targets: frontend", "targets: web", 15, "expected a service of kind haproxy; known: frontend"),
    (
        "replicas: {ral: 1, cam: 1}",
        "replicas: {ral: 1, can: 1}",
        10,
        "replicas.can: unknown site 'can'; did you mean 'cam'?",
    ),
    (
        "replicas: {ral: 1, cam: 1}",
        "replicas: {}",
        10,
        "nothing is placed anywhere; expected at least one site",
    ),
    ("replicas: {ral: 1, cam: 1}", "replicas: {ral: 0}", 10, "the value is 0; expected at least 1"),
    ("replicas: {ral: 1, cam: 1}", "replicas: [ral]", 10, "this is a list of 1; expected keys and values"),
    ("members: {ral: 1, cam: 1, edi: 1}", "members: {ral: 1, de: 1}", 11, "unknown site 'de'"),
    ("edi: 1}}", "edi: 1}, suspect_timeout: 2s}", 11, "keepalive_period <= suspect_timeout/3 = 0.666667s"),
    (
        "edi: 1}}",
        "edi: 1}, inactive_check_period: 3s}",
        11,
        "services.db.inactive_check_period: inactive_check_period is 3s",
    ),
    ("edi: 1}}", "edi: 1}, inactive_timeout: 6s}", 11, "install_timeout <= inactive_timeout = 6s"),
    ("edi: 1}}", "edi: 1}, keepalive_period: 0s}", 11, "expected at least 0.001"),
    (
        "edi: 1}}",
        "edi: 1}, evs.suspect_timeout: 5s}",
        11,
        "unknown key 'evs.suspect_timeout'; did you mean 'suspect_timeout'?",
    ),
    (
        "primary: ral, replicas: [cam]",
        "primary: rl, replicas: [cam]",
        12,
        "services.cache.primary: unknown site 'rl'",
    ),
    (
        "primary: ral, replicas: [cam]",
        "primary: ral, replicas: [ral]",
        12,
        "site 'ral' already has the primary",
    ),
    ("replicas: [cam]", "replicas: [cam, cam]", 12, "services.cache.replicas[1]: site 'cam' is listed twice"),
    (
        "sentinels: [ral, cam, edi]",
        "sentinels: [ral], quorum: 2",
        12,
        "a quorum of 2 can never agree with 1 sentinel",
    ),
    ("sentinels: [ral, cam, edi]", "sentinels: []", 12, "services.cache.sentinels: nothing is placed"),
    (
        "sites: [ral, cam], upstream",
        "sites: [ral, edi], upstream",
        13,
        "'iam' has no replica at 'edi', and nginx only",
    ),
    (
        "sites: [ral, cam], backend",
        "sites: [ral, edi], backend",
        14,
        "`reach: local` leaves this front end without a",
    ),
    ("reach: local", "reach: locale", 14, "expected one of all, local, local-first; did you mean 'local'?"),
    (
        "ttl: 30s}",
        "ttl: 30s, check: {down: 0}}",
        15,
        "services.dns.check.down: the value is 0; expected at least 1",
    ),
    (
        "ttl: 30s}",
        "ttl: 30s, check: {interval: 0s}}",
        15,
        "services.dns.check.interval: the value is '0s'; expected at least 0.001",
    ),
    # clients and the whole
    ("uk: {site: ral}", "uk: {site: rla}", 17, "clients.uk.site: unknown site 'rla'; did you mean 'ral'?"),
    ("uk: {site: ral}", "uk: {}", 17, "clients.uk: the key 'site' is missing"),
    ("uk: {site: ral}", "uk: {site: ral, share: 0}", 17, "expected more than 0"),
    ("uk: {site: ral}", "uk: {site: ral, share: .inf}", 17, "expected at most 1e+06"),
    ("clients:\n  uk: {site: ral}\n", "", 1, "the key 'clients' is missing"),
    ("  uk: {site: ral}\n", "  {}\n", 16, "clients: "),
    # the overlay
    (
        "    ral: {nodes: 1}",
        "    ral: {node: 1}",
        20,
        "lab.sites.ral.node: unknown key 'node'; did you mean 'nodes'?",
    ),
    ("    ral: {nodes: 1}", "    ral: {memory: 2}", 20, "lab.sites.ral.memory: the number 2 has no unit"),
    (
        "    ral: {nodes: 1}",
        "    rla: {nodes: 1}",
        20,
        "lab.sites.rla: there is no 'rla' above to change; did you mean 'ral'?",
    ),
    ("lab:\n  sites:\n    ral: {nodes: 1}\n", "lab: small\n", 18, "lab: the overlay is not a mapping"),
    ("lab:\n  sites:", "lab:\n  site:", 19, "lab.site: unknown key 'site'; did you mean 'sites'?"),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A place for a topology file."""
    return tmp_path / "mine.yaml"


class TestLibrary:
    """The topologies that come with the product."""

    @pytest.mark.parametrize("size", ["production", "lab"])
    @pytest.mark.parametrize("name", library())
    def test_every_topology_loads_in_both_sizes(self, name: str, size: str) -> None:
        """Each loads by its bare name, which is also what it calls itself."""
        assert load(name, size=size).topology == name  # type: ignore[arg-type]

    def test_the_four_layouts_are_there(self) -> None:
        """The layouts compared in the source talk have a topology each."""
        assert set(library()) >= {
            "iris-1site",
            "iris-2site-galera",
            "iris-2site-replication",
            "iris-3site-galera",
        }

    @pytest.mark.parametrize("name", library())
    def test_the_lab_size_fits_one_machine(self, name: str) -> None:
        """One node (on Kubernetes at most two), one identity service on each; only DNS has other timers."""
        lab, production = load(name, size="lab"), load(name)
        most = 2 if name == "iris-2site-kubernetes" else 1
        assert all(site.nodes <= most and site.cpu <= 1 for site in lab.sites.values())
        iam = lab.services["iam"]
        assert iam.replicas == {site: lab.sites[site].nodes for site in lab.sites}  # type: ignore[union-attr]
        for service in ("db", "cache", "web", "frontend"):
            assert lab.services[service] == production.services[service]
        assert lab.links == production.links
        assert lab.lab == {} and production.lab != {}

    @pytest.mark.parametrize("name", library())
    def test_the_first_line_tells_editors_the_schema(self, name: str) -> None:
        """Completion works in editors because the named schema exists."""
        file = library()[name]
        first = file.read_text().splitlines()[0]
        assert first == "# yaml-language-server: $schema=../docs/schema/topology.json"
        assert (file.parent / first.partition("=")[2]).is_file()


class TestReference:
    """How a topology is named."""

    def test_a_path_is_taken_as_it_is(self, file: Path) -> None:
        """Absolute paths work from anywhere, relative ones from the referring file's directory."""
        file.write_text(GOOD)
        assert load(file).topology == "test"
        assert load("mine.yaml", relative_to=file.parent).topology == "test"

    def test_unknown_names_get_the_nearest(self) -> None:
        """A misspelt library name is answered with the right one and the whole list."""
        with pytest.raises(InputError) as caught:
            load("iris-3sites-galera")
        assert "did you mean 'iris-3site-galera'?" in str(caught.value)
        assert "iris-2site-replication" in str(caught.value)

    @pytest.mark.parametrize(
        ("reference", "said"),
        [
            ("iris-3site-galera.yaml", "write the name without `.yaml`"),
            ("nowhere/iris-9site-galera.yml", "did you mean the library's"),
            ("nowhere/else.yaml", "the library has iris-1site"),
            ("", "expected a path or a library name"),
            ("topology" * 999, "name too long"),
        ],
    )
    def test_missing_files_say_what_there_is(self, reference: str, said: str) -> None:
        """A path that leads nowhere is answered with what the library has."""
        with pytest.raises(InputError, match="topology") as caught:
            locate(reference)
        assert said in str(caught.value)


class TestMistakes:
    """Everything a user can get wrong, with file, line and fix."""

    def test_the_good_file_loads(self, file: Path) -> None:
        """What the mistakes are made in is itself right, in both sizes."""
        file.write_text(GOOD)
        assert load(file).sites["ral"].nodes == 2
        assert load(file, size="lab").sites["ral"].nodes == 1

    @pytest.mark.parametrize(
        ("right", "wrong", "line", "said"), MISTAKES, ids=[m[1].strip()[:40] for m in MISTAKES]
    )
    def test_a_mistake_is_reported_at_its_line(
        self, file: Path, right: str, wrong: str, line: int, said: str
    ) -> None:
        """One replaced piece of a good file gives an error at its line that says what is right."""
        assert right in GOOD
        file.write_text(GOOD.replace(right, wrong, 1))
        with pytest.raises(InputError) as caught:
            load(file)
        assert said in str(caught.value)
        about = next(problem for problem in caught.value.problems if said in str(problem))
        assert (about.file, about.line) == (str(file), line)
        assert str(about).startswith(f"{file}:{line}: ")
        assert caught.value.exit_code == 64

    def test_the_same_mistakes_are_found_in_lab_size(self, file: Path) -> None:
        """A mistake in the overlay is reported at its line whichever size is loaded."""
        file.write_text(GOOD.replace("    ral: {nodes: 1}", "    ral: {nodes: none}"))
        for size in ("production", "lab"):
            with pytest.raises(InputError, match=r":20: lab\.sites\.ral\.nodes: the value is 'none'"):
                load(file, size=size)

    def test_all_mistakes_are_told_at_once(self, file: Path) -> None:
        """A file with three mistakes needs one attempt, not three."""
        text = GOOD.replace("database: db", "database: bd").replace("targets: frontend", "targets: web")
        file.write_text(text.replace("site: ral}", "site: rall}"))
        with pytest.raises(InputError) as caught:
            load(file)
        assert [problem.line for problem in caught.value.problems] == [10, 15, 17]

    def test_code_gets_the_path_too(self) -> None:
        """A topology built in Python says by path what does not fit."""
        topology = load("iris-3site-galera")
        data = topology.model_dump()
        data["services"]["iam"]["database"] = "bd"
        with pytest.raises(ValidationError, match=r"services\.iam\.database: there is no service 'bd'"):
            Topology.model_validate(data)


class TestWith:
    """Functional copies for what-if studies."""

    def test_a_copy_differs_only_where_it_is_told(self) -> None:
        """The original is unchanged, and taking the change back gives an equal topology."""
        topology = load("iris-3site-galera")
        slow = topology.with_("links[0].rtt=200ms", "services.frontend.reach=all")
        assert slow.links[0].rtt == 0.2 and topology.links[0].rtt == 0.03
        assert slow.links[1:] == topology.links[1:]
        assert slow.with_("links[0].rtt=30ms", "services.frontend.reach=local-first") == topology

    @pytest.mark.parametrize("name", library())
    def test_no_change_is_the_identity(self, name: str) -> None:
        """Writing a topology out and reading it back loses nothing."""
        assert load(name).with_() == load(name)

    def test_a_wrong_change_is_an_input_error(self) -> None:
        """What does not fit is reported by the text of the change."""
        with pytest.raises(InputError, match=r"--set links\[0\]\.rtt=200: .* has no unit"):
            load("iris-3site-galera").with_("links[0].rtt=200")

    def test_overrides_come_after_the_overlay(self) -> None:
        """`--set` has the last word over the lab size."""
        assert load("iris-1site", size="lab", overrides=["sites.ral.cpu=2"]).sites["ral"].cpu == 2

    def test_an_override_of_the_overlay_is_refused(self) -> None:
        """It would come too late and change nothing, in either size: said, not ignored."""
        for size in ("lab", "production"):
            with pytest.raises(InputError, match=r"--set lab\.sites\.ral\.cpu=2: .*change nothing"):
                load("iris-1site", size=size, overrides=["lab.sites.ral.cpu=2"])


class TestEvery:
    """`[*]` in an override."""

    def test_changes_every_item(self) -> None:
        """All links get the value; the file's own values stay elsewhere."""
        topology = load("iris-3site-galera")
        slow = topology.with_("links[*].rtt=200ms", "links[1].rtt=7ms")
        assert [link.rtt for link in slow.links] == [0.2, 0.007, 0.2]
        assert [link.bandwidth for link in slow.links] == [link.bandwidth for link in topology.links]

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("links[*].rtt=200", "no unit"),
            ("links[*].rrt=200ms", "rrt"),
            ("linkz[*].rtt=200ms", "links"),
            ("services[*].kind=nginx", "services is no list"),
            ("[*].rtt=1ms", "starts with an index"),
            ("links[*]=", "no value"),
        ],
    )
    def test_mistakes(self, text: str, told: str) -> None:
        """Each is told as for a single item."""
        with pytest.raises(InputError, match=told):
            load("iris-3site-galera").with_(text)
