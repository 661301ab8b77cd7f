"""The description of the API (OpenAPI 3.1) against the real binary: its form by JSON Schema, its promises by asking
every endpoint that it describes."""
import copy
import glob
import json
import os
import re

import jsonschema

from support.api import ApiRelay
from support.cases import case, run
from support.names import Dnsmasq
from support.relay import ROOT, wait_for

METHODS = {"get", "put", "post", "delete", "patch"}


def fetch(relay):
    status, _, document = relay.ask("GET", "/v1/openapi.json")
    assert status == 200, status
    return document


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def resolved(document, thing):
    """What a $ref at the top of it stands for."""
    while "$ref" in thing:
        at = document
        for part in thing["$ref"].removeprefix("#/").split("/"):
            at = at[part]
        thing = at
    return thing


def references(thing):
    if isinstance(thing, dict):
        for name, value in thing.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(thing, list):
        for value in thing:
            yield from references(value)


def strict(schema):
    """The same schema, in which an answer may have no member that is not described."""
    if isinstance(schema, dict):
        made = {name: strict(value) for name, value in schema.items()}
        if "properties" in made:
            made.setdefault("additionalProperties", False)
        return made
    return [strict(value) for value in schema] if isinstance(schema, list) else schema


class Described:
    """A relay, what it says of itself, and questions whose answers are held against that."""

    def __init__(self, relay):
        self.relay, self.document = relay, fetch(relay)
        self.asked = set()
        self.root = {"components": strict(copy.deepcopy(self.document["components"]))}

    def check(self, method, form, status, kind, answer):
        operation = self.document["paths"][form][method.lower()]
        assert str(status) in operation["responses"], (method, form, status, answer)
        response = resolved(self.document, operation["responses"][str(status)])
        (described, content), = response["content"].items()
        assert kind.startswith(described), (method, form, kind)
        schema = {**self.root, **strict(copy.deepcopy(content["schema"]))}
        jsonschema.Draft202012Validator(schema).validate(answer)
        if status < 400:
            self.asked.add((method.lower(), form))

    def ask(self, want, method, form, key, body=None, name=None, query=""):
        names = iter(name if isinstance(name, tuple) else [name or ""] * 2)  # for each {...} in its order
        path = re.sub(r"\{\w+\}", lambda _: next(names), form) + query
        status, head, answer = self.relay.ask(method, path, key, body)
        assert status == want, (method, path, status, answer)
        kind = re.search(r"(?im)^content-type: ([^\r\n]*)", head).group(1)
        self.check(method, form, status, kind, answer)
        return answer["data"] if isinstance(answer, dict) and "data" in answer else answer

    def takes(self, form, body):
        """The request is as it is described, too."""
        content = self.document["paths"][form]["post"]["requestBody"]["content"]["application/json"]
        jsonschema.Draft202012Validator({**self.root, **strict(copy.deepcopy(content["schema"]))}).validate(body)

    def by_operator(self, *words, method, form):
        """The command line has the control socket, over which the operator's answers come."""
        answer = self.relay.json(*words)
        wanted = [status for status in self.document["paths"][form][method]["responses"] if status < "300"]
        self.check(method, form, int(wanted[0]), "application/json", answer)
        return answer["data"]


@case
def the_document_has_the_form_of_openapi():
    with ApiRelay() as relay:
        document = fetch(relay)
        assert document["openapi"].startswith("3.1.") and document["info"]["title"] and document["info"]["version"]
        names = [operation["operationId"] for _, _, operation in operations(document)]
        assert len(names) == len(set(names)) > 20, names
        for reference in references(document):
            assert resolved(document, {"$ref": reference}), reference
        for name, schema in document["components"]["schemas"].items():
            jsonschema.Draft202012Validator.check_schema(schema)
            assert set(schema["required"]) <= set(schema["properties"]), name
        used = set(references(document))
        for name in document["components"]["schemas"]:
            assert f"#/components/schemas/{name}" in used, name
        schemes = document["components"]["securitySchemes"]
        for method, path, operation in operations(document):
            assert method in METHODS and path.startswith("/") and operation["summary"], (method, path)
            in_path = [p["name"] for p in operation["parameters"] if p["in"] == "path"]
            assert in_path == re.findall(r"\{(\w+)\}", path), (path, in_path)
            assert all(p.get("required") for p in operation["parameters"] if p["in"] == "path")
            for parameter in operation["parameters"]:
                jsonschema.Draft202012Validator.check_schema(parameter["schema"])
            for way in operation["security"]:
                assert len(way) == 1 and set(way) <= set(schemes), way
            assert any(status < "300" for status in operation["responses"]), path
            for response in operation["responses"].values():
                response = resolved(document, response)
                assert response["description"], path
                for content in response["content"].values():
                    jsonschema.Draft202012Validator.check_schema(content["schema"])
            if "requestBody" in operation:
                schema = resolved(document, operation["requestBody"]["content"]["application/json"]["schema"])
                jsonschema.Draft202012Validator.check_schema(schema)
                assert method != "get" and set(schema["required"]) <= set(schema["properties"]), path
                assert operation["requestBody"]["required"] == bool(schema["required"])


