"""Clients and their keys in the text of the catalog and of the vault: what is added, and what is refused."""

from __future__ import annotations

import pytest
import yaml

from plugins.module_utils.catalog import clients as catalog_clients
from plugins.module_utils.clients import changes, entries, names, yaml_text
from plugins.module_utils.clients.changes import Refused, Texts

OLD = "sk-old-0123456789abcdefghijklmnopqrstuvwxyz"
NEW = "sk-new-0123456789abcdefghijklmnopqrstuvwxyz"
VAULT = '---\n# Kept.\nvault_redis_password: "x"  # kept too\n'
ITEM = '  - name: app\n    key: "{{ vault_client_app_key }}"\n'
EMPTY = "---\n# Who may ask.\nllm_clients: []\n"


def make() -> str:
    return NEW


def vault(**keys: str) -> str:
    return VAULT + "".join(f'{name}: "{value}"\n' for name, value in keys.items())


def loaded(text: str) -> dict[str, object]:
    result = yaml.safe_load(text)
    assert isinstance(result, dict)
    return result


@pytest.mark.parametrize("name", ["app", "chat-ui", "a.b_c-d", "7", "x" * 40])
def test_a_name_is_small_letters_digits_and_three_signs(name: str) -> None:
    assert names.name_problem(name) is None


@pytest.mark.parametrize(
    "name", ["", "App", "-a", "a b", "a'b", 'a"b', "{{ a }}", "a\nb", "a/b", "ä", "admin", "a:b", "#a", "a\n"]
)
def test_a_name_that_needs_escaping_is_refused(name: str) -> None:
    assert names.name_problem(name)
    with pytest.raises(Refused):
        changes.add(name, Texts(EMPTY, VAULT), make)


def test_the_catalog_takes_the_same_names() -> None:
    assert names._NAME.pattern == catalog_clients._NAME.pattern


def test_the_variable_of_a_key_is_a_variable() -> None:
    assert names.key_variable("a.b_c-d") == "vault_client_a_b_c_d_key"
    assert names.next_key_variable("app") == "vault_client_app_key_next"


def test_keys_are_random_and_long() -> None:
    made = {names.new_key() for _ in range(50)}
    assert len(made) == 50
    assert all(key.startswith("sk-") and len(key) == 51 and key[3:].isalnum() and key.isascii() for key in made)
    assert all(names.is_good_key(key) for key in made)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (EMPTY, "---\n# Who may ask.\nllm_clients:\n" + ITEM),
        ("llm_clients: []", "llm_clients:\n" + ITEM),
        ("llm_clients:   [ ]   # none yet\n", "llm_clients:      # none yet\n" + ITEM),
        ("llm_clients:\n", "llm_clients:\n" + ITEM),
        ("llm_clients: null\nother: 1\n", "llm_clients:\n" + ITEM + "other: 1\n"),
        ("llm_clients: ~  # none\n", "llm_clients:   # none\n" + ITEM),
        (
            "llm_clients:\n  - name: a\n    key: x\n# The end.\n",
            "llm_clients:\n  - name: a\n    key: x\n" + ITEM + "# The end.\n",
        ),
        (
            "llm_clients:\n- name: a\n  models: [x,\n    y]\n\n# Then.\nother: 1\n",
            (
                'llm_clients:\n- name: a\n  models: [x,\n    y]\n- name: app\n  key: "{{ vault_client_app_key }}"\n'
                "\n# Then.\nother: 1\n"
            ),
        ),
        (
            "llm_clients:\n  - name: a\n    models:\n      - x\n      - y  # last\n",
            "llm_clients:\n  - name: a\n    models:\n      - x\n      - y  # last\n" + ITEM,
        ),
        ("llm_clients:\n  - {name: a, key: x}", "llm_clients:\n  - {name: a, key: x}\n" + ITEM),
        ("llm_clients: []\r\nother: 1\r\n", ("llm_clients:\n" + ITEM + "other: 1\n").replace("\n", "\r\n")),
        ("other: ä€\nllm_clients: []\n...\n", "other: ä€\nllm_clients:\n" + ITEM + "...\n"),
        (
            "llm_clients:\n  - name: a\n    key: >-\n      x\n      y\n",
            "llm_clients:\n  - name: a\n    key: >-\n      x\n      y\n" + ITEM,
        ),
        ("llm_clients:\n  - name: a\n    key: !vault x\n", "llm_clients:\n  - name: a\n    key: !vault x\n" + ITEM),
    ],
)
def test_a_client_is_added_and_the_rest_stays(before: str, after: str) -> None:
    assert entries.with_entry(before, "app", ("vault_client_app_key",)) == after


