#!/usr/bin/python
# Copyright: LLM gateway authors
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
"""Ansible module: what Docker lets out of the box of a gateway."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_exposure
short_description: What Docker lets out of the box of a gateway
description:
  - Runs on the box and only reads. It looks at what all containers of the gateway publish, at what Docker's processes
    really listen for over IPv4 and IPv6, and at the addresses of the box.
  - What it finds wrong is no failure of this module. M(homelab.llm_gateway.gateway_check) takes it into its report.
options:
  bind_address:
    description: The IPv4 address at which the ingress is to be published; V(0.0.0.0) for every one.
    type: str
    required: true
  ports:
    description: The TCP ports that the ingress is to publish, and nobody else.
    type: list
    elements: int
    required: true
  ca_file:
    description: File with the certificate of the gateway's own authority; empty when it has none.
    type: path
    default: ""
author:
  - LLM gateway authors (@homelab)
attributes:
  check_mode:
    support: full
    description: Looks the same in check mode.
  diff_mode:
    support: none
    description: Changes nothing.
"""

EXAMPLES = r"""
- name: Look at what the box lets out
  homelab.llm_gateway.gateway_exposure:
    bind_address: 192.168.1.10
    ports: [4000]
  register: looked
"""

RETURN = r"""
failures:
  description: What is published or listened for and should not be, a sentence each.
  returned: success
  type: list
  elements: str
addresses:
  description: Addresses of the box that other machines may reach, of both families.
  returned: success
  type: list
  elements: str
ports:
  description: TCP ports worth a try from outside, at most 20.
  returned: success
  type: list
  elements: int
holders:
  description: Who listens on these ports.
  returned: success
  type: list
  elements: dict
  contains:
    address:
      description: Where.
      type: str
    port:
      description: On which TCP port.
      type: int
    words:
      description: Who, such as C(container llm-gateway-ingress).
      type: str
    of_gateway:
      description: Whether it is one of the gateway's containers.
      type: bool
ca_pem:
  description: The certificate in O(ca_file); empty without one.
  returned: success
  type: str
"""

from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.box.docker import command_runner
from ..module_utils.gateway import exposure

DOCKER_SECONDS = 20


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "bind_address": {"type": "str", "required": True},
            "ports": {"type": "list", "elements": "int", "required": True},
            "ca_file": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    ca_pem = ""
    try:
        found = exposure.look(command_runner(DOCKER_SECONDS), params["bind_address"], params["ports"])
        if params["ca_file"]:
            # Lists of authorities may hold people's names between the certificates, which alone are wanted.
            with open(params["ca_file"], encoding="ascii", errors="ignore") as file:
                ca_pem = file.read()
    except exposure.NoDocker as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(
            msg=f"ca_file: {params['ca_file']} cannot be read ({error}). make apply puts it there, or with llm_tls: "
            "internal the ingress, when it first starts. Look at: docker logs llm-gateway-ingress"
        )
    module.exit_json(changed=False, ca_pem=ca_pem, **asdict(found))


if __name__ == "__main__":
    main()
