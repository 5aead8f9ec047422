"""Servers of llama.cpp on the box: what is declared of them, what is refused, and what the roles get."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.module_utils.catalog import plan
from plugins.module_utils.catalog.fields import Undefined
from tests.unit.catalog_samples import IMAGES, MODELS, PROVIDERS, declaration

PROVIDERS_FILE = "group_vars/all/providers.yml: "
MODELS_FILE = "group_vars/all/models.yml: "
IMAGES_FILE = "group_vars/all/images.yml: "
CODER: dict[str, Any] = {"name": "coder", "path": "/srv/models/coder.gguf"}
VECTORS: dict[str, Any] = {"name": "vectors", "path": "/srv/models/vectors.gguf", "embeddings": True}
CODE: dict[str, Any] = {"name": "code", "backends": [{"provider": "llamacpp", "model": "coder"}]}
EMBED: dict[str, Any] = {
    "name": "embed",
    "mode": "embedding",
    "backends": [{"provider": "llamacpp", "model": "vectors"}],
}
WITHOUT_IMAGE = {name: image for name, image in IMAGES.items() if name != "llamacpp"}
RIGHT: dict[str, Any] = {"providers": {}, "models": [CODE], "llamacpp": [CODER]}


def report(**changes: Any) -> list[str]:
    return [str(problem) for problem in plan.check(declaration(**{**RIGHT, **changes}))]


def made(**changes: Any) -> dict[str, Any]:
    return plan.make_plan(declaration(**{**RIGHT, **changes}))


def coder(**changes: Any) -> list[dict[str, Any]]:
    return [{**CODER, **changes}]


def test_a_right_declaration_has_no_problem() -> None:
    assert report() == []
    assert report(models=[CODE, EMBED], llamacpp=[CODER, VECTORS]) == []


@pytest.mark.parametrize(
    ("llamacpp", "lines"),
    [
        (
            CODER,
            [
                (
                    "llm_llamacpp: is not a list but a mapping. "
                    "Write llm_llamacpp: [{name: coder, path: /srv/models/coder.gguf}], or llm_llamacpp: []."
                )
            ],
        ),
        (
            Undefined("my_servers"),
            ["llm_llamacpp: my_servers is not defined. Define my_servers, or write the value itself."],
        ),
        (
            ["coder", CODER],
            [
                (
                    "llm_llamacpp[0]: is not a mapping but text. "
                    "Write keys and values: name, path, context, parallel, embeddings."
                )
            ],
        ),
        (
            coder(contxt=4096),
            [
                (
                    "llm_llamacpp[coder].contxt: unknown key. Did you mean 'context'? "
                    "Known: context, embeddings, name, parallel, path."
                )
            ],
        ),
        (
            [{"name": "coder"}],
            [
                (
                    "llm_llamacpp[coder].path: is missing. "
                    "Write path: /srv/models/coder.gguf, where the file lies on the box."
                )
            ],
        ),
        (
            [CODER, {"path": "/srv/models/other.gguf"}],
            [
                (
                    "llm_llamacpp[1].name: is missing. "
                    "Write small letters, digits and -, 40 characters at most, such as name: coder."
                )
            ],
        ),
        (
            [CODER, {**CODER, "name": "My_Coder"}],
            [
                (
                    "llm_llamacpp[My_Coder].name: 'My_Coder' is not a name for a host. "
                    "Write small letters, digits and -, 40 characters at most, such as name: coder."
                )
            ],
        ),
        (
            coder(path="models/coder.gguf"),
            [
                (
                    "llm_llamacpp[coder].path: 'models/coder.gguf' is not an absolute path on the box. "
                    "Write path: /srv/models/coder.gguf, where the file lies on the box."
                )
            ],
        ),
        (
            coder(path="/srv/my models/coder.gguf"),
            [
                (
                    "llm_llamacpp[coder].path: '/srv/my models/coder.gguf' holds more than letters, digits and . _ + @ "
                    "- between its slashes, or leads upwards. "
                    "Write path: /srv/models/coder.gguf, where the file lies on the box."
                )
            ],
        ),
        (
            coder(path="/srv/../coder.gguf"),
            [
                (
                    "llm_llamacpp[coder].path: '/srv/../coder.gguf' holds more than letters, digits and . _ + @ "
                    "- between its slashes, or leads upwards. "
                    "Write path: /srv/models/coder.gguf, where the file lies on the box."
                )
            ],
        ),
        (
            coder(path="/srv/coder-00001-of-00003.gguf"),
            [
                (
                    "llm_llamacpp[coder].path: '/srv/coder-00001-of-00003.gguf' is one part of several, and one file "
                    "is mounted: llama-gguf-split --merge makes one of them. "
                    "Write path: /srv/models/coder.gguf, where the file lies on the box."
                )
            ],
        ),
        (
            coder(context="8k", parallel=0, embeddings="no"),
            [
                (
                    "llm_llamacpp[coder].context: is not a whole number of tokens but text. "
                    "Write tokens of a question and its answer together, such as context: 8192."
                ),
                "llm_llamacpp[coder].parallel: 0 is not above 0. Write answers at the same time, such as parallel: 2.",
                (
                    "llm_llamacpp[coder].embeddings: is not true or false but text. "
                    "Write embeddings: true for a model that makes embeddings and cannot chat, or leave it out."
                ),
            ],
        ),
        (
            [CODER, CODER],
            ["llm_llamacpp[coder].name: two instances have this name. Rename one."],
        ),
    ],
)
def test_a_mistake_in_the_list_is_refused_and_nothing_that_follows_from_it(llamacpp: Any, lines: list[str]) -> None:
    models = [CODE] if isinstance(llamacpp, list) else [MODELS[2]]
    assert report(llamacpp=llamacpp, models=models) == [PROVIDERS_FILE + line for line in lines]


def test_a_model_that_asks_an_instance_nobody_declared_is_told_the_nearest() -> None:
    (line,) = report(models=[{**CODE, "backends": [{"provider": "llamacpp", "model": "codr"}]}])
    assert line == (
        f"{MODELS_FILE}llm_models[code].backends[0].model: 'codr' is not declared in llm_llamacpp. "
        "Did you mean 'coder'? Known: coder."
    )


def test_without_any_instance_a_model_is_told_where_to_declare_one() -> None:
    (line,) = report(llamacpp=[])
    assert line == (
        f"{MODELS_FILE}llm_models[code].backends[0].provider: 'llamacpp' is not declared. Declare its file in "
        "llm_llamacpp (group_vars/all/providers.yml), or a server elsewhere in llm_providers."
    )


def test_what_an_instance_cannot_do_is_refused() -> None:
    wrong_mode = report(
        llamacpp=[CODER, VECTORS],
        models=[{**CODE, "mode": "embedding"}, {**EMBED, "mode": "chat"}],
    )
    assert wrong_mode == [
        (
            f"{MODELS_FILE}llm_models[code].backends[0].model: llm_llamacpp[coder] chats and makes no embeddings, "
            "and this model is for embedding. Name another instance, or write embeddings: true there if that is true."
        ),
        (
            f"{MODELS_FILE}llm_models[embed].backends[0].model: llm_llamacpp[vectors] makes embeddings and cannot "
            "chat, and this model is for chat. Name another instance, or write embeddings: false there if that is true."
        ),
    ]
    assert report(models=[{**CODE, "context": 8192}]) == []
    (too_long,) = report(models=[{**CODE, "context": 16384}])
    assert too_long == (
        f"{MODELS_FILE}llm_models[code].context: 16384 is more than the 8192 of llm_llamacpp[coder]. "
        "Write context: 16384 there, or a smaller one here."
    )


def test_a_provider_of_the_same_name_is_refused_beside_instances_and_stays_without_them() -> None:
    (line,) = report(providers=PROVIDERS)
    assert line == (
        f"{PROVIDERS_FILE}llm_providers.llamacpp: is there for the instances of llm_llamacpp and takes no settings. "
        "Give this one another name, here and in llm_models."
    )
    assert report(providers=PROVIDERS, llamacpp=[]) == []


def test_the_image_is_needed_where_an_instance_is_declared_and_only_there() -> None:
    assert report(images=WITHOUT_IMAGE, llamacpp=[], models=[MODELS[2]]) == []
    assert report(images=WITHOUT_IMAGE) == [
        f"{IMAGES_FILE}llm_images.llamacpp: is missing. Write repository, tag and digest."
    ]


@pytest.mark.parametrize(
    ("tag", "says"),
    [
        ("server-b9159", ""),
        ("server-cuda-b10868", ""),
        ("server-b9158", "server-b9158 has known security holes. Use server-b9159 or newer."),
        ("server", "'server' does not name a version, so nobody can tell what runs. Pin one, server-b9159 or newer."),
        ("1.84.0", "'1.84.0' does not name a version, so nobody can tell what runs. Pin one, server-b9159 or newer."),
    ],
)
def test_the_image_names_a_build_that_is_no_older_than_the_floor(tag: str, says: str) -> None:
    lines = report(images={**IMAGES, "llamacpp": {**IMAGES["llamacpp"], "tag": tag}})
    assert lines == ([f"{IMAGES_FILE}llm_images.llamacpp.tag: {says}"] if says else [])


def test_switched_off_nothing_may_ask_it_and_nothing_of_it_is_held() -> None:
    assert report(switched_off=("llamacpp",)) == [
        (
            f"{MODELS_FILE}llm_models[code].backends[0].provider: llama.cpp is switched off, and with it every "
            "instance of llm_llamacpp. Leave llamacpp_enabled true, or take this backend out."
        )
    ]
    off = made(switched_off=("llamacpp", "litellm"))
    assert off["llamacpp_files"] == []
    assert [image for image in off["images_to_hold"]["cpu"] if "llama.cpp" in image] == []


def test_the_plan_says_what_runs_and_which_files_must_be_there() -> None:
    planned = made(llamacpp=[CODER, {**VECTORS, "context": 512, "parallel": 4}])
    assert planned["llamacpp_instances"] == [
        {
            "name": "coder",
            "host": "llamacpp-coder",
            "path": "/srv/models/coder.gguf",
            "context": 8192,
            "parallel": 1,
            "embeddings": False,
        },
        {
            "name": "vectors",
            "host": "llamacpp-vectors",
            "path": "/srv/models/vectors.gguf",
            "context": 512,
            "parallel": 4,
            "embeddings": True,
        },
    ]
    assert planned["llamacpp_files"][1] == {
        "path": "/srv/models/vectors.gguf",
        "variable": "llm_llamacpp[vectors].path",
        "file": "group_vars/all/providers.yml",
    }
    assert "ghcr.io/ggml-org/llama.cpp:server-b10868" in planned["images_to_hold"]["cpu"]
    assert "ghcr.io/ggml-org/llama.cpp:server-cuda-b10868" in planned["images_to_hold"]["nvidia"]


def test_without_an_instance_the_plan_holds_nothing_of_it() -> None:
    planned = made(llamacpp=[], models=[MODELS[2]])
    assert (planned["llamacpp_instances"], planned["llamacpp_files"]) == ([], [])
    assert [image for image in planned["images_to_hold"]["cpu"] if "llama.cpp" in image] == []


def test_litellm_asks_each_instance_by_its_name_for_nothing() -> None:
    (entry,) = made()["litellm_config"]["model_list"]
    assert entry == {
        "model_name": "code",
        "litellm_params": {
            "model": "openai/coder",
            "api_key": "none",
            "api_base": "http://llamacpp-coder:8080/v1",
            # It may read a long prompt, and answer, on a processor.
            "timeout": 600,
            "stream_timeout": 120,
            "input_cost_per_token": 0,
            "output_cost_per_token": 0,
        },
        "model_info": {"id": "code/llamacpp/coder"},
    }
    (question,) = made()["questions"]
    assert not question["paid"]
    # With another file the model counts as changed.
    assert question["backends"][0]["description"] == "coder (/srv/models/coder.gguf) by llama.cpp"


def test_an_instance_that_no_model_asks_is_a_warning() -> None:
    assert made(models=[MODELS[2]])["warnings"] == [
        (
            "llm_llamacpp[coder]: it takes memory, and no model asks it; "
            "backends: [{provider: llamacpp, model: coder}] in llm_models does"
        )
    ]
    assert made()["warnings"] == []


def test_a_price_makes_it_count_for_clients_and_never_cost_money() -> None:
    price = {"input_per_million_usd": 1, "output_per_million_usd": 2}
    priced = {**CODE, "backends": [{**CODE["backends"][0], "price": price}]}
    assert not made(models=[priced])["questions"][0]["paid"]