@pytest.mark.parametrize("name", ["123", "null", "true", "1e5", "2026-11-21", "yes"])
def test_a_name_that_yaml_takes_for_something_else_stays_a_text(name: str) -> None:
    text = entries.with_entry("llm_clients: []\n", name, ("v",))
    assert loaded(text) == {"llm_clients": [{"name": name, "key": "{{ v }}"}]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not stand in it"),
        ("# nothing\n", "does not stand in it"),
        ("other: 1\n", "does not stand in it"),
        ("- a\n", "does not stand in it"),
        ("llm_clients: {a: 1}\n", "llm_clients is not a list (line 1)"),
        ("llm_clients: app\n", "llm_clients is not a list (line 1)"),
        ("a: 1\nllm_clients: [{name: a, key: x}]\n", "written in brackets (line 2)"),
        ("llm_clients: [\n]\n", "several lines (from line 1)"),
        ("llm_clients: []\nllm_clients: []\n", "stands there twice (line 2)"),
        ("llm_clients: []\n---\nllm_clients: []\n", "not one document of valid YAML (line 2)"),
        ("llm_clients: [\n", "not one document of valid YAML (line 2)"),
        ("llm_clients:\n\t- name: a\n", "not one document of valid YAML (line 2)"),
        ("a: &all\n  - name: a\nllm_clients: *all\n", "the rest of it would not stay"),
        ("{llm_clients: []}\n", "the rest of it would not stay"),
    ],
)
def test_a_file_that_cannot_be_changed_safely_is_refused_with_the_lines_to_paste(text: str, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        changes.add("app", Texts(text, VAULT), make)
    message = str(refused.value)
    assert reason in message
    assert "- name: app" in message
    assert 'key: "{{ vault_client_app_key }}"' in message
    assert "run the same command again" in message
    assert NEW not in message


def test_adding_a_client() -> None:
    change = changes.add("app", Texts(EMPTY, VAULT), make)
    assert change.key == NEW
    assert change.texts.vault == VAULT + f'vault_client_app_key: "{NEW}"\n'
    assert change.texts.clients.endswith("llm_clients:\n" + ITEM)
    assert NEW not in "".join(change.notes) + repr(change)


def test_lines_that_were_pasted_by_hand_get_their_key_from_the_same_command() -> None:
    text = 'llm_clients: [{name: app, key: "{{vault_client_app_key}}"}]\n'
    change = changes.add("app", Texts(text, VAULT), make)
    assert (change.texts.clients, change.key) == (text, NEW)
    assert loaded(change.texts.vault)["vault_client_app_key"] == NEW


def test_a_run_that_ended_after_the_vault_was_written_is_picked_up() -> None:
    change = changes.add("app", Texts(EMPTY, vault(vault_client_app_key=OLD)), make)
    assert (change.key, change.texts.vault) == (OLD, vault(vault_client_app_key=OLD))
    assert ITEM in change.texts.clients


def test_a_key_that_is_there_and_weak_is_refused() -> None:
    with pytest.raises(Refused, match="already has vault_client_app_key, but that is no good key") as refused:
        changes.add("app", Texts(EMPTY, vault(vault_client_app_key="hunter2")), make)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("key", ['key: "{{ vault_client_app_key }}"', 'key: "{{ vault_mine }}"', "models: [a]"])
def test_a_client_that_exists_is_refused_with_what_to_write(key: str) -> None:
    text = f"llm_clients:\n  - name: app\n    {key}\n"
    with pytest.raises(Refused, match=r"already has a client app.* make client NAME=app ROTATE=1"):
        changes.add("app", Texts(text, vault(vault_client_app_key=OLD)), make)


def test_two_names_never_share_a_variable() -> None:
    text = EMPTY.replace("[]", '\n  - name: a.b\n    key: "{{ vault_client_a_b_key }}"')
    with pytest.raises(Refused, match=r"client a\.b already uses vault_client_a_b_key"):
        changes.add("a-b", Texts(text, vault(vault_client_a_b_key=OLD)), make)


def one_key(rest: str = "") -> str:
    return f"llm_clients:\n  - name: other\n    key: x\n{ITEM}    rpm: 5  # slow\n{rest}"


def two_keys(rest: str = "") -> str:
    both = 'keys: ["{{ vault_client_app_key }}", "{{ vault_client_app_key_next }}"]'
    return one_key(rest).replace('key: "{{ vault_client_app_key }}"', both)


def test_rotation() -> None:
    change = changes.rotate("app", Texts(one_key("# end\n"), vault(vault_client_app_key=OLD)), make)
    assert change.texts.clients == two_keys("# end\n")
    assert change.texts.vault == vault(vault_client_app_key=OLD, vault_client_app_key_next=NEW)
    assert change.key == NEW
    assert any("FINISH=1" in note for note in change.notes)

    finished = changes.finish("app", change.texts)
    assert finished.texts == Texts(one_key("# end\n"), vault(vault_client_app_key=NEW))
    assert finished.key is None


def test_rotation_in_an_entry_in_brackets() -> None:
    text = 'llm_clients:\n  - {name: app, key: "{{ vault_client_app_key }}", rpm: 5}  # c\n'
    change = changes.rotate("app", Texts(text, vault(vault_client_app_key=OLD)), make)
    (client,) = yaml.safe_load(change.texts.clients)["llm_clients"]
    assert client["keys"] == ["{{ vault_client_app_key }}", "{{ vault_client_app_key_next }}"]
    assert changes.finish("app", change.texts).texts.clients == text


def test_an_ended_rotation_is_picked_up_with_the_same_key() -> None:
    texts = Texts(one_key(), vault(vault_client_app_key=OLD, vault_client_app_key_next=NEW))
    change = changes.rotate("app", texts, lambda: "another")
    assert (change.key, change.texts) == (NEW, Texts(two_keys(), texts.vault))


def test_an_ended_finish_is_picked_up() -> None:
    change = changes.finish("app", Texts(two_keys(), vault(vault_client_app_key=NEW)))
    assert change.texts == Texts(one_key(), vault(vault_client_app_key=NEW))


def test_a_second_key_pasted_by_hand_is_made() -> None:
    change = changes.rotate("app", Texts(two_keys(), vault(vault_client_app_key=OLD)), make)
    assert (change.key, change.texts.clients) == (NEW, two_keys())


@pytest.mark.parametrize(
    ("step", "clients", "secrets", "says"),
    [
        ("rotate", EMPTY, vault(), "has no client app. Known: none. To add it: make client NAME=app"),
        ("rotate", EMPTY.replace("[]", "\n  - name: b\n    key: x"), vault(), "Known: b."),
        ("rotate", one_key(), vault(), "has no vault_client_app_key. Make the first key before the second"),
        (
            "rotate",
            two_keys(),
            vault(vault_client_app_key=OLD, vault_client_app_key_next=NEW),
            "has two keys already. When it uses the new one: make client NAME=app FINISH=1",
        ),
        (
            "rotate",
            one_key().replace("vault_client_app_key", "vault_mine"),
            vault(vault_client_app_key=OLD),
            'keys: ["{{ vault_client_app_key }}", "{{ vault_client_app_key_next }}"]',
        ),
        (
            "rotate",
            "llm_clients:\n  - name: app\n    key:\n      '{{ vault_client_app_key }}'\n",
            vault(vault_client_app_key=OLD),
            "several lines (from line 3)",
        ),
        ("finish", EMPTY, vault(), "has no client app"),
        ("finish", one_key(), vault(vault_client_app_key=OLD), "has no second key. To make one"),
        # A second key in the vault alone was never shown, so the first one must stay.
        ("finish", one_key(), vault(vault_client_app_key=OLD, vault_client_app_key_next=NEW), "has no second key"),
        ("finish", two_keys(), vault(), "has neither vault_client_app_key nor vault_client_app_key_next"),
        (
            "finish",
            two_keys().replace("vault_client_app_key_next", "vault_mine"),
            vault(),
            "its keys do not come from vault_client_app_key and vault_client_app_key_next",
        ),
        (
            "finish",
            (
                "llm_clients:\n  - name: app\n    keys:\n      - '{{vault_client_app_key}}'\n"
                "      - '{{vault_client_app_key_next}}'\n"
            ),
            vault(vault_client_app_key=OLD, vault_client_app_key_next=NEW),
            "several lines (from line 3)",
        ),
        ("finish", two_keys(), vault(vault_client_app_key=OLD, vault_client_app_key_next="short"), "no good key"),
    ],
)
def test_what_cannot_be_changed_over_says_what_to_do(step: str, clients: str, secrets: str, says: str) -> None:
    texts = Texts(clients, secrets)
    with pytest.raises(Refused) as refused:
        changes.rotate("app", texts, make) if step == "rotate" else changes.finish("app", texts)
    assert says in str(refused.value)
    assert [key for key in (OLD, NEW, "short") if key in str(refused.value)] == []


@pytest.mark.parametrize("text", ["", "---\n", "# nothing\n", "---\n# nothing"])
def test_an_empty_vault_takes_a_key_and_gives_it_back(text: str) -> None:
    filled = yaml_text.with_secret(text, "a", NEW)
    assert loaded(filled) == {"a": NEW}
    assert yaml.safe_load(yaml_text.without_secret(filled, "a")) is None


def test_a_key_is_set_at_its_place() -> None:
    text = "a: 'old'  # mine\nb: |\n  text\n"
    assert yaml_text.with_secret(text, "a", NEW) == f'a: "{NEW}"  # mine\nb: |\n  text\n'
    assert yaml_text.with_secret("a: x\r\n", "b", NEW) == f'a: x\r\nb: "{NEW}"\r\n'


def test_a_block_at_the_end_of_the_vault_does_not_swallow_the_key() -> None:
    assert loaded(yaml_text.with_secret("b: |\n  line\n", "a", NEW)) == {"b": "line\n", "a": NEW}
    with pytest.raises(yaml_text.NotSafe, match="without a change to the rest"):
        yaml_text.with_secret("b: |\n  a line that no line break ends", "a", NEW)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- planted-secret\n", "no mapping of variables"),
        ("planted-secret\n", "no mapping of variables"),
        ("a: {b: planted-secret}\n", "a is not a text (line 1)"),
        ("a: planted-secret\na: planted-secret\n", "stands there twice (line 2)"),
        ('b: "planted-secret\n', "not one document of valid YAML"),
        ("{b: planted-secret}\n", "a cannot be set there"),
        ("b: planted-secret\n...\n", "a cannot be set there"),
        ("b: *planted-secret\n", "not one document of valid YAML"),
        ("a: >-\n  planted-secret\n  x\n", "several lines"),
    ],
)
def test_a_vault_that_cannot_be_changed_safely_is_refused_without_a_word_of_it(text: str, reason: str) -> None:
    def change() -> str:
        yaml_text.secret(text, "a")
        return yaml_text.with_secret(text, "a", NEW)

    with pytest.raises(yaml_text.NotSafe) as refused:
        change()
    assert reason in str(refused.value)
    assert "planted" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_vault_that_cannot_be_changed_safely_says_how_to_mend_it() -> None:
    with pytest.raises(Refused, match=r"stays as it is: .* Mend it first: \.venv/bin/ansible-vault edit"):
        changes.add("app", Texts(EMPTY, "- a\n"), make)


@pytest.mark.parametrize("text", ["{a: x, b: y}\n", "a:\n  x\nb: y\n"])
def test_a_variable_without_a_line_of_its_own_is_not_removed(text: str) -> None:
    with pytest.raises(yaml_text.NotSafe):
        yaml_text.without_secret(text, "a")


def test_a_variable_that_is_not_there_is_removed_already() -> None:
    assert yaml_text.without_secret("b: y\n", "a") == "b: y\n"