@case
def every_endpoint_answers_as_it_is_described():
    with Dnsmasq() as names, ApiRelay(settings=f'dns {{ servers = {{"127.0.0.1:{names.port}"}} }}\n'
                                      'retry { schedule = {"1h"} }\n') as relay:
        relay.sink.script = {"RCPT": lambda n, line: "451 4.2.0 later"}
        api = Described(relay)
        key = relay.key("good.example", "--scope", "send,keys,messages,domains,accounts,metrics")
        for form in ("/healthz", "/readyz", "/v1/openapi.json"):
            api.ask(200, "GET", form, None)
        for form in ("/metrics", "/v1/whoami", "/v1/api-keys", "/v1/domains", "/v1/accounts", "/v1/messages", "/v1/audit",
                     "/v1/queue/stats"):
            api.ask(200, "GET", form, key)
            api.ask(401, "GET", form, None)

        full = {"name": "full", "scopes": ["send"], "domains": ["good.example"], "expirationDays": 9, "rateLimit": 5,
                "allowFrom": ["127.0.0.1"], "senders": ["a@good.example"], "recipients": ["dest.example"],
                "test": True}
        made = api.ask(201, "POST", "/v1/api-keys", key, full)
        api.ask(200, "GET", "/v1/api-keys/{id}", key, name=made["keyId"])
        api.ask(403, "GET", "/v1/domains", made["apiKey"])
        api.ask(200, "DELETE", "/v1/api-keys/{id}", key, name=made["keyId"])
        api.ask(404, "GET", "/v1/api-keys/{id}", key, name="None1234")
        api.ask(400, "POST", "/v1/api-keys", key, {"nmae": "x"})
        api.ask(422, "POST", "/v1/api-keys", key, {})
        api.ask(400, "GET", "/v1/api-keys", key, query="?acount=x")
        api.ask(404, "GET", "/v1/api-keys", key, query="?account=other")

        api.ask(422, "GET", "/v1/api-keys", key, query="?limit=0")

        made = api.ask(201, "POST", "/v1/api-keys", key, {"name": "n", "domain": "good.example", "rateLimit": 5,
                                                          "recipientsPerDay": 5, "messageSize": 500,
                                                          "maxSessions": 1})
        api.ask(200, "GET", "/v1/whoami", made["apiKey"])
        for act in ("rotate", "hold", "release"):
            api.ask(200, "POST", f"/v1/api-keys/{{id}}/{act}", key, name=made["keyId"])
            api.ask(404, "POST", f"/v1/api-keys/{{id}}/{act}", key, name="None1234")
        api.ask(422, "POST", "/v1/api-keys/{id}/rotate", key, {"overlap": "soon"}, name=made["keyId"])
        api.ask(200, "GET", "/v1/api-keys/{id}", key, name=made["keyId"])

        parent = relay.cli("key", "create", "--name", "p", "--scope", "send,keys,accounts").stdout.strip()
        api.ask(201, "POST", "/v1/sub-accounts", parent, {"handle": "below"})
        api.ask(409, "POST", "/v1/sub-accounts", parent, {"handle": "below"})
        api.ask(200, "GET", "/v1/sub-accounts", parent, query="?limit=1")
        api.ask(201, "POST", "/tx/v1/sub-account", parent, {"handle": "below-too"})
        api.ask(200, "GET", "/tx/v1/sub-account", parent)
        for form in ("/v1/sub-accounts/{handle}/api-keys", "/tx/v1/sub-account/{handle}/api-key"):
            api.ask(404, "POST", form, parent, name="nobody")
            made = api.ask(201, "POST", form, parent, name="below")
            api.ask(200, "GET", form, parent, name="below")
            api.ask(200, "GET", form + "/{id}", parent, name=("below", made["keyId"]))
            api.ask(200, "DELETE", form + "/{id}", parent, name=("below", made["keyId"]))
        for act in ("suspend", "resume"):
            api.ask(200, "POST", f"/v1/accounts/{{handle}}/{act}", parent, name="below")
            api.ask(403, "POST", f"/v1/accounts/{{handle}}/{act}", parent, name="default")
        api.by_operator("account", "plan", "below", "default", method="post", form="/v1/accounts/{handle}/plan")

        record = api.ask(201, "POST", "/v1/domains", key, {"name": "new.example"})["record"]
        api.ask(422, "POST", "/v1/domains/{name}/verify", key, name="new.example")
        names.set({record["name"]: [record["value"]]})
        api.ask(200, "POST", "/v1/domains/{name}/verify", key, name="new.example")
        api.ask(200, "GET", "/v1/domains", key)
        api.ask(200, "DELETE", "/v1/domains/{name}", key, name="new.example")
        api.ask(404, "DELETE", "/v1/domains/{name}", key, name="new.example")

        message = relay.session(key, "local").submit()
        wait_for(lambda: relay.queue()[message] == "deferred", "the deferral")
        api.ask(200, "GET", "/v1/messages", key)
        api.ask(200, "GET", "/v1/messages/{id}", key, name=message)
        for act in ("hold", "release", "retry"):
            api.ask(200, "POST", f"/v1/messages/{{id}}/{act}", key, name=message)
            wait_for(lambda: relay.queue()[message] in ("deferred", "held"), "the next deferral")
        api.ask(422, "GET", "/v1/messages", key, query="?state=frob")
        api.ask(200, "DELETE", "/v1/messages/{id}", key, name=message)
        api.ask(409, "POST", "/v1/messages/{id}/hold", key, name=message)
        api.ask(404, "GET", "/v1/messages/{id}", key, name="0000000000001")

        mail = {"from": {"email": "a@good.example", "name": "A"}, "to": ["r@dest.example"], "subject": "s", "text": "t",
                "cc": {"address": "c@dest.example"}, "headers": {"X-A": "b"},
                "attachments": [{"filename": "f", "content": "Zg==", "type": "text/plain"}]}
        for form in ("/v1/emails", "/v2/emails"):
            api.takes(form, mail)
            api.ask(202, "POST", form, key, mail)
            api.ask(403, "POST", form, key, {**mail, "from": "a@other.example"})
            api.ask(422, "POST", form, key, {"from": "a@good.example"})
            api.ask(400, "POST", form, key, {**mail, "frm": "x"})
        many = {"personalizations": [{"to": ["r@dest.example"], "subject": "p"}, {"to": [{"email": "s@dest.example"}]}],
                "from": "a@good.example", "subject": "s", "content": [{"type": "text/plain", "value": "t"}]}
        api.takes("/tx/v1/send", many)
        api.ask(202, "POST", "/tx/v1/send", key, many)
        api.ask(422, "POST", "/tx/v1/send", key, {**many, "personalizations": []})

        api.by_operator("account", "create", "acme", method="post", form="/v1/accounts")
        api.by_operator("upstream", "list", method="get", form="/v1/upstreams")
        for act in ("hold", "release"):
            api.by_operator("upstream", act, "sink", method="post", form=f"/v1/upstreams/{{name}}/{act}")
        for act in ("retry", "hold", "release", "cancel"):
            api.by_operator("queue", act, "--all", method="post", form=f"/v1/queue/{act}")
        for method, path, operation in operations(api.document):
            if "operator" in operation.get("description", ""):
                api.ask(403, method.upper(), path, key, name="sink")

        left = {(method, path) for method, path, _ in operations(api.document)} - api.asked
        assert not left, left


@case
def every_code_of_an_error_is_described():
    with ApiRelay() as relay:
        document = fetch(relay)
    described = {}
    for status, response in document["components"]["responses"].items():
        error = response["content"]["application/json"]["schema"]["properties"]["error"]
        described[int(status)] = set(error["properties"]["code"]["enum"])
    found = 0
    for path in glob.glob(os.path.join(ROOT, "relay/http/*.c")):
        with open(path) as file:
            text = re.sub(r"\s+", " ", file.read())
        for status, code in re.findall(r'(?:api_fail\(call,|= \{) (\d{3}), "(\w+)",', text):
            found += 1
            if int(status) == 405:
                continue  # is no method of the path, so it is described by what is not there
            assert code in described.get(int(status), ()), (os.path.basename(path), status, code)
    assert found > 30, found


run()
