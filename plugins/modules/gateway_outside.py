#!/usr/bin/python
# Copyright: LLM gateway authors
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
"""Ansible module: what another machine sees of the box of a gateway."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_outside
short_description: What another machine sees of the box of a gateway
description:
  - Runs on the control machine or on another box, with C(delegate_to), and only asks. It tries the box's ports over
    IPv4 and IPv6, all at once, and a second each at most.
  - Where the ingress answers it asks as a stranger. Without a key and with a wrong one it must get 401; administrative
    routes and requests for unknown hosts must not be found.
  - It holds no key. What it finds wrong is no failure of this module; M(homelab.llm_gateway.gateway_check) takes it
    into its report, as well as what could not be tried.
options:
  place:
    description: Words for the machine on which it runs.
    type: str
    default: the controller
  host:
    description: Name or address by which Ansible reaches the box.
    type: str
    required: true
  connection:
    description: Ansible's connection to the box. With one that stays on this machine the box's own addresses are tried.
    type: str
    default: ssh
  url:
    description: Address at which clients reach the gateway.
    type: str
    required: true
  port:
    description: TCP port of the gateway.
    type: int
    required: true
  bind_address:
    description: The IPv4 address at which the gateway is published. With a loopback address nothing may answer.
    type: str
    required: true
  published:
    description: All TCP ports that the ingress publishes.
    type: list
    elements: int
    required: true
  exposure:
    description: What M(homelab.llm_gateway.gateway_exposure) returned.
    type: dict
    required: true
  ready_timeout:
    description: Seconds to wait until the gateway answers where it is published.
    type: float
    default: 60
author:
  - LLM gateway authors (@homelab)
attributes:
  check_mode:
    support: full
    description: Asks the same in check mode.
  diff_mode:
    support: none
    description: Changes nothing.
"""

EXAMPLES = r"""
- name: Look at the box from here
  homelab.llm_gateway.gateway_outside:
    host: "{{ ansible_host | default(inventory_hostname) }}"
    url: https://192.168.1.10:4000
    port: 4000
    bind_address: 192.168.1.10
    published: [4000]
    exposure: "{{ looked }}"
  delegate_to: localhost
  become: false
"""

RETURN = r"""
view:
  description: What was seen.
  returned: success
  type: dict
  contains:
    place:
      description: Where this ran.
      type: str
    addresses:
      description: Addresses of the box that were tried.
      type: list
      elements: str
    answering:
      description: Addresses with ports that answered.
      type: list
      elements: str
    failures:
      description: What is wrong, a sentence each.
      type: list
      elements: str
    notes:
      description: What could not be tried, and what answered that is not the gateway's.
      type: list
      elements: str
"""

from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.gateway import outside
from ..module_utils.gateway.exposure import Holder


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "place": {"type": "str", "default": "the controller"},
            "host": {"type": "str", "required": True},
            "connection": {"type": "str", "default": "ssh"},
            "url": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "bind_address": {"type": "str", "required": True},
            "published": {"type": "list", "elements": "int", "required": True},
            "exposure": {"type": "dict", "required": True},
            "ready_timeout": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    params = module.params
    exposure = params["exposure"]
    keys = ("address", "port", "words", "of_gateway")
    box = outside.Box(
        params["host"],
        params["connection"],
        params["bind_address"],
        params["port"],
        params["published"],
        exposure["ports"],
        exposure["addresses"],
        [Holder(*(holder[key] for key in keys)) for holder in exposure["holders"]],
    )
    try:
        seen = outside.view(box, params["place"], params["url"], exposure["ca_pem"], params["ready_timeout"])
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, view=asdict(seen))


if __name__ == "__main__":
    main()
