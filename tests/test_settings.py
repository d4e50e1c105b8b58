"""Settings of ``recsvc serve``: which one counts, what is wrong with one, what they are."""

import runpy
import tomllib
from pathlib import Path

import pytest
from daemons import refused

from recsvc.common.service import ServiceAddress, ServiceOptions
from recsvc.serve import settings, values
from recsvc.serve.settings import SettingsError, load


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No settings of whoever runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(values, "SYSTEM_FILE", tmp_path / "etc" / "service.toml")
    monkeypatch.delenv("RECSVC_SPOOL")
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_flag_goes_before_the_environment_that_before_files_and_those_before_defaults(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def workers(*arguments: str) -> tuple[int, str]:
        loaded = load(arguments)
        return loaded.settings.workers, loaded.origins.get("workers", "default")

    assert workers() == (0, "default")
    system = write(home / "etc" / "service.toml", "workers = 1\nfinish_limit = 7\n")
    assert workers() == (1, str(system))
    own = write(home / "config" / "recsvc" / "service.toml", "workers = 2\n")
    assert workers() == (2, str(own))
    assert load([]).settings.finish_limit == 7, "what a file leaves open, the weaker one says"
    named = write(home / "mine.toml", "workers = 3\n")
    assert workers("--config", str(named)) == (3, str(named))
    assert load(["--config", str(named)]).settings.finish_limit == 10, "the usual files are not read then"
    monkeypatch.setenv("RECSVC_WORKERS", "4")
    assert workers("--config", str(named)) == (4, "RECSVC_WORKERS")
    assert workers("--config", str(named), "--workers", "5") == (5, "--workers")
    monkeypatch.setenv("RECSVC_WORKERS", "")
    assert workers("--config", str(named)) == (3, str(named)), "an empty variable is none"


@pytest.mark.parametrize(
    ("arguments", "file", "environment", "expected"),
    [
        (["--wrokers", "3"], "", {}, "--wrokers"),
        (["--work", "3"], "", {}, "--work"),
        ([], "wrokers = 3", {}, "wrokers (FILE): there is no such setting"),
        ([], "workers = 'many'", {}, "workers (FILE): "),
        ([], "workers = -1", {}, "got -1"),
        ([], "workers = ", {}, "FILE is no TOML"),
        ([], "[workers]\nx = 1", {}, "workers (FILE)"),
        ([], "", {"RECSVC_HTTP_PORT": "70000"}, "http_port (RECSVC_HTTP_PORT): "),
        (["--finish-limit", "soon"], "", {}, "finish_limit (--finish-limit): "),
        (["--retention-age", "d"], "", {}, "30d"),
        (["--retention-size", "big"], "", {}, "retention_size (--retention-size): "),
        (["--tcp", "ipc:///x"], "", {}, "tcp (--tcp): where other machines connect is tcp://"),
        (["--tcp", "tcp://:1"], "", {}, "tcp (--tcp)"),
        (["--tcp", "tcp://*:99999"], "", {}, "tcp (--tcp)"),
        (["--endpoint", "tcp://127.0.0.1:1"], "", {}, "endpoint (--endpoint): "),
        (["--log-format", "xml"], "", {}, "'console'"),
        (["--insecure", "yes"], "", {}, "yes"),
        (["--directory", "/" + "x" * 120], "", {}, "too long"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_setting_and_where_it_was_set(
    arguments: list[str],
    file: str,
    environment: dict[str, str],
    expected: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write(home / "config" / "recsvc" / "service.toml", file)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises((SettingsError, ValueError)) as raised:
        load(arguments).settings.options()
    assert expected.replace("FILE", str(path)) in str(raised.value) and "\n" not in str(raised.value)


def test_a_variable_that_is_nearly_a_setting_is_pointed_out() -> None:
    """Others are for other programs, such as RECSVC_SERVICE, and go through."""
    given = {"RECSVC_WROKERS": "3", "RECSVC_SERVICE": "x", "RECSVC_WORKERS": "2", "PATH": "", "RECSVC_CHROMIUM": ""}
    [text] = settings.misspelt(given)
    assert "RECSVC_WROKERS" in text and "is RECSVC_WORKERS meant" in text


def test_the_exit_code_of_a_wrong_setting_is_2(home: Path) -> None:
    for done in (refused("--wrokers", "3"), refused("--config", f"{home}/none.toml"), refused(RECSVC_WORKERS="x")):
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith("recsvc serve: ")
    assert refused("--config", f"{home}/none.toml").stderr.endswith(f"there is no settings file {home}/none.toml\n")


def test_several_mistakes_are_named_together() -> None:
    with pytest.raises(SettingsError, match=r"workers \(--workers\).*; .*http_port \(--http-port\)"):
        load(["--workers", "x", "--http-port", "y"])


def test_what_is_printed_are_all_settings_with_where_they_came_from_and_can_be_read_again(home: Path) -> None:
    file = write(home / "s.toml", 'retention_age = "30d"\nretention_size = "2GB"\nhttp_token = "secret word"\n')
    given = ["--config", str(file), "--spool", 'odd "spool"\\', "--insecure"]
    loaded = load([*given, "--print-config"])
    assert loaded.print_config
    printed = loaded.as_toml()
    assert "secret word" not in printed, "whoever looks over the shoulder"
    read = tomllib.loads(printed)
    assert read.keys() | {"http_token"} == settings.Settings.model_fields.keys()
    assert read["retention_age"] == 30 * 86400 and read["retention_size"] == 2 * 10**9 and read["insecure"] is True
    assert f"# from {file}\nretention_age" in printed and "# from --insecure\ninsecure" in printed
    again = load(["--config", str(write(home / "again.toml", printed))]).settings
    assert again.model_dump(exclude={"http_token"}) == loaded.settings.model_dump(exclude={"http_token"})


def test_print_config_serves_nothing(home: Path) -> None:
    done = refused("--print-config", RECSVC_HTTP_PORT="8080")
    assert done.returncode == 0 and "# from RECSVC_HTTP_PORT\nhttp_port = 8080\n" in done.stdout
    assert not (home / "state").exists()


def test_times_and_sizes_have_units() -> None:
    options = load(["--finish-limit", "2m", "--retention-free", "500MiB", "--tcp", "tcp://*"]).settings.options()
    assert (options.finish_limit_s, options.retention_free_bytes, options.tcp) == (120, 500 * 2**20, "tcp://*:7700")
    assert options.keeps and not ServiceOptions().keeps


def test_sockets_for_other_machines_have_ports_in_a_row() -> None:
    options = ServiceOptions(tcp="tcp://[::1]:7700")
    assert [options.tcp_endpoint(offset) for offset in (0, 3)] == ["tcp://[::1]:7700", "tcp://[::1]:7703"]
    assert ServiceOptions(tcp="tcp://127.0.0.1:*").tcp_endpoint(3) == "tcp://127.0.0.1:*"
    assert ServiceOptions().tcp_endpoint(3) == ""


def test_secrets_are_not_shown() -> None:
    assert "hush" not in repr(ServiceOptions(http_token="hush"))
    assert "hush" not in repr(ServiceAddress("tcp://x:1", "server", "public", "hush"))


def test_the_spool_is_not_that_of_private_controllers_whose_files_are_their_callers(home: Path) -> None:
    assert load([]).settings.spool == str(home / "state" / "recsvc" / "recordings")


def test_the_init_system_names_the_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/recsvc")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/recsvc:/var/lib/other")
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", "/etc/recsvc")
    found = load([]).settings
    assert (found.directory, found.spool) == ("/run/recsvc", "/var/lib/recsvc/recordings")
    assert found.keys == "/etc/recsvc/keys" and found.options().endpoint == "ipc:///run/recsvc/control"


def test_the_page_lists_all_settings_with_their_defaults() -> None:
    tool = runpy.run_path(str(Path(__file__).parents[1] / "tools" / "write_settings.py"))
    page = tool["PAGE"].read_text()
    assert page == tool["written"](page), "run: python tools/write_settings.py"
