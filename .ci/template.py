"""What no linter knows of template.yaml and samconfig.toml.

Proves that the JSON within the template is JSON; that SAM's transformation keeps CORS and gives no function a role that nobody
here has written; that a good value of each parameter is accepted and a wrong one refused before anything is made; and that
every stage names only parameters that exist and every one that has no default, with values that are accepted, while what the
owner has yet to fill in is refused. CloudFormation itself is not asked: AllowedPattern and AllowedValues are read as its
documentation says.

usage: template.py, in the checkout, with the SAM CLI's Python
"""

import json
import logging
import pathlib
import re
import tomllib

import boto3
import yaml
from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

logging.disable(logging.WARNING)  # SAM misses settings of AWS's own.

FILL_IN = "<FILL_IN>"
ISSUER = "https://login.example.com/v2.0"
# Accepted and refused values of every parameter that has a pattern.
EXAMPLES = {
    "Stage": (["dev", "prod", "pr-17"], ["", "Prod", "1st", "a_b", "a-name-that-is-far-too-long"]),
    "OidcIssuers": ([ISSUER, f"{ISSUER},https://a.b2clogin.com/a/v2.0/.well-known/openid-configuration?p=b2c_1_x"],
                    ["", "login.example.com", "http://login.example.com", f"{ISSUER}, {ISSUER}", f"{ISSUER},"]),
    "OidcAudience": (["api", "api://tollgate,client-id"], ["", "a b", "a,", FILL_IN]),
    "AccountClaim": (["", "oid", "https://example.com/organisation"], ["a claim", "a,b"]),
    "AllowedUrls": (["https://app.example.com/billing", "http://localhost:3000,https://app.example.com"],
                    ["", "app.example.com", "http://app.example.com", "https://app.example.com?a=b", "https://a.example, https://b.example"]),
    "AllowedOrigins": (["", "https://app.example.com", "http://localhost:5173,https://app.example.com"],
                       ["*", "https://app.example.com/", "http://app.example.com", "https://a.example, https://b.example"]),
    "DomainName": (["", "billing.example.com"], ["https://billing.example.com", "billing", "Billing.example.com"]),
    "CertificateArn": (["", "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b-2c"], ["certificate/0a1b", "arn:aws:iam::123456789012:role/x"]),
    "HostedZoneId": (["", "Z0123456789ABC"], ["example.com", "/hostedzone/Z0123"]),
    "AlarmEmail": (["", "ops@example.com"], ["ops", "ops@example", "two@example.com three@example.com"]),
}


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, whose arguments are all that is wanted of them here."""


def short_form(loader, _suffix, node):
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    return loader.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else loader.construct_mapping(node)


Loader.add_multi_constructor("!", short_form)


def accepts(parameter, value):
    """Whether CloudFormation takes `value` for the parameter."""
    if "AllowedValues" in parameter:
        return value in map(str, parameter["AllowedValues"])
    if parameter["Type"] == "Number":
        return value.isdigit() and parameter["MinValue"] <= int(value) <= parameter["MaxValue"]
    return re.search(parameter["AllowedPattern"], value) is not None


def texts_that_are_json(resources):
    """No tool looks into them, and AWS says so in the middle of a deployment."""
    dashboard = json.loads(resources["Dashboard"]["Properties"]["DashboardBody"])
    logged = json.loads(resources["Api"]["Properties"]["AccessLogSettings"]["Format"])
    secrets = [resources["StripeSecret"]["Properties"]["SecretString"]]
    secrets.append(resources["WebhookSecret"]["Properties"]["GenerateSecretString"]["SecretStringTemplate"])
    assert all(value == "" for secret in secrets for value in json.loads(secret).values()), "a secret is in the template"
    print(f"JSON: {len(dashboard['widgets'])} widgets, {len(logged)} fields of the access log, {len(secrets)} secrets without a value")


def transformed(resources, parameters):
    """What SAM's transformation, the one that AWS runs, makes of the API: it is known to lose parts of CORS that it does not expect."""
    template = yaml_parse(pathlib.Path("template.yaml").read_text())
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    given = {name: "https://app.example.com" for name, parameter in parameters.items() if "Default" not in parameter}
    given["AllowedOrigins"] = "https://a.example,https://b.example"
    made = Translator({}, Parser(), boto_session=boto3.Session()).translate(template, given)
    condition, cors, _ = made["Resources"]["Api"]["Properties"]["Body"]["x-amazon-apigateway-cors"]["Fn::If"]
    assert condition == "HasAllowedOrigins" and cors.keys() == {"allowOrigins", "allowMethods", "allowHeaders", "maxAge"}, f"CORS became {cors}"
    assert cors["allowOrigins"] == {"Fn::Split": [",", "https://a.example,https://b.example"]}, cors
    ids = {resource["Type"] for resource in made["Resources"].values()}
    assert not [kind for kind in ids if kind.startswith("AWS::Serverless::")], ids
    wide = [name for name, role in made["Resources"].items() if role["Type"] == "AWS::IAM::Role" and "ManagedPolicyArns" in role["Properties"]]
    assert wide == ["CodeDeployServiceRole"], f"roles with policies of AWS's that nobody here has written: {wide}"
    print(f"transformed: {len(resources)} resources became {len(made['Resources'])}")


def main():
    template = yaml.load(pathlib.Path("template.yaml").read_text(), Loader)
    texts_that_are_json(template["Resources"])
    parameters = template["Parameters"]
    transformed(template["Resources"], parameters)
    patterned = {name for name, parameter in parameters.items() if "AllowedPattern" in parameter}
    assert patterned == EXAMPLES.keys(), f"examples and patterns differ: {patterned ^ EXAMPLES.keys()}"
    for name, parameter in parameters.items():
        assert parameter.get("Description"), f"{name} has no Description"
        assert "Default" not in parameter or accepts(parameter, str(parameter["Default"])), f"the default of {name} is refused"
        good, bad = EXAMPLES.get(name, ([], []))
        wrong = [value for value in good if not accepts(parameter, value)] + [value for value in bad if accepts(parameter, value)]
        assert not wrong, f"{name}: taken for the opposite of what they are: {wrong}"
    required = {name for name, parameter in parameters.items() if "Default" not in parameter}

    stages = {stage: section for stage, section in tomllib.loads(pathlib.Path("samconfig.toml").read_text()).items() if isinstance(section, dict)}
    assert stages.keys() == {"default", "dev", "staging", "prod"}, f"sections of samconfig.toml: {', '.join(stages)}"
    assert "deploy" not in stages["default"], "`sam deploy` without a stage must not deploy anything"
    for stage in stages.keys() - {"default"}:
        deploy = stages[stage]["deploy"]["parameters"]
        given = dict(override.split("=", 1) for override in deploy["parameter_overrides"])
        assert deploy["confirm_changeset"] is True, f"{stage}: changes are not shown before they are made"
        assert given["Stage"] == stage, f"{stage}: Stage is {given['Stage']}"
        assert required <= given.keys() <= parameters.keys(), f"{stage}: missing {required - given.keys()}, unknown {given.keys() - parameters.keys()}"
        for name, value in given.items():
            fits = accepts(parameters[name], value)
            assert fits != (value == FILL_IN), f"{stage}: {name}={value} is {'accepted' if fits else 'refused'}"
    print(f"parameters: {len(parameters)}, of which {len(required)} must be given; stages: {', '.join(sorted(stages))}")


if __name__ == "__main__":
    main()
